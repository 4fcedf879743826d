"""What is known of a device in an image: from its thickness along the rays, before noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, Image
from mmdtwin.synth.compositor.devices import Device, line_points
from mmdtwin.synth.compositor.outline import polygons, run_lengths
from mmdtwin.synth.xray.shadows import Shadow, shadows

KEYPOINTS = ("end_a", "line_1", "line_2", "line_3", "end_b")  # along the centreline


@dataclass(frozen=True, eq=False)
class Footprint:
    """A device's shadow: its thickness along the rays of pixels.

    Parameters
    ----------
    roi : (int, int, int, int)
        First row, end row, first column, end column.
    path, share : (h, w) float32 arrays
        Of `path_lengths`, for `roi`.
    """

    roi: tuple[int, int, int, int]
    path: Image
    share: Image

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of `roi`."""
        return slice(self.roi[0], self.roi[1]), slice(self.roi[2], self.roi[3])

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels of `roi` with any of the device: the support of its attenuation."""
        return self.path > 0.0

    @property
    def thickest(self) -> tuple[int, int, float]:
        """Row, column and thickness, m, of the ray that is longest inside the device."""
        thickness = np.where(self.mask, self.path / np.maximum(self.share, 1e-9), 0.0)
        row, column = np.unravel_index(int(thickness.argmax()), thickness.shape)
        value = float(thickness[row, column])
        return int(row) + self.roi[0], int(column) + self.roi[2], value

    @property
    def centroid(self) -> tuple[float, float]:
        """Mean place of the device's thickness (u, v), px."""
        v, u = np.indices(self.path.shape)
        weight = self.path / self.path.sum()
        return (
            float((weight * u).sum() + self.roi[2]),
            float((weight * v).sum() + self.roi[0]),
        )


def footprint(device: Device, projection: Projection) -> Footprint | None:
    """Return a device's shadow; None of one out of the image."""
    found: list[Shadow] = shadows(device.bodies, projection, lambda _: 0)
    found = [shadow for shadow in found if len(shadow.rows)]
    if not found:
        return None
    rois = np.array([shadow.roi for shadow in found])
    (r0, c0), (r1, c1) = rois[:, [0, 2]].min(axis=0).tolist(), rois[:, [1, 3]].max(axis=0).tolist()
    path = np.zeros((r1 - r0, c1 - c0), np.float32)
    clear = np.ones_like(path)
    for shadow in found:  # of one material: more than one where depths differ
        a, b, c, d = shadow.roi
        window = slice(a - r0, b - r0), slice(c - c0, d - c0)
        path[window] += shadow.path
        clear[window] *= 1.0 - shadow.share
    rows, columns = np.nonzero(path > 0.0)
    (v0, u0), (v1, u1) = (rows.min(), columns.min()), (rows.max() + 1, columns.max() + 1)
    cut = slice(v0, v1), slice(u0, u1)
    roi = (int(v0) + r0, int(v1) + r0, int(u0) + c0, int(u1) + c0)
    return Footprint(roi, path[cut], np.float32(1.0) - clear[cut])


@dataclass(frozen=True, eq=False)
class Instance:
    """A device in an image.

    Parameters
    ----------
    device : Device
        In the world.
    footprint : Footprint
    facts : dict
        What was asked for and measured: contrasts, CNR, d', shares hidden and in the image.
    """

    device: Device
    footprint: Footprint
    facts: dict[str, Any]

    def record(self, projection: Projection) -> dict[str, Any]:
        """Return the label as JSON takes it.

        Places are px from the middle of the first pixel; box, run lengths and polygons are COCO's,
        whose first pixel reaches from 0 to 1.
        """
        roi, shape = self.footprint.roi, projection.shape
        mask = np.zeros(shape, bool)
        mask[self.footprint.window] = self.footprint.mask
        outline = polygons(self.footprint.mask)
        if outline is not None:
            corner = (roi[2], roi[0])
            outline = [[x + corner[i % 2] for i, x in enumerate(loop)] for loop in outline]
        body = self.device.bodies[0]
        return {
            "kind": self.device.kind,
            "bbox": [roi[2], roi[0], roi[3] - roi[2], roi[1] - roi[0]],
            "area": int(self.footprint.mask.sum()),
            "run_lengths": run_lengths(mask),
            "polygons": outline,
            "keypoints": _keypoints(self.device.line, projection),
            "centroid": [round(x, 4) for x in self.footprint.centroid],
            "position": [round(x, 9) for x in self.device.centre.tolist()],
            "direction": [round(x, 6) for x in _direction(self.device.line)],
            "material": body.material,
            "displaces": body.displaces,
            **self.facts,
        }


def _keypoints(line: Array, projection: Projection) -> list[list[float]]:
    """Return places along the centreline (u, v, 2), px; 0 in place of 2 out of the image."""
    height, width = projection.shape
    found = []
    for u, v in projection.project(line_points(line, len(KEYPOINTS))).tolist():
        inside = -0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5
        found.append([round(u, 4), round(v, 4), 2 if inside else 0])
    return found


def _direction(line: Array) -> list[float]:
    along = line[-1] - line[0]
    return list((along / max(float(np.linalg.norm(along)), 1e-12)).tolist())
