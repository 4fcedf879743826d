"""Path lengths in films: thickness where rays meet their plane, over the cosine."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.frame import Projection
from mmdtwin.sim.shapes import Film

STEEPEST = 0.05  # cosine between rays and normal, below which a film is seen from its edge


def film_lengths(
    film: Film, projection: Projection, roi: tuple[int, int, int, int], supersampling: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return path lengths and shares of pixels, as `path_lengths`.

    Rays that come from the side, within 3 degrees of the film, count none of it: it has no depth.
    """
    height, width = film.thickness.shape
    u0, v0 = (width - 1) / 2, (height - 1) / 2
    # From the film's pixels to the world's plane, and on to the image: a homography.
    to_world = film.T[:3, [0, 1, 3]] @ np.array(
        [[film.pixel_size, 0, -u0 * film.pixel_size], [0, film.pixel_size, -v0 * film.pixel_size],
         [0, 0, 1.0]]
    )  # fmt: skip
    to_image = projection.matrix[:, :3] @ to_world
    to_image[:, 2] += projection.matrix[:, 3]
    n = supersampling
    r0, r1, c0, c1 = roi
    fine = np.array([[n, 0, (n - 1) / 2 - n * c0], [0, n, (n - 1) / 2 - n * r0], [0, 0, 1.0]])
    size = ((c1 - c0) * n, (r1 - r0) * n)
    met = cv2.warpPerspective(
        np.asarray(film.thickness, np.float32), fine @ to_image, size, flags=cv2.INTER_LINEAR
    )
    rows, columns = np.mgrid[r0:r1, c0:c1]
    rays = projection.rays(np.stack([columns, rows], axis=-1).astype(float))
    cosine = np.abs(rays @ film.T[:3, 2])
    parts = met.reshape(r1 - r0, n, c1 - c0, n)
    slant = np.where(cosine > STEEPEST, 1.0 / np.maximum(cosine, STEEPEST), 0.0)
    path = parts.mean(axis=(1, 3)) * slant
    share = (parts > 0.0).mean(axis=(1, 3)) * (slant > 0.0)
    return path.astype(np.float32), share.astype(np.float32)
