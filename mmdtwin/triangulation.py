"""Points in space from two views or more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array

PARALLEL = 1e-6  # smallest squared sine between rays, about 0.06 deg, that still gives a depth


def triangulate(
    projections: Sequence[Projection], pixels: Sequence[ArrayLike]
) -> tuple[Array, float]:
    """Find the point that is nearest to the rays of its images.

    The sum of squared distances from the rays is least there, which is a linear problem
    (Hartley and Sturm, Triangulation, 1997, call it the midpoint method for two views).

    Parameters
    ----------
    projections : sequence of n Projection
        Of views from at least two sources, such as `frame.projection` of each plane of a biplane.
    pixels : sequence of n (2,) arrays
        Where the point is seen in each, px.

    Returns
    -------
    point : (3,) array
        In the world, m.
    residual : float
        Root mean square distance of the point from the rays, m: large where the pixels do not show
        the same point, or a projection is not what it is believed to be.

    Raises
    ------
    UserError
        If there are fewer than two views, a pixel is not finite, or all rays are parallel.
    """
    if len(projections) < 2 or len(projections) != len(pixels):
        raise UserError(
            f"triangulate: {len(projections)} projections and {len(pixels)} pixels; allowed are "
            "as many of one as of the other, and at least two"
        )
    rays = np.stack([p.rays(uv) for p, uv in zip(projections, pixels, strict=True)])
    if not np.isfinite(rays).all():
        raise UserError("triangulate: the pixels are not finite")
    sources = np.stack([p.source for p in projections])
    # I - d d^T takes what is across a ray; the sum of it is singular if all rays are parallel.
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    total = across.sum(axis=0)
    if np.linalg.eigvalsh(total)[0] < PARALLEL:
        raise UserError("triangulate: the rays are parallel; choose views from different angles")
    point = np.linalg.solve(total, np.einsum("nij,nj->i", across, sources))
    missed = np.einsum("nij,nj->ni", across, point - sources)
    return point, float(np.sqrt(np.mean(np.sum(missed**2, axis=1))))
