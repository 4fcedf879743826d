"""What an operator sees: the X-ray with the track beside a 3-D view and the currents."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.control.session import Moment
from mmdtwin.frame import Frame
from mmdtwin.geometry import Array, apply, unit
from mmdtwin.rig import RigDescription
from mmdtwin.vessel import VesselMap

Picture = NDArray[np.uint8]
SIZE = (1280, 720)  # width, height of the picture, px
PANEL = 720  # X-ray panel, px
TRACK, PATH, TARGET, FIELD, DEVICE = (
    (80, 220, 80), (220, 170, 40), (60, 60, 240), (40, 170, 255), (240, 240, 240),
)  # fmt: skip
GREY = (150, 150, 150)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def window(image: NDArray[np.uint16], low: float = 0.5, high: float = 99.7) -> Picture:
    """Map grey values between two percentiles to 8 bit, for the eye."""
    a, b = np.percentile(image[::4, ::4], [low, high])
    scaled = (image.astype(np.float32) - a) * (255.0 / max(b - a, 1.0))
    return np.clip(scaled, 0, 255).astype(np.uint8)


class Scene:
    """Draws what a run looks like, from what the controller knows.

    Parameters
    ----------
    description : RigDescription
        The rig.
    path : (n, 3) array
        Planned path in the world, m.
    title : str
        Shown on top.
    """

    def __init__(self, description: RigDescription, path: Array, title: str) -> None:
        self._description = description
        self._path = path
        self._title = title
        T = description.T_world_vessel.T
        self._wall = apply(T, _rings(description.vessel))
        self._camera = _orbit_camera(self._wall.reshape(-1, 3))
        seen = self._wall.reshape(-1, 3) @ self._camera[0].T
        self._middle = (seen.min(axis=0) + seen.max(axis=0)) / 2
        self._max_current = description.coil_limits.max_current
        self._trail: list[Array] = []

    def draw(self, moment: Moment, nodes: Array | None) -> Picture:
        """Draw a moment. `nodes` (n, 3) m in the world are the device's links, for a twin."""
        canvas = np.full((SIZE[1], SIZE[0], 3), 18, np.uint8)
        canvas[:PANEL, :PANEL] = self._xray(moment)
        view = canvas[0:480, PANEL:]
        self._view(view, moment, nodes)
        self._bars(canvas[480:, PANEL:], moment)
        return canvas

    def _xray(self, moment: Moment) -> Picture:
        frame = moment.frame
        crop, zoom = _crop(frame, self._path)
        u0, v0, size = crop
        grey = window(frame.image[v0 : v0 + size, u0 : u0 + size])
        large = cv2.resize(grey, (PANEL, PANEL), interpolation=cv2.INTER_LINEAR)
        picture = np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), np.uint8)

        def at(uv: Array) -> Array:
            return np.asarray(np.round((uv - (u0, v0) + 0.5) * zoom), int)

        line = at(frame.projection.project(self._path))
        cv2.polylines(picture, [line.reshape(-1, 1, 2)], False, PATH, 1, cv2.LINE_AA)
        tolerance = round(1e-3 / frame.projection.pixel_size * zoom)
        cv2.circle(picture, line[-1].tolist(), tolerance, TARGET, 2, cv2.LINE_AA)
        centre = at(moment.track.position)
        seen = moment.track.state == "tracking"
        radius = round(2.2e-3 / frame.projection.pixel_size * zoom)
        cv2.circle(picture, centre.tolist(), radius, TRACK if seen else TARGET, 1, cv2.LINE_AA)
        tip = moment.estimate.position + unit(moment.decision.field) * 5e-3
        begin, end = at(frame.projection.project(np.array([moment.estimate.position, tip])))
        cv2.arrowedLine(picture, begin.tolist(), end.tolist(), FIELD, 2, cv2.LINE_AA, 0, 0.2)
        _text(picture, self._title, (12, 24))
        held = "" if frame.live else "  HELD"
        _text(picture, f"t {frame.t_exposure:6.2f} s  {moment.track.state}{held}", (12, 48))
        return picture

    def _view(self, view: Picture, moment: Moment, nodes: Array | None) -> None:
        camera, scale = self._camera
        centre = np.array([view.shape[1] / 2, view.shape[0] / 2])

        def at(points: Array) -> Array:
            flat = points @ camera.T - self._middle
            return np.asarray(np.round(flat[..., :2] * scale * (1, -1) + centre), int)

        for ring in self._wall:
            cv2.polylines(view, [at(ring).reshape(-1, 1, 2)], True, (120, 105, 90), 1, cv2.LINE_AA)
        cv2.polylines(view, [at(self._path).reshape(-1, 1, 2)], False, PATH, 1, cv2.LINE_AA)
        cv2.circle(view, at(self._path[-1]).tolist(), 5, TARGET, 2, cv2.LINE_AA)
        self._trail.append(moment.estimate.position)
        trail = at(np.array(self._trail))
        cv2.polylines(view, [trail.reshape(-1, 1, 2)], False, TRACK, 1, cv2.LINE_AA)
        if nodes is not None:
            cv2.polylines(view, [at(nodes).reshape(-1, 1, 2)], False, DEVICE, 4, cv2.LINE_AA)
        here = moment.estimate.position
        size = float(np.linalg.norm(moment.decision.field))
        tip = here + unit(moment.decision.field) * size * 0.4  # 10 mT is drawn 4 mm long
        cv2.arrowedLine(view, at(here).tolist(), at(tip).tolist(), FIELD, 2, cv2.LINE_AA, 0, 0.25)
        _text(view, f"field {size * 1e3:4.1f} mT", (12, 24))
        force = np.linalg.norm(moment.decision.force) * 1e6
        _text(view, f"pull {force:5.1f} uN", (12, 46))

    def _bars(self, area: Picture, moment: Moment) -> None:
        height, width = area.shape[:2]
        command = moment.applied.command
        values = getattr(command, "values", np.zeros(len(self._max_current)))
        base, step = height // 2 + 10, width // (len(values) + 1)
        _text(area, f"coil currents, of {self._max_current[0]:.0f} A", (12, 24))
        cv2.line(area, (20, base), (width - 20, base), GREY, 1)
        for i, (value, limit) in enumerate(zip(values, self._max_current, strict=True)):
            x = step * (i + 1)
            top = base - int(value / limit * (height * 0.36))
            cv2.rectangle(area, (x - 14, min(base, top)), (x + 14, max(base, top)), FIELD, -1)
            _text(area, f"{value:+.1f}", (x - 22, height - 12), 0.42)


