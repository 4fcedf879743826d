"""Lag: a part of the signal that comes out late."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from mmdtwin.config.imager import LagConfig
from mmdtwin.errors import UserError
from mmdtwin.geometry import Image


class Lag:
    """Lag as a sum of exponentials in time.

    A share b_i of the signal x is caught and let go with the time constant tau_i, what is left at
    once; with T between frames and d_i = exp(-T/tau_i)::

        s_i <- d_i s_i + (1 - d_i) x         y = (1 - sum b_i) x + sum b_i s_i

    which is the impulse response b_0 delta_k + sum b_i (1 - d_i) d_i^k of Hsieh, Gurmen and King
    (IEEE Trans. Med. Imaging 19, 2000, 930). After a long exposure of 1, the k-th frame after the
    last exposed one still shows sum b_i d_i^k; after a long pause the n-th frame (from 1) shows
    1 - sum b_i d_i^n. The mean over time is kept; noise is correlated from frame to frame, its
    variance is multiplied by the sum of the squares of the impulse response.

    Parameters
    ----------
    terms : sequence of LagConfig
        b_i and tau_i, s.
    period : float
        Between frames, s.

    Raises
    ------
    UserError
        If the period is not positive, or the shares add up to 1 or more.
    """

    def __init__(self, terms: Sequence[LagConfig], period: float) -> None:
        if not (math.isfinite(period) and period > 0.0):
            raise UserError(f"lag: period {period} s must be positive")
        self._shares = [term.share for term in terms]
        if sum(self._shares) >= 1.0:
            raise UserError("lag: the shares must add up to less than 1")
        self._times = [term.time for term in terms]
        self._kept = [math.exp(-period / time) for time in self._times]
        self._caught: list[Image] = []

    def reset(self, image: Image | None = None) -> None:
        """Forget what came before: a long pause, or a long exposure of `image` (h, w)."""
        self._caught = [] if image is None else [image.copy() for _ in self._shares]

    def pause(self, duration: float) -> None:
        """Let time in s pass without exposure: what is caught goes."""
        for caught, time in zip(self._caught, self._times, strict=False):  # none, if not yet used
            caught *= np.float32(math.exp(-duration / time))

    def __call__(self, image: Image) -> Image:
        """Turn a frame (h, w) into what is read, in place, and return it.

        Raises
        ------
        UserError
            If it is not finite, or its shape changes without a `reset`.
        """
        if not self._shares:
            return image
        if not np.isfinite(image.sum()):  # it would stay for all frames to come
            raise UserError("lag: a value of the image is not finite; all must be")
        if not self._caught:
            self._caught = [np.zeros_like(image) for _ in self._shares]
        if self._caught[0].shape != image.shape:
            raise UserError(
                f"lag: image {image.shape} after {self._caught[0].shape}: reset it first"
            )
        for caught, kept in zip(self._caught, self._kept, strict=True):
            cv2.accumulateWeighted(image, caught, 1.0 - kept)
        image *= np.float32(1.0 - sum(self._shares))
        for caught, share in zip(self._caught, self._shares, strict=True):
            cv2.scaleAdd(caught, share, image, image)
        return image
