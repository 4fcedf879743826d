"""The image without the device, learnt from past frames only.

Everything is kept in the logarithm of the signal. Attenuation multiplies, so in the logarithm a
device is a fixed offset whatever lies behind it, a change of exposure is one constant for the
whole image, and both can be removed by subtraction. The price is a noise that is not uniform:
the variance of log(signal) is inversely proportional to the signal (quantum noise), which the
detector accounts for as a weight.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

COARSE = 8  # px; side of the blocks on which gain and scene jumps are measured
FIRST_FRAMES = 3  # frames kept of excluded places: averages noise before the device moves far
MAD_TO_SIGMA = 1.4826  # median absolute deviation to standard deviation, normal distribution


class BackgroundEstimate:
    """Per-pixel running mean of the log signal, blind to an excluded region.

    Parameters
    ----------
    memory : int, default 60
        Frames after which an old frame's share has fallen to 1/e. 60 frames (4 s at 15 Hz) leave
        1/60 of the noise variance in the estimate and follow a drift of the scene in seconds;
        assumed.
    jump_ratio : float, default 3.0
        The scene counts as changed when the spread of the block-averaged residual exceeds its
        usual value by this factor; assumed.
    jump_frames : int, default 3
        Consecutive changed frames after which everything is forgotten: one bad frame (a defect
        of the video link) must not cost the background; assumed.

    Attributes
    ----------
    mean : (h, w) float32 array
        Log signal at the reference exposure. Where `count` is 0 it is what the first frames
        showed, the device included: good for seeing change, and nothing else.
    count : (h, w) float32 array
        Samples behind each pixel, at most `memory`; 0 marks pixels never seen without the device.
    """

    def __init__(self, memory: int = 60, jump_ratio: float = 3.0, jump_frames: int = 3) -> None:
        self.memory = memory
        self.jump_ratio = jump_ratio
        self.jump_frames = jump_frames
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.mean: Image = np.zeros((0, 0), np.float32)
        self.count: Image = np.zeros((0, 0), np.float32)
        self.frames = 0
        self._spread = 0.0
        self._changed = 0

    @staticmethod
    def log(image: NDArray[np.uint16]) -> Image:
        """Log signal of a raw image (h, w); counts below one, which carry no signal, become one."""
        signal = image.astype(np.float32)
        np.maximum(signal, 1.0, out=signal)
        return np.asarray(cv2.log(signal, signal), np.float32)

    def match(self, log_image: Image) -> float:
        """Return the log exposure of a frame relative to the estimate, and notice scene jumps.

        The gain is the median of the block-averaged residual: a device, an injected contrast or
        a hole in the estimate covers too few blocks to move it.

        Parameters
        ----------
        log_image : (h, w) float32 array
            Log signal, see `log`.

        Returns
        -------
        float
            Log gain; 0 while nothing is known.
        """
        if self.frames and self.mean.shape != log_image.shape:
            self.reset()
        if not self.frames:
            return 0.0
        residual = cv2.subtract(log_image, self.mean)
        height, width = residual.shape
        size = (max(width // COARSE, 1), max(height // COARSE, 1))
        coarse = cv2.resize(residual, size, interpolation=cv2.INTER_AREA)
        seen = cv2.resize(self.count, size, interpolation=cv2.INTER_NEAREST) > 0
        blocks = coarse[seen]
        if not blocks.size:
            return 0.0
        gain = float(np.median(blocks))
        spread = MAD_TO_SIGMA * float(np.median(np.abs(blocks - gain)))
        if self._is_jump(spread):
            self.reset()
            return 0.0
        return gain

    def _is_jump(self, spread: float) -> bool:
        # A mean of n frames carries 1/n of a frame's noise into the difference.
        expected_share = np.sqrt(1.0 + 1.0 / min(self.frames, self.memory))
        spread /= float(expected_share)
        if self._spread == 0.0:
            self._spread = spread
            return False
        if spread > self.jump_ratio * self._spread:
            self._changed += 1
            return self._changed >= self.jump_frames
        self._changed = 0
        self._spread += (spread - self._spread) / self.memory
        return False

    def update(
        self, log_image: Image, gain: float, excluded: NDArray[np.bool_], at: tuple[int, int]
    ) -> None:
        """Take a frame into the mean, except where the device may be.

        Parameters
        ----------
        log_image : (h, w) float32 array
            Log signal.
        gain : float
            What `match` returned for it.
        excluded : (a, b) bool array
            True where the device may be; covers the image from pixel row, column `at`.
        at : (int, int)
            First row and column of `excluded` in the image.
        """
        if not self.frames:
            self.mean = np.zeros_like(log_image)
            self.count = np.zeros_like(log_image)
        self.frames += 1
        if self._changed:
            return  # a frame that may belong to another scene
        window = np.s_[at[0] : at[0] + excluded.shape[0], at[1] : at[1] + excluded.shape[1]]
        # Saving and restoring the small window is faster than masking the whole image.
        kept_mean = self.mean[window][excluded]
        if self.frames <= FIRST_FRAMES:
            kept_mean += (log_image[window][excluded] - gain - kept_mean) / self.frames
        kept_count = self.count[window][excluded]
        step = np.subtract(log_image, self.mean)
        np.subtract(step, np.float32(gain), out=step)
        self.count += 1.0
        np.minimum(self.count, self.memory, out=self.count)
        cv2.divide(step, self.count, step)
        self.mean += step
        self.mean[window][excluded] = kept_mean
        self.count[window][excluded] = kept_count
