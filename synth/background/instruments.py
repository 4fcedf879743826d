"""Instruments and contrast-filled vessels, drawn into pairs with their physical thickness."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmdtwin.geometry import Array
from mmdtwin.synth.background.maps import contrast_equivalent
from mmdtwin.synth.background.strokes import stroke, wander

# px, half width in the mask of what is thinner than a pixel.
HALF_PIXEL = 0.6
# Share of contrast medium's attenuation that a catheter's wall, with barium in it, has; assumed.
RADIOPAQUE_POLYMER = 0.5

Drawn = tuple[NDArray[np.float32], NDArray[np.bool_]]  # contrast equivalent, m; mask


class Canvas:
    """Where instruments are drawn: `side` px of `pixel` m."""

    def __init__(self, rng: np.random.Generator, side: int, pixel: float) -> None:
        self.rng, self.side, self.pixel = rng, side, pixel
        self.thickness = np.zeros((side, side), np.float32)
        self.mask = np.zeros((side, side), bool)

    def line(self, points: Array, radius: float, material: str | float, inner: float = 0.0) -> None:
        """Add a tube of a material, or of so much of contrast medium's attenuation; radius in m."""
        factor = material if isinstance(material, float) else contrast_equivalent(material)
        path, gap = stroke((self.side, self.side), points, radius / self.pixel, inner)
        self.thickness += path * np.float32(self.pixel * factor)
        self.mask |= gap < max(0.0, HALF_PIXEL - radius / self.pixel)

    def entering(self, length: float, bend: float) -> Array:
        """Return a curve that comes in at the rim; length in px."""
        side, rng = self.side, self.rng
        where = rng.uniform(0.15, 0.85) * side
        start, angle = [
            ((where, -2.0), np.pi / 2),
            ((where, side + 1.0), -np.pi / 2),
            ((-2.0, where), 0.0),
            ((side + 1.0, where), np.pi),
        ][rng.choice(4, p=[0.2, 0.4, 0.2, 0.2])]
        return wander(rng, np.array(start), angle + rng.normal(0.0, 0.4), length, bend)

    def inside(self, margin: float = 0.15) -> Array:
        """Return a random place away from the rim, px."""
        return self.rng.uniform(margin, 1.0 - margin, 2) * self.side


def draw_instruments(
    rng: np.random.Generator, side: int, pixel: float, wanted: Sequence[str] = ()
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[str]]:
    """Draw instruments: those of `INSTRUMENTS` that are wanted, or else one to three of any.

    Returns
    -------
    thickness : (side, side) float32 array
        Of contrast medium that attenuates alike, m.
    mask : (side, side) bool array
    names : list of str
        Of what is drawn, as captions say it.
    """
    canvas = Canvas(rng, side, pixel)
    names = list(wanted)
    if not names:
        kinds = rng.choice(len(INSTRUMENTS), rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]), p=SHARES)
        names = [list(INSTRUMENTS)[i] for i in sorted(set(kinds.tolist()))]
    for name in names:
        INSTRUMENTS[name](canvas)
    return canvas.thickness, canvas.mask, names


