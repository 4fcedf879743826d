"""Very wide blurs, which need only a small image: scatter and veiling glare."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from scipy.fft import dctn, idctn

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array, Image

LARGEST_SHRINK = 8
CELLS = 4.0  # of the small image that the blur's width spans at least


class LowPass:
    """Convolution with a round, wide spread, at a fraction of the size; the mean stays, to 1e-4.

    The image goes on mirrored beyond its edges, so that a uniform one stays uniform: the cosine
    transform does just that, and the spread's transfer function is all it needs.

    Parameters
    ----------
    shape : (int, int)
        Of the image, px.
    width : float
        Of the spread, px; sets how small the image may be made, 1/8 at least.
    transfer : callable
        Spatial frequency, cycles/px, to the spread's transfer function, 1 at 0.

    Attributes
    ----------
    shrink : int
        Pixels along each side that are taken together.
    """

    def __init__(
        self, shape: tuple[int, int], width: float, transfer: Callable[[Array], Array]
    ) -> None:
        self.shape = shape
        self.shrink = int(np.clip(width / CELLS, 1, LARGEST_SHRINK))
        small = [-(-side // self.shrink) for side in shape]
        # A cosine transform's k-th wave has k half periods along the side of the whole image.
        v, u = (np.arange(n) / (2.0 * side) for n, side in zip(small, shape, strict=True))
        self._transfer = transfer(np.hypot(v[:, None], u)).astype(np.float32)
        if self.shrink > 1:  # means over cells blur once, straight lines between them twice
            cell_v, cell_u = (side / n for n, side in zip(small, shape, strict=True))
            cells = np.sinc(v * cell_v)[:, None] * np.sinc(u * cell_u)
            self._transfer /= (cells**3).astype(np.float32)

    @property
    def transfer(self) -> Image:
        """Factors of the small image's cosine transform."""
        return self._transfer

    def reduce(self, image: Image) -> Image:
        """Return the small image: means over the pixels taken together.

        Raises
        ------
        UserError
            If the image is not finite.
        """
        height, width = self._transfer.shape
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        if not np.isfinite(small).all():
            raise UserError("image: a value is not finite; all must be")
        return np.asarray(small, np.float32)

    def spread(self, small: Image) -> Image:
        """Return the small image after the blur, at full size."""
        waves = dctn(small, norm="ortho")
        waves *= self._transfer
        blurred = idctn(waves, norm="ortho", overwrite_x=True)
        size = self.shape[::-1]
        return np.asarray(cv2.resize(blurred, size, interpolation=cv2.INTER_LINEAR), np.float32)
