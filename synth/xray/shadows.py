"""The path lengths of bodies, gathered by material: what the spectrum is summed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, Image
from mmdtwin.sim.shapes import Body, Film, Mesh, Wire
from mmdtwin.synth.xray.path_lengths import Roi, covered_roi, path_lengths

# Bodies of one material are cast together if their magnifications differ by less than this: a spot
# of 1 mm then blurs them alike to 0.05 mm on the detector.
ALIKE = 0.05


@dataclass(frozen=True, eq=False)
class Shadow:
    """Where rays meet bodies of one material at about one depth.

    Parameters
    ----------
    material, displaces : str
        Names of X-ray materials.
    magnification : float
        Of the bodies on the detector.
    roi : (int, int, int, int)
        First row, end row, first column, end column.
    path, share : (h, w) float32 arrays
        Of `path_lengths`, for `roi`.
    rows, columns : (n,) int arrays
        The pixels of the image in which there is any path.
    thickness, covered : (n,) float32 arrays
        At those: thickness in m where there is any, and the share of the pixel that has it.
    """

    material: str
    displaces: str
    magnification: float
    roi: Roi
    path: Image
    share: Image
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    thickness: Image
    covered: Image

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of `roi`."""
        return slice(self.roi[0], self.roi[1]), slice(self.roi[2], self.roi[3])

    def at(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Image:
        """Return the mean path length in m at pixels of the image, (n,)."""
        r0, r1, c0, c1 = self.roi
        inside = (rows >= r0) & (rows < r1) & (columns >= c0) & (columns < c1)
        path = np.zeros(len(rows), np.float32)
        path[inside] = self.path[rows[inside] - r0, columns[inside] - c0]
        return path


def shadows(
    bodies: Sequence[Body], projection: Projection, margin: Callable[[float], int]
) -> list[Shadow]:
    """Return the shadows of bodies, in the order in which their materials first come.

    Paths in bodies of one material add; where several meet a pixel they are taken to cover it
    independently of one another.

    Parameters
    ----------
    bodies : sequence of Body
        In the world.
    projection : Projection
        Without distortion.
    margin : callable
        From a magnification to the px around a body's shadow that belong to its `roi`.
    """
    groups: dict[tuple[str, str, int], list[tuple[Roi, Image, Image, float]]] = {}
    for body in bodies:
        magnification = projection.sid / _depth(body, projection)
        roi = covered_roi(body, projection, margin(magnification))
        if roi is None:
            continue
        path, share = path_lengths(body, projection, roi)
        key = body.material, body.displaces, round(magnification / ALIKE)
        groups.setdefault(key, []).append((roi, path, share, magnification))
    return [_gathered(material, displaces, g) for (material, displaces, _), g in groups.items()]


def _gathered(
    material: str, displaces: str, group: list[tuple[Roi, Image, Image, float]]
) -> Shadow:
    roi, path, share, magnification = group[0]
    if len(group) > 1:
        rois = np.array([g[0] for g in group])
        r0, c0 = rois[:, [0, 2]].min(axis=0).tolist()
        r1, c1 = rois[:, [1, 3]].max(axis=0).tolist()
        roi = r0, r1, c0, c1
        path = np.zeros((r1 - r0, c1 - c0), np.float32)
        clear = np.ones_like(path)
        for (a, b, c, d), more, its_share, _ in group:
            window = slice(a - r0, b - r0), slice(c - c0, d - c0)
            path[window] += more
            clear[window] *= 1.0 - its_share
        share = 1.0 - clear
        magnification = float(np.mean([g[3] for g in group]))
    rows, columns = np.nonzero(path > 0.0)
    covered = share[rows, columns]
    thickness = path[rows, columns] / covered
    return Shadow(
        material, displaces, magnification, roi, path, share,
        rows + roi[0], columns + roi[2], thickness, covered,
    )  # fmt: skip


def _depth(body: Body, projection: Projection) -> float:
    """Mean distance from the source along the central ray, m."""
    points: Array
    if isinstance(body, Mesh):
        points = body.vertices
    elif isinstance(body, Wire):
        points = body.points
    elif isinstance(body, Film):
        points = body.T[None, :3, 3]
    else:
        points = body.centre
    nearest, farthest = 0.05 * projection.sid, projection.sid
    return float(np.clip(projection.depth(points).mean(), nearest, farthest))
