"""What a system makes of raw images before it shows them: curves, edges, temporal filter."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmdtwin.config.imager import DisplayConfig
from mmdtwin.errors import UserError

Grey = NDArray[np.uint16]
GREYS = 2**16  # values of a 16-bit image


class Display:
    """Turns raw frames into shown ones: temporal filter, then edges, then curve.

    - `recursion` r: shown = (1 - r) raw + r shown before. Variance of noise that is independent
      from frame to frame falls by (1 - r)/(1 + r); what moves leaves a trail.
    - `edge_enhancement` a: shown = raw + a (raw - raw blurred), an unsharp mask. Multiplies the
      transfer function, and the noise's amplitude, by 1 + a (1 - exp(-2 (pi edge_width f)^2)).
    - `curve`: with F the full scale, "log" is F ln(1 + x)/ln(1 + F), in which equal thickness makes
      equal steps; "gamma" is F (x/F)^gamma. Small noise is multiplied by the curve's slope.

    Every step saturates at 0 and at full scale.

    Parameters
    ----------
    config : DisplayConfig
        Which of them.
    full_scale : int
        Largest grey of the raw and of the shown image.

    Raises
    ------
    UserError
        If the full scale does not fit into 16 bits.
    """

    def __init__(self, config: DisplayConfig, full_scale: int) -> None:
        if not 1 <= full_scale < GREYS:
            raise UserError(f"display: full scale {full_scale} must be 1..{GREYS - 1}")
        self.config = config
        self.full_scale = full_scale
        self.curve = _curve(config, full_scale)
        self._shown: NDArray[np.float32] | None = None

    def reset(self) -> None:
        """Forget the frames before."""
        self._shown = None

    def __call__(self, image: Grey) -> Grey:
        """Return what is shown of a raw frame (h, w); the frame itself if nothing is done to it.

        Raises
        ------
        UserError
            If it is not a uint16 image, or its shape changes without a `reset`.
        """
        if image.dtype != np.uint16 or image.ndim != 2:
            raise UserError(f"display: {image.dtype} {image.shape}: needs a (h, w) uint16 image")
        config = self.config
        if config.recursion > 0.0:
            image = self._recursive(image)
        if config.edge_enhancement > 0.0:
            image = self._sharpened(image)
        if config.curve != "linear":
            shown = np.empty_like(image)
            _look_up(image.ravel(), self.curve, shown.ravel())
            image = shown
        return image

    def _recursive(self, image: Grey) -> Grey:
        if self._shown is None:
            self._shown = image.astype(np.float32)
            return image
        if self._shown.shape != image.shape:
            raise UserError(
                f"display: image {image.shape} after {self._shown.shape}: reset it first"
            )
        cv2.accumulateWeighted(image, self._shown, 1.0 - self.config.recursion)
        return np.rint(self._shown).astype(np.uint16)

    def _sharpened(self, image: Grey) -> Grey:
        plain, amount = image.astype(np.float32), self.config.edge_enhancement
        blurred = cv2.GaussianBlur(plain, (0, 0), self.config.edge_width)
        # Rounds, and saturates at 16 bits.
        sharp = cv2.addWeighted(plain, 1.0 + amount, blurred, -amount, 0.0, dtype=cv2.CV_16U)
        return np.minimum(np.asarray(sharp, np.uint16), np.uint16(self.full_scale))


def _curve(config: DisplayConfig, full_scale: int) -> Grey:
    """Return what each of all 16-bit greys is shown as, (65536,)."""
    x = np.minimum(np.arange(GREYS), full_scale) / full_scale
    if config.curve == "log":
        x = np.log1p(x * full_scale) / np.log1p(full_scale)
    elif config.curve == "gamma":
        x = x**config.gamma
    return np.rint(full_scale * x).astype(np.uint16)


@njit(cache=True, nogil=True)
def _look_up(image: Grey, table: Grey, out: Grey) -> None:
    for i in range(image.size):
        out[i] = table[image[i]]
