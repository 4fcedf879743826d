"""What disease does to a branch: waves of its centreline, narrowings and widenings of its lumen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from mmdtwin.config.branch import Aneurysm, BranchConfig, Stenosis, Tortuosity
from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, arclength, unit
from mmdtwin.sim.phantoms.curve import evenly

NARROWEST = 4.0  # voxels across a throat, below which its facets are far off a circle
STEEPEST = 1.0  # slope of the radius at which balls about the centreline no longer fit the lumen


def waved(points: Array, tortuosity: Tortuosity, step: float) -> Array:
    """Return the curve (n, 3) m with waves that make it `tortuosity.index` times as long.

    The displacement is a sine in one plane, turned along the curve without twist; it fades over
    half a wave towards both ends. The result is resampled every `step` m.
    """
    s = arclength(points)
    t = s / s[-1]
    ramp = np.clip(2.0 * tortuosity.waves * np.minimum(t, 1.0 - t), 0.0, 1.0)
    wave = ramp**2 * (3.0 - 2.0 * ramp) * np.sin(2.0 * np.pi * tortuosity.waves * t)
    shift = wave[:, None] * _normals(unit(np.gradient(points, axis=0)), tortuosity.angle)

    def excess(amplitude: float) -> float:
        return float(arclength(points + amplitude * shift)[-1] / s[-1]) - tortuosity.index

    # An index of 2 takes less than two lengths of amplitude, shared among the waves.
    amplitude = brentq(excess, 0.0, 2.0 * s[-1])
    return evenly(points + amplitude * shift, step)


def _normals(tangents: Array, angle: float) -> Array:
    """Unit normals (n, 3) turned along a curve without twist; at angle 0 nearest the z axis."""
    normals = np.empty_like(tangents)
    normal = np.eye(3)[2 if abs(tangents[0, 2]) < 0.9 else 0]
    for i, tangent in enumerate(tangents):
        normal = unit(normal - (normal @ tangent) * tangent)
        normals[i] = normal
    return np.cos(angle) * normals + np.sin(angle) * np.cross(tangents, normals)


def check_bends(name: str, points: Array, radius: Array) -> None:
    """Raise UserError where waves bend more sharply than the lumen's radius."""
    turning = np.linalg.norm(np.gradient(unit(np.gradient(points, axis=0)), axis=0), axis=1)
    step = arclength(points)[-1] / (len(points) - 1)
    sharpest = int(np.argmax(turning * radius))
    bend = step / max(turning[sharpest], 1e-12)
    if bend <= radius[sharpest]:
        raise UserError(
            f"vessel.branches.{name}.tortuosity: bends of {bend * 1e3:.1f} mm radius are sharper "
            f"than the lumen's radius of {radius[sharpest] * 1e3:.1f} mm; lower index or waves"
        )


def diseased(name: str, branch: BranchConfig, s: Array, radius: Array, voxel: float) -> Array:
    """Return the radii (n,) m at arclengths s (n,) m with the branch's lesions.

    Raises
    ------
    UserError
        If a lesion lies beyond the branch, is too steep for its length, or leaves a throat that a
        grid of `voxel` m does not resolve.
    """
    result = radius.copy()
    for key, lesions in (("stenosis", branch.stenosis), ("aneurysm", branch.aneurysm)):
        for lesion in lesions:
            where = f"vessel.branches.{name}.{key}"
            bump = _bump(where, lesion, s)
            change = _change(lesion)
            healthy = float(np.interp(lesion.position, s, radius))
            slope = abs(change) * healthy * np.pi / lesion.length
            if slope >= STEEPEST:
                least = abs(change) * healthy * np.pi / STEEPEST
                raise UserError(
                    f"{where}.length: {lesion.length * 1e3:.2f} mm is too short for this change "
                    f"of radius; give more than {least * 1e3:.2f} mm"
                )
            result *= 1.0 + change * bump
    for lesion in branch.stenosis:
        throat = 2.0 * float(np.interp(lesion.position, s, result))
        if throat < NARROWEST * voxel:
            raise UserError(
                f"vessel.branches.{name}.stenosis.degree: {lesion.degree:g} leaves a throat of "
                f"{throat * 1e3:.2f} mm, less than {NARROWEST:g} voxels of {voxel * 1e3:.3g} mm; "
                f"lower degree, or voxel to {throat / NARROWEST * 1e3:.2g} mm"
            )
    return result


def _change(lesion: Stenosis | Aneurysm) -> float:
    return -lesion.degree if isinstance(lesion, Stenosis) else lesion.dilation - 1.0


def _bump(where: str, lesion: Stenosis | Aneurysm, s: Array) -> NDArray[np.float64]:
    """Cosine bump (n,): 1 at the lesion's position, 0 beyond its length."""
    if lesion.position > s[-1]:
        raise UserError(
            f"{where}.position: {lesion.position * 1e3:.1f} mm lies beyond the branch, which is "
            f"{s[-1] * 1e3:.1f} mm long (positions are in m)"
        )
    x = np.clip((s - lesion.position) / lesion.length, -0.5, 0.5)
    return 0.5 * (1.0 + np.cos(2.0 * np.pi * x))