def draw_vessels(
    rng: np.random.Generator, side: int, pixel: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw a vessel with branches.

    Returns
    -------
    length : (side, side) float32 array
        Of the rays in it, m.
    mask : (side, side) bool array
    """
    canvas = Canvas(rng, side, pixel)
    diameter = np.exp(rng.uniform(np.log(2e-3), np.log(14e-3)))
    length = np.zeros((side, side), np.float32)
    mask = np.zeros((side, side), bool)
    trunk = canvas.entering(rng.uniform(0.5, 1.4) * side, rng.uniform(0.1, 0.9))
    queue = [(trunk, diameter, 0)]
    while queue:
        points, width, level = queue.pop()
        ends = width * np.array([1.0, rng.uniform(0.6, 1.0)])
        radii = np.interp(np.linspace(0, 1, len(points)), [0, 1], ends) / 2
        radii *= 1.0 + 0.08 * np.sin(np.arange(len(points)) / rng.uniform(4, 20))
        path, gap = stroke((side, side), points, radii / pixel)
        np.maximum(length, path * np.float32(pixel), out=length)
        mask |= gap < np.maximum(0.0, HALF_PIXEL - radii.mean() / pixel)
        if level == 2:
            continue
        for _ in range(rng.integers(0, 4) if level == 0 else rng.integers(0, 2)):
            k = int(rng.uniform(0.15, 0.9) * (len(points) - 1))
            heading = np.arctan2(*(points[k + 1] - points[k])[::-1])
            heading += rng.choice([-1, 1]) * rng.uniform(0.3, 1.3)
            thinner = 2 * radii[k] * rng.uniform(0.5, 0.85)
            if thinner > 1.2e-3:
                branch = wander(
                    rng, points[k], heading, rng.uniform(0.2, 0.8) * side, rng.uniform(0.2, 0.9)
                )
                queue.append((branch, thinner, level + 1))
    return length, mask


def _guidewire(canvas: Canvas) -> None:
    rng = canvas.rng
    points = canvas.entering(rng.uniform(0.5, 1.3) * canvas.side, rng.uniform(0.1, 0.8))
    radius = rng.uniform(0.18e-3, 0.46e-3)
    canvas.line(points, radius, "stainless-steel" if rng.random() < 0.6 else "nitinol")
    tip = int(rng.uniform(0.01, 0.03) / canvas.pixel)
    if rng.random() < 0.4 and tip > 2:
        # A coil whose turns touch: a ring of platinum that its wires fill in part.
        canvas.line(points[-tip:], radius, 0.3 * contrast_equivalent("platinum"), 0.7)


def _catheter(canvas: Canvas) -> None:
    rng = canvas.rng
    points = canvas.entering(rng.uniform(0.5, 1.3) * canvas.side, rng.uniform(0.1, 0.7))
    radius, inner = rng.uniform(0.65e-3, 1.5e-3), rng.uniform(0.6, 0.75)
    canvas.line(points, radius, RADIOPAQUE_POLYMER * rng.uniform(0.7, 1.6), inner)
    if rng.random() < 0.6:
        band = max(int(rng.uniform(1e-3, 2.5e-3) / canvas.pixel), 2)
        canvas.line(points[-band - 1 : -1], radius, "platinum-iridium", 1.0 - 50e-6 / radius)


def _stent(canvas: Canvas) -> None:
    rng = canvas.rng
    length, radius = rng.uniform(15e-3, 45e-3), rng.uniform(2e-3, 6e-3)
    axis = wander(rng, canvas.inside(0.25), rng.uniform(0, 2 * np.pi), length / canvas.pixel, 0.3)
    ahead = np.gradient(axis, axis=0)
    across = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) * radius / canvas.pixel
    s, pitch, wires = np.arange(len(axis)) * canvas.pixel, rng.uniform(1.5, 3.0) * radius, 5
    wire = rng.uniform(60e-6, 130e-6)
    fine = np.linspace(0, len(axis) - 1, 6 * len(axis))
    for number in range(wires):
        for hand in (1, -1):
            phase = 2 * np.pi * (number / wires + hand * s / pitch)
            points = axis + across * np.sin(phase)[:, None]
            points = np.stack([np.interp(fine, np.arange(len(axis)), c) for c in points.T], axis=1)
            canvas.line(points, wire, "nitinol")


def _clips(canvas: Canvas) -> None:
    rng = canvas.rng
    for _ in range(rng.integers(1, 6)):
        middle, angle = canvas.inside(0.1), rng.uniform(0, np.pi)
        half = rng.uniform(3e-3, 6e-3) / canvas.pixel * np.array([np.cos(angle), np.sin(angle)])
        points = np.array([middle - half, middle + half])
        canvas.line(points, rng.uniform(0.4e-3, 0.8e-3), "titanium")


def _lead(canvas: Canvas) -> None:
    rng = canvas.rng
    points = canvas.entering(rng.uniform(0.3, 0.8) * canvas.side, 0.6)
    canvas.line(points, rng.uniform(0.2e-3, 0.4e-3), "copper")
    v, u = np.mgrid[: canvas.side, : canvas.side]
    radius = rng.uniform(4e-3, 6e-3) / canvas.pixel
    gap = np.hypot(u - points[-1, 0], v - points[-1, 1]) - radius
    inside = np.clip(0.5 - gap, 0.0, 1.0)
    thickness = rng.uniform(0.5e-3, 1.2e-3) * contrast_equivalent("stainless-steel")
    canvas.thickness += (inside * thickness).astype(np.float32)
    canvas.mask |= gap < 0.0


def _ruler(canvas: Canvas) -> None:
    rng = canvas.rng
    angle, spacing = rng.uniform(0, 2 * np.pi), 10e-3 / canvas.pixel
    step = spacing * np.array([np.cos(angle), np.sin(angle)])
    first = canvas.inside(0.2)
    radius = rng.uniform(0.8e-3, 1.5e-3)
    for i in range(rng.integers(4, 12)):
        bead = first + i * step
        canvas.line(np.array([bead, bead + 1e-3]), radius, "stainless-steel")


def _screws(canvas: Canvas) -> None:
    rng = canvas.rng
    for _ in range(rng.integers(1, 4)):
        start, angle = canvas.inside(0.2), rng.uniform(0, 2 * np.pi)
        along = np.array([np.cos(angle), np.sin(angle)])
        shaft = start + along * rng.uniform(25e-3, 45e-3) / canvas.pixel
        radius = rng.uniform(1.5e-3, 3e-3)
        canvas.line(np.array([start, shaft]), radius, "titanium")
        head = start + along * 4e-3 / canvas.pixel
        canvas.line(np.array([start, head]), 1.8 * radius, "titanium")


def _needle(canvas: Canvas) -> None:
    rng = canvas.rng
    points = canvas.entering(rng.uniform(0.4, 0.9) * canvas.side, 0.0)
    canvas.line(points, rng.uniform(0.35e-3, 0.8e-3), "stainless-steel", rng.uniform(0.5, 0.7))


INSTRUMENTS: dict[str, Callable[[Canvas], None]] = {
    "guidewire": _guidewire,
    "catheter": _catheter,
    "stent": _stent,
    "clips": _clips,
    "lead": _lead,
    "ruler": _ruler,
    "screw": _screws,
    "needle": _needle,
}
SHARES = (0.3, 0.25, 0.1, 0.1, 0.08, 0.05, 0.06, 0.06)