def _text(picture: Picture, text: str, where: tuple[int, int], size: float = 0.55) -> None:
    shadow = (where[0] + 1, where[1] + 1)
    cv2.putText(picture, text, shadow, FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(picture, text, where, FONT, size, (230, 230, 230), 1, cv2.LINE_AA)


def _crop(frame: Frame, path: Array) -> tuple[tuple[int, int, int], float]:
    """Square (u0, v0, size) around the path with a margin, and its magnification."""
    uv = frame.projection.project(path)
    height, width = frame.image.shape
    centre = (uv.min(axis=0) + uv.max(axis=0)) / 2
    size = int(min(np.ptp(uv, axis=0).max() * 1.25 + 60, height, width))
    u0 = int(np.clip(centre[0] - size / 2, 0, width - size))
    v0 = int(np.clip(centre[1] - size / 2, 0, height - size))
    return (u0, v0, size), PANEL / size


def _rings(vessel: VesselMap, every: float = 1.0e-3, around: int = 20) -> Array:
    """Circles of the lumen along every branch, (n, around, 3) m, in the vessel's frame."""
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    rings = []
    for branch in vessel.branches.values():
        stride = max(round(every / (branch.length / (len(branch.points) - 1))), 1)
        for i in range(0, len(branch.points), stride):
            t = branch.tangents[i]
            a = unit(np.cross(t, [0.0, 0, 1] if abs(t[2]) < 0.9 else [1.0, 0, 0]))
            b = np.cross(t, a)
            circle = np.cos(turn)[:, None] * a + np.sin(turn)[:, None] * b
            rings.append(branch.points[i] + branch.radius[i] * circle)
    return np.array(rings)


def _orbit_camera(points: Array) -> tuple[Array, float]:
    """Orthographic view from above at a slant: (3, 3) rotation and px per m."""
    slant, turn = np.radians(40.0), np.radians(-20.0)
    about_z = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(slant), np.sin(slant)], [0, -np.sin(slant), np.cos(slant)]]
    )
    camera = about_x @ about_z
    span = np.ptp((points - points.mean(axis=0)) @ camera.T, axis=0)
    return camera, float(min(480 / span[0], 360 / span[1]))
