"""The full path: every energy at every pixel of every frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmdtwin.geometry import Image
from mmdtwin.synth.xray.anatomy import AT_REST, Anatomy, Shift, shifted
from mmdtwin.synth.xray.beam import Beam, Layer
from mmdtwin.synth.xray.shadows import Shadow


class FullPath:
    """Sums the spectrum anew wherever it is asked.

    Parameters
    ----------
    beam : Beam
        Spectrum and detector.
    anatomy : Anatomy
        At rest.
    blur : callable
        Of a signal (h, w) by the focal spot.

    Attributes
    ----------
    at_rest : Signals
        Behind the anatomy at rest, before the blur.
    """

    kinds = 3  # of signals: energy, its square, photons

    def __init__(self, beam: Beam, anatomy: Anatomy, blur: Callable[[Image], Image]) -> None:
        self._beam = beam
        self._anatomy = anatomy
        self._blur = blur
        self.at_rest = beam.behind(anatomy.layers)

    def behind(self, shift: Shift) -> Image:
        """Return the signals (kinds, h, w) behind the anatomy, shifted by px along u and v."""
        maps = self._anatomy.thickness
        if shift != AT_REST:
            maps = np.maximum([shifted(m, shift) for m in maps], np.float32(0.0))
        layers = list(zip(self._anatomy.mu, maps, strict=True))
        sharp = self._beam.behind(layers)[: self.kinds]
        return np.stack([self._blur(signal) for signal in sharp])

    def passing(self, shadow: Shadow, before: Sequence[Shadow], shift: Shift) -> Image:
        """Return the shares of the signals that bodies let pass, (kinds, n) at their pixels.

        Parameters
        ----------
        shadow : Shadow
            Of the bodies.
        before : sequence of Shadow
            Of other bodies on the same rays, which harden what comes to these.
        shift : (float, float)
            Of the anatomy, px.
        """
        layers = self._anatomy.at(shadow.rows, shadow.columns, shift)
        layers += layers_of(self._beam, before, shadow)
        mu = self._beam.mu(shadow.material, shadow.displaces)
        return exact(self._beam, layers, (mu, shadow.thickness), self.kinds)


def layers_of(beam: Beam, others: Sequence[Shadow], shadow: Shadow) -> list[Layer]:
    """Return other shadows as layers at the pixels of one."""
    return [(beam.mu(b.material, b.displaces), b.at(shadow.rows, shadow.columns)) for b in others]


def exact(beam: Beam, layers: Sequence[Layer], body: Layer, kinds: int) -> Image:
    """Return the share of each signal that a body lets pass behind layers, (kinds, n)."""
    before = np.stack(beam.behind(layers)[:kinds])
    after = np.stack(beam.behind([*layers, body])[:kinds])
    return after / before
