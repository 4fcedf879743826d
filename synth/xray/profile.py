"""How much of the beam comes where, without a patient, and where its dose is measured."""

from __future__ import annotations

import numpy as np

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, Image
from mmdtwin.synth.xray.beam import Beam
from mmdtwin.synth.xray.spectrum import REFERENCE_DISTANCE
from mmdtwin.synth.xray.tube import heel_profile

DARKEST = 1e-6  # of the central ray: in the anode's shadow ratios to the beam stay numbers
OPENED = 0.5  # share of the beam from which a pixel counts as inside the collimator


def beam_profile(config: ImagerConfig, projection: Projection, beam: Beam, depth: Array) -> Image:
    """Return the beam over that on the central ray, (h, w), before the collimator.

    Falls as cos^3 of a ray's angle to the central one, for its length and its slant on the
    detector, and towards the anode (heel effect). A panel's gain correction would divide both out
    of the mean, not of the noise: here it divides out neither.

    Parameters
    ----------
    config : ImagerConfig
        `heel`, `spectrum`.
    projection : Projection
        Without distortion.
    beam : Beam
        Spectrum and detector.
    depth : (bins,) array
        Mean of mu times thickness of what lies in the beam, which hardens it.
    """
    height, width = projection.shape
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    profile = (projection.rays(pixels) @ projection.axes[2]) ** 3
    if config.heel:
        weights = beam.weights[0] / beam.spectrum.photons * np.exp(-depth)
        profile = profile * heel_profile(config.spectrum, projection, weights)
    return np.maximum(profile, DARKEST).astype(np.float32)


def central_fluence(config: ImagerConfig, projection: Projection, beam: Beam) -> float:
    """Return photons per m2 and A s on the central ray at the detector, behind the grid."""
    passed = 1.0 if config.grid is None else config.grid.primary
    return beam.spectrum.fluence * (REFERENCE_DISTANCE / projection.sid) ** 2 * passed


def quanta_per_charge(
    config: ImagerConfig, projection: Projection, beam: Beam, quantum_energy: float
) -> Image:
    """Return what turns sums of a beam into mean, variance and photons of a pixel, (3,) 1/(A s).

    Mean and variance are in quanta of `quantum_energy` keV; the light that a quantum makes spreads,
    so that the variance is more by 1 over the Swank factor.
    """
    photons = central_fluence(config, projection, beam) * projection.pitch**2
    per_square = photons / quantum_energy**2 / config.detector.swank
    return np.array([photons / quantum_energy, per_square, photons], np.float32)


def kerma_per_quantum(
    config: ImagerConfig, projection: Projection, beam: Beam, quantum_energy: float, ratio: float
) -> float:
    """Return the air kerma at the detector where a pixel absorbs one quantum on average, Gy.

    `ratio` is that of the beam's signals of kerma and energy, Gy m2/keV; else as for
    `quanta_per_charge`.
    """
    quanta = quanta_per_charge(config, projection, beam, quantum_energy)[0]
    return ratio * central_fluence(config, projection, beam) / float(quanta)


class MeasuringField:
    """The opened part of the middle of an image, where exposure control measures.

    Parameters
    ----------
    share : float
        Of the image's sides.
    opened : (h, w) array
        What the collimator lets pass.

    Raises
    ------
    UserError
        If no part of it is open.
    """

    def __init__(self, share: float, opened: Image) -> None:
        edges = [round(n * (1.0 - share) / 2) for n in opened.shape]
        rows, columns = (slice(e, n - e) for e, n in zip(edges, opened.shape, strict=True))
        self._window = rows, columns
        self._pixels = opened[self._window] > OPENED
        if not self._pixels.any():
            raise UserError(
                "collimator: it is closed where exposure control measures, in the middle "
                f"{share:g} of the image; move it, or enlarge exposure.measuring_field"
            )

    def mean(self, image: Image) -> float:
        """Return the mean of an image (h, w) over it."""
        return float(image[self._window][self._pixels].mean())
