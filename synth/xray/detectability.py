"""How visible a device is: the signal-to-noise ratio of the best linear observer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdtwin.geometry import Image
from mmdtwin.sim.shapes import Body
from mmdtwin.synth.xray.imager import Imager
from mmdtwin.synth.xray.path_lengths import covered_roi


@dataclass(frozen=True)
class Detectability:
    """Figures of a device in one image.

    Parameters
    ----------
    d_prime : float
        Prewhitened matched-filter SNR; 0 when the device is not in the image.
    contrast : float
        Largest Michelson contrast |a - b| / (a + b) of the noise-free blurred image with and
        without the device.
    contrast_primary : float
        The same without scatter and without blur.
    quanta : float
        Mean number of absorbed quanta per pixel under the device.
    """

    d_prime: float
    contrast: float
    contrast_primary: float
    quanta: float


def detectability(imager: Imager, bodies: Sequence[Body]) -> Detectability:
    """Compute the detectability of a device in one frame, the background being known.

    d'^2 = sum over frequencies of |S(f)|^2 / N(f): S is the transform of the device's noise-free
    blurred signal, N the noise's power spectrum: quantum noise with the mean variance under the
    device, shaped by the scintillator, plus white electronic and rounding noise. (ICRU Report 54;
    Barrett and Myers, Foundations of Image Science.) A searching observer finds half of all
    devices at d' of about 4.5. Anatomy that imitates a device is not in the noise.

    Parameters
    ----------
    imager : Imager
        With its background.
    bodies : sequence of Body
        The device, in the world.
    """
    reach = 2 * imager.blur.half
    seen = [covered_roi(body, imager.projection, margin=reach) for body in bodies]
    rois = np.array([roi for roi in seen if roi is not None])
    if len(rois) == 0:
        return Detectability(0.0, 0.0, 0.0, 0.0)
    roi = (rois[:, 0].min(), rois[:, 1].max(), rois[:, 2].min(), rois[:, 3].max())
    window = (slice(roi[0], roi[1]), slice(roi[2], roi[3]))
    plain = imager.signal()[window]
    signal = plain - imager.signal(bodies)[window]
    weight = np.abs(signal)
    if not weight.any():
        return Detectability(0.0, 0.0, 0.0, 0.0)
    d_prime = matched_filter(imager, signal, imager.variance(bodies)[window])
    shadowed, clear = (imager.expected(b)[window] for b in (bodies, None))
    height, width = imager.projection.shape
    transmission = np.ones((height, width), np.float32)
    for body in bodies:
        transmission *= imager.transmission(body, (0, height, 0, width))
    return Detectability(
        d_prime=d_prime,
        contrast=float((np.abs(clear - shadowed) / (clear + shadowed)).max()),
        contrast_primary=float((np.abs(1 - transmission) / (1 + transmission)).max()),
        quanta=float(np.average(plain, weights=weight)),
    )


def matched_filter(imager: Imager, signal: Image, variance: Image) -> float:
    """Return d' of a device.

    Parameters
    ----------
    imager : Imager
        Its blur, electronic noise and grey levels.
    signal : (h, w) float32 array
        What the device takes away, before the detector's blur, quanta; with room around it.
    variance : (h, w) float32 array
        Of the quanta, with the device.
    """
    weight = np.abs(signal)
    if not weight.any():
        return 0.0
    mean = float(np.average(variance, weights=weight))
    response = imager.blur.response(signal.shape)
    spectrum = np.abs(np.fft.fft2(signal) * response) ** 2 / signal.size
    white = imager.config.detector.electronic_noise**2 + 1.0 / (12.0 * imager.gain**2)
    return float(np.sqrt((spectrum / (mean * response**2 + white)).sum()))
