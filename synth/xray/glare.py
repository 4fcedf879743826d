"""Veiling glare of an image intensifier: a part of the light falls far from where it belongs."""

from __future__ import annotations

import cv2
import numpy as np

from mmdtwin.config.imager import IntensifierConfig
from mmdtwin.geometry import Image
from mmdtwin.synth.xray.low_pass import LowPass


class Glare:
    """Spreads a share of the light as exp(-r/width); the mean stays.

    The transfer function is 1 - g + g/(1 + (2 pi width f)^2)^(3/2): the Hankel transform of that
    spread, whose form is assumed. Light that leaves the image is mirrored at its edges.

    Parameters
    ----------
    config : IntensifierConfig
        `glare`, `glare_width`.
    shape : (int, int)
        Of the image, px.
    pitch : float
        Of the image, m.
    """

    def __init__(self, config: IntensifierConfig, shape: tuple[int, int], pitch: float) -> None:
        self.share = config.glare
        width = config.glare_width / pitch
        self._blur = LowPass(shape, width, lambda f: (1.0 + (2.0 * np.pi * width * f) ** 2) ** -1.5)

    def __call__(self, image: Image) -> Image:
        """Add glare to an image (h, w), in place, and return it.

        Raises
        ------
        UserError
            If it is not finite.
        """
        if self.share == 0.0:
            return image
        veil = self._blur.spread(self._blur.reduce(image))
        cv2.addWeighted(image, 1.0 - self.share, veil, self.share, 0.0, image)
        return image
