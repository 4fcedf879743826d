"""Projection against its laws and OpenCV, edges of the collimator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import load
from mmdtwin.config.imager import CollimatorConfig, ImagerConfig
from mmdtwin.distortion import Distortion, field_points
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, transform
from mmdtwin.sim.shapes import Solids
from mmdtwin.synth.xray.checks.check import Check
from mmdtwin.synth.xray.collimator import aperture
from mmdtwin.synth.xray.path_lengths import covered_roi, path_lengths

CASES = 200  # random geometries
POINTS = 50  # in each
BALLS = 12
MAGNIFICATION = 1e-6  # asked
AGREEMENT = 1e-6  # px, asked of OpenCV
ROUND_TRIP = 1e-9  # px
CENTROID = 0.02  # px: perspective shifts a bead's shadow by up to 0.01 px, 9 x 9 rays per pixel
EDGE = 0.01  # px: interpolation between pixels of a smooth edge


def checks(seed: int) -> Iterator[Check]:
    """Yield the checks of the geometry."""
    yield _magnification(seed)
    yield _opencv(seed)
    yield _round_trip(seed)
    yield _centroids(seed)
    yield _collimator_edges(seed)


def random_projection(rng: np.random.Generator, distortion: Distortion | None = None) -> Projection:
    """Return a C-arm of random distances, angles, detector and place."""
    sid = rng.uniform(0.9, 1.3)
    place = transform(Rotation.random(random_state=rng).as_matrix(), rng.normal(0.0, 0.05, 3))
    return Projection.from_carm(
        sid, sid * rng.uniform(0.5, 0.8), rng.uniform(0.1e-3, 0.5e-3),
        (int(rng.integers(200, 1100)), int(rng.integers(200, 1100))),
        rng.uniform(-1.5, 1.5), rng.uniform(-0.8, 0.8), place, distortion=distortion,
    )  # fmt: skip


def _points(rng: np.random.Generator, projection: Projection) -> Array:
    """Points in the world about the isocentre that fall within the round field."""
    around = field_points(projection.shape)
    pixels = around[rng.integers(0, len(around), POINTS)]
    depth = projection.sod * rng.uniform(0.8, 1.2, POINTS)
    return projection.ideal.back_project(pixels, depth)


def _magnification(seed: int) -> Check:
    rng, worst = np.random.default_rng(seed), 0.0
    for _ in range(CASES):
        p = random_projection(rng)
        along = rng.normal(size=2) @ p.axes[:2]
        step = 1e-2 * along / np.linalg.norm(along)
        seen = np.linalg.norm(p.project(p.isocentre + step) - p.project(p.isocentre)) * p.pitch
        worst = max(worst, abs(float(seen) / 1e-2 / (p.sid / p.sod) - 1))
    return Check(
        claim="an object at the isocentre is magnified by SID/SOD",
        parameters=f"{CASES} random C-arms, 10 mm across the central ray",
        reference="similar triangles",
        acceptance="1e-6 relative",
        result=f"largest error {worst:.1e}",
        holds=worst < MAGNIFICATION,
    )


def _opencv(seed: int) -> Check:
    rng, worst = np.random.default_rng(seed), {"panel": 0.0, "pincushion": 0.0}
    for _ in range(CASES):
        plain = random_projection(rng)
        radius = min(plain.shape) / 2
        bent = Distortion(rng.uniform(-0.1, 0.2), 0.0, radius, plain.principal)
        for name, distortion in (("panel", None), ("pincushion", bent)):
            p = Projection.from_axes(plain.source, plain.axes, plain.sid, plain.sod, plain.pitch,
                                     plain.shape, distortion=distortion)  # fmt: skip
            points = _points(rng, p)
            rotation, translation = p.extrinsics
            theirs, _ = cv2.projectPoints(
                points, cv2.Rodrigues(rotation)[0], translation, p.intrinsics,
                p.distortion_coefficients,
            )  # fmt: skip
            error = float(np.abs(theirs[:, 0] - p.project(points)).max())
            worst[name] = max(worst[name], error)
    return Check(
        claim="points are projected as cv2.projectPoints does",
        parameters=f"{CASES} random C-arms, {POINTS} points each; pincushion -0.1 to 0.2 as k1",
        reference=f"OpenCV {cv2.__version__}, camera matrix, rotation and translation",
        acceptance="1e-6 px",
        result=", ".join(f"{name} {error:.1e} px" for name, error in worst.items()),
        holds=max(worst.values()) < AGREEMENT,
        limits="OpenCV has no S-distortion",
    )


def _round_trip(seed: int) -> Check:
    rng, worst = np.random.default_rng(seed), 0.0
    for _ in range(CASES):
        radius = rng.uniform(100, 1024)
        bent = Distortion(
            rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2), radius, (radius - 0.5, radius - 0.5)
        )
        p = random_projection(rng, bent)
        pixels = rng.uniform(-0.2 * radius, 2.2 * radius, (POINTS, 2))
        again = bent.undistort(bent.distort(pixels))
        depth = rng.uniform(0.5, 1.0, POINTS)
        seen = p.project(p.back_project(pixels, depth))
        worst = max(worst, float(np.abs(again - pixels).max()), float(np.abs(seen - pixels).max()))
    shown = Distortion(0.1, 0.1, 1.0, (0.0, 0.0))
    return Check(
        claim="distortion and its inverse cancel, alone and within projections",
        parameters=f"{CASES} pincushions and S-distortions of -0.2 to 0.2, beyond the field too",
        reference="the same pixels",
        acceptance="1e-9 px",
        result=f"largest error {worst:.1e} px",
        holds=worst < ROUND_TRIP,
        draw=lambda axes: _draw_grid(axes, shown),
    )


def _draw_grid(axes: Any, bent: Distortion) -> None:
    """A grid of wires as an intensifier shows it, in radii of the field."""
    along = np.linspace(-1.0, 1.0, 101)
    for offset in np.linspace(-1.0, 1.0, 11):
        for line in (np.stack([along, np.full(101, offset)], 1), np.stack([np.full(101, offset),
                     along], 1)):  # fmt: skip
            inside = np.hypot(*line.T) <= 1.0
            axes.plot(*bent.distort(line[inside]).T, color="tab:blue", linewidth=0.8)
    axes.set(aspect="equal", xlabel="radii of the field", ylabel="pincushion 0.1, S 0.1")
    axes.invert_yaxis()


def _centroids(seed: int) -> Check:
    rng, worst = np.random.default_rng(seed), 0.0
    for _ in range(BALLS):
        p = random_projection(rng)
        radius = float(rng.uniform(0.5e-3, 1.5e-3))
        size = radius / p.pixel_size
        u, v = rng.uniform(2 * size + 5, min(p.shape) - 2 * size - 5, 2)
        centre = p.back_project([u, v], p.sod * rng.uniform(0.9, 1.1))
        ball = Solids.balls(centre[None], np.array([radius]), "steel")
        roi = covered_roi(ball, p)
        assert roi is not None
        path, _ = path_lengths(ball, p, roi, supersampling=9)
        rows, columns = np.mgrid[roi[0] : roi[1], roi[2] : roi[3]]
        weight = path / path.sum()
        found = np.array([(columns * weight).sum(), (rows * weight).sum()])
        worst = max(worst, float(np.linalg.norm(found - p.project(centre))))
    return Check(
        claim="the shadow of a bead lies where its middle is projected",
        parameters=f"{BALLS} beads of 1-3 mm, random C-arms, centroid of path lengths",
        reference="Projection.project",
        acceptance="0.02 px: perspective widens a bead's far side, by up to 0.01 px here",
        result=f"largest distance {worst:.4f} px",
        holds=worst < CENTROID,
    )


def _collimator_edges(seed: int) -> Check:
    rng, worst = np.random.default_rng(seed), dict[str, float]()
    base = load(ImagerConfig, "imagers", "flat-phantom")
    for _ in range(CASES // 10):
        across = float(rng.uniform(40e-3, 100e-3))
        centre = (float(rng.uniform(-15e-3, 15e-3)), float(rng.uniform(-15e-3, 15e-3)))
        for shape in ("rectangular", "round", "octagonal"):
            other = across * 0.7 if shape == "rectangular" else across
            lead = CollimatorConfig(shape=shape, opening=(across, other), centre=centre)
            config = base.model_copy(update={"collimator": lead})
            p = Projection.from_config(config)
            share = (aperture(config, p).astype(float) - lead.leakage) / (1.0 - lead.leakage)
            errors = [
                abs(found - true)
                for found, true in _edges(share, p, (across / 2, other / 2), centre, shape)
            ]
            worst[shape] = max(worst.get(shape, 0.0), max(errors))
    return Check(
        claim="the collimator's edges, at half the beam, lie where its opening ends",
        parameters=f"{CASES // 10} openings of 40-100 mm off the middle; 0.6 mm focal spot",
        reference="opening and centre on the detector",
        acceptance="0.01 px: interpolation between pixels",
        result=", ".join(f"{shape} {error:.4f} px" for shape, error in worst.items()),
        holds=max(worst.values()) < EDGE,
        draw=_draw_openings,
    )


def _edges(
    share: Array, p: Projection, half: tuple[float, float], centre: tuple[float, float], shape: str
) -> Iterator[tuple[float, float]]:
    """Yield found and true distances, px, from the opening's middle to edges that are seen."""
    directions = [(1.0, 0.0, half[0]), (-1.0, 0.0, half[0]), (0.0, 1.0, half[1]),
                  (0.0, -1.0, half[1])]  # fmt: skip
    if shape != "rectangular":
        d = np.sqrt(0.5)
        directions += [(d, d, half[0]), (-d, d, half[0])]
    u, v = np.asarray(p.principal) + np.asarray(centre) / p.pitch
    for du, dv, reach in directions:
        true = reach / p.pitch
        line = true + np.linspace(-4.0, 4.0, 801)
        x, y = u + line * du, v + line * dv
        if min(x.min(), y.min()) < 1 or x.max() > p.shape[1] - 2 or y.max() > p.shape[0] - 2:
            continue
        along = map_coordinates(share, [y, x], order=3)  # cv2.remap rounds to 1/32 px
        yield float(np.interp(-0.5, -along, line)), true


def _draw_openings(axes: Any) -> None:
    base = load(ImagerConfig, "imagers", "flat-phantom")
    images = []
    for shape in ("rectangular", "round", "octagonal"):
        lead = CollimatorConfig(shape=shape, opening=(0.11, 0.11))
        config = base.model_copy(update={"collimator": lead})
        images.append(aperture(config, Projection.from_config(config)))
    axes.imshow(np.hstack(images), cmap="gray")
    axes.set_axis_off()
