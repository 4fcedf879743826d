"""From a scene to the mean image and its variance: all that comes before a quantum is absorbed.

All signals are per charge of the tube. They are counted in quanta: one is a photon of the energy
that makes the variance equal to the mean, on average over the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.distortion import distortion_maps
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, Image
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Body, Mesh
from mmdtwin.synth.xray.anatomy import AT_REST, Anatomy, Path, Shift, checked_maps
from mmdtwin.synth.xray.background import Background
from mmdtwin.synth.xray.beam import Beam, Signals
from mmdtwin.synth.xray.collimator import aperture, input_screen
from mmdtwin.synth.xray.detector import SeparableFilter, focal_filter
from mmdtwin.synth.xray.fast import FastPath
from mmdtwin.synth.xray.full import FullPath
from mmdtwin.synth.xray.path_lengths import Roi, path_lengths
from mmdtwin.synth.xray.profile import (
    MeasuringField,
    beam_profile,
    kerma_per_quantum,
    quanta_per_charge,
)
from mmdtwin.synth.xray.scatter import ScatterField, water_equivalent
from mmdtwin.synth.xray.shadows import Shadow, shadows

MAGNIFICATION_STEP = 0.01  # penumbrae are made for magnifications so far apart: 6 um of 0.6 mm


@dataclass(frozen=True, eq=False)
class Arriving:
    """What a detector absorbs per charge of the tube, on the grid of the image.

    Parameters
    ----------
    mean : (h, w) float32 array
        Quanta per A s.
    variance : (h, w) float32 array
        Of the quanta, per A s: that of a compound Poisson process.
    count : (h, w) float32 array or None
        Photons per A s, of the full path.
    """

    mean: Image
    variance: Image
    count: Image | None


@dataclass(frozen=True, eq=False)
class Lit:
    """What a body at one pixel is seen by.

    Parameters
    ----------
    spectrum : (bins,) array
        Energy absorbed behind everything else, relative.
    primary, scatter : float
        Quanta per A s.
    """

    spectrum: Array
    primary: float
    scatter: float


@dataclass(frozen=True, eq=False)
class _Rest:
    """The anatomy with its vessel's contents: how it is summed, and its scatter (h, w)."""

    lumen: Mesh | None
    anatomy: Anatomy
    path: Path
    scatter: Image


@dataclass(frozen=True, eq=False)
class _Still:
    """All but the device: `primary` (kinds, h, w) on the ideal grid, and what arrives."""

    rest: _Rest
    instruments: tuple[Body, ...]
    shift: Shift
    primary: Image
    before: list[Shadow]
    arriving: Image  # (kinds, h, w)


PATHS: dict[str, type[FastPath] | type[FullPath]] = {"fast": FastPath, "full": FullPath}


class Optics:
    """Tube, collimator, anatomy, bodies and grid.

    Parameters
    ----------
    config : ImagerConfig
        Of the imager.
    projection : Projection
        Where it truly is.
    background : Background
        On the projection's grid.

    Attributes
    ----------
    beam : Beam
        Spectrum and detector.
    quantum_energy : float
        keV of one quantum.
    """

    def __init__(
        self, config: ImagerConfig, projection: Projection, background: Background
    ) -> None:
        self.projection, self._ideal = projection, projection.ideal
        self.beam = Beam.of(config)
        self._config, self._maps = config, checked_maps(background.maps, projection.shape)
        self._isocentre = projection.sid / projection.sod  # magnification there
        self._bend = None if projection.distortion is None else distortion_maps(projection)
        self._filters: dict[int, SeparableFilter] = {}
        self._scatter: ScatterField | None = None
        anatomy = self._anatomy(None)
        path = self._path(anatomy)
        self._set_units(path.at_rest)
        self._base = self._last = self._still(self._at_rest(None, anatomy, path), (), AT_REST)

    def _set_units(self, signals: Signals) -> None:
        """Set what turns the sums of the beam into quanta per A s, and the beam's profile."""
        config, projection = self._config, self._ideal
        self.quantum_energy = float(signals.squared.sum() / signals.energy.sum())
        depth = np.sum([self.beam.mu(k) * float(m.mean()) for k, m in self._maps.items()], axis=0)
        self._beam_profile = beam_profile(config, projection, self.beam, depth)
        self._opening = aperture(config, projection)
        self._profile = self._beam_profile * self._opening
        keV, swank = self.quantum_energy, config.detector.swank
        self._units = quanta_per_charge(config, projection, self.beam, keV)
        # Scatter has about the spectrum of the primary, on average.
        count = float(signals.photons.sum() / signals.energy.sum()) * keV
        self._scatter_units = np.array([1.0, 1.0 / swank, count], np.float32)
        shown = self._shown(
            np.stack([s * self._profile for s in (signals.energy, signals.kerma)] + [self._opening])
        )
        self._field = MeasuringField(config.exposure.measuring_field, shown[2])
        ratio = self._field.mean(shown[1]) / self._field.mean(shown[0])
        self._kerma_per_quantum = kerma_per_quantum(config, projection, self.beam, keV, ratio)

    def in_field(self, image: Image) -> float:
        """Return the mean of an image (h, w) over exposure control's measuring field."""
        return self._field.mean(image)

    def kerma(self, arriving: Arriving) -> float:
        """Return the air kerma at the detector, mean over the measuring field, Gy per A s."""
        return self.in_field(arriving.mean) * self._kerma_per_quantum

    def _anatomy(self, lumen: Mesh | None) -> Anatomy:
        """Return the background with the vessel's contents, or without."""
        mu = [self.beam.mu(name) for name in self._maps]
        maps = list(self._maps.values())
        if lumen is not None:
            height, width = self._ideal.shape
            filled, _ = path_lengths(lumen, self._ideal, (0, height, 0, width))
            mu.append(self.beam.mu(lumen.material, lumen.displaces))
            maps.append(filled)
        return Anatomy(np.stack(mu), np.stack(maps))

    def _path(self, anatomy: Anatomy) -> Path:
        """Return how to sum behind an anatomy."""
        return PATHS[self._config.path](self.beam, anatomy, self._penumbra(self._isocentre))

    def _at_rest(self, lumen: Mesh | None, anatomy: Anatomy, path: Path) -> _Rest:
        primary = path.behind(AT_REST)[0] * self._beam_profile * self._units[0]
        if self._scatter is None:
            water = water_equivalent(self._maps)
            pitch, profile = self._ideal.pitch, self._beam_profile
            self._scatter = ScatterField(self._config, water, pitch, primary, profile)
        scatter = self._scatter(primary * self._opening)
        return _Rest(lumen, anatomy, path, scatter * input_screen(self._config, self._ideal))

    def arriving(self, scenes: Sequence[Scene]) -> Arriving:
        """Return what arrives on average over the moments of a pulse."""
        sums: Image | None = None
        for scene in scenes:
            still = self._still_of(scene)
            signals = self._with(scene.device, still)
            sums = signals if sums is None else sums + signals
        if sums is None:
            raise UserError("expose: needs the scene of at least one moment")
        return _arriving(sums if len(scenes) == 1 else sums / np.float32(len(scenes)))

    def plain(self, bodies: Sequence[Body] = ()) -> Arriving:
        """Return what arrives behind the background at rest and bodies before it."""
        return _arriving(self._with(bodies, self._base))

    @property
    def scatter(self) -> Image:
        """Quanta per A s of scattered radiation behind the grid, (h, w), undistorted."""
        return self._base.rest.scatter

    @property
    def primary(self) -> Image:
        """Quanta per A s of primary radiation behind the background, (h, w), undistorted."""
        return self._base.primary[0]

    def transmission(self, bodies: Sequence[Body], roi: Roi) -> Image:
        """Return the share of the primary signal that bodies let pass, (h, w) of `roi`."""
        window = slice(roi[0], roi[1]), slice(roi[2], roi[3])
        whole = np.ones(self._ideal.shape, np.float32)
        for shadow, passed in self._cast(bodies, self._base.rest, [], AT_REST):
            whole[shadow.window] *= passed[0]
        return whole[window]

    def lit(self, scene: Scene, row: int, column: int) -> Lit:
        """Return what a device at a pixel is seen by, behind all of a scene but the device."""
        still, pixel = self._still_of(scene), (np.array([row]), np.array([column]))
        layers = still.rest.anatomy.at(*pixel, still.shift)
        layers += [(self.beam.mu(b.material, b.displaces), b.at(*pixel)) for b in still.before]
        depth = np.sum([mu * float(t[0]) for mu, t in layers], axis=0)
        return Lit(
            self.beam.weights[0] * np.exp(-depth),
            float(still.primary[0, row, column]),
            float(still.rest.scatter[row, column]),
        )

    def _still_of(self, scene: Scene) -> _Still:
        """Return all but the device of a scene, as it was the last time if nothing has moved."""
        axes, size = self._ideal.axes, self._ideal.pixel_size
        u, v = (axes[:2] @ np.asarray(scene.displacement, float) / size).tolist()
        shift = (u, v) if u or v else AT_REST
        last = self._last
        if not (
            last.rest.lumen is scene.lumen
            and last.shift == shift
            and len(last.instruments) == len(scene.instruments)
            and all(a is b for a, b in zip(last.instruments, scene.instruments, strict=True))
        ):
            rest = self._base.rest
            if last.rest.lumen is scene.lumen:
                rest = last.rest
            elif scene.lumen is not None:
                anatomy = self._anatomy(scene.lumen)
                rest = self._at_rest(scene.lumen, anatomy, self._path(anatomy))
            self._last = last = self._still(rest, scene.instruments, shift)
        return last

    def _still(self, rest: _Rest, instruments: tuple[Body, ...], shift: Shift) -> _Still:
        primary = rest.path.behind(shift) * self._units[: rest.path.kinds, None, None]
        primary *= self._profile
        cast = self._cast(instruments, rest, [], shift)
        for shadow, passed in cast:
            primary[:, *shadow.window] *= passed
        total = primary + self._scatter_units[: len(primary), None, None] * rest.scatter
        before = [shadow for shadow, _ in cast]
        return _Still(rest, instruments, shift, primary, before, self._shown(total))

    def _with(self, bodies: Sequence[Body], still: _Still) -> Image:
        """Return what arrives (kinds, h, w) with more bodies."""
        cast = self._cast(bodies, still.rest, still.before, still.shift)
        if not cast:
            return still.arriving
        rois = np.array([shadow.roi for shadow, _ in cast])
        (r0, c0), (r1, c1) = rois[:, [0, 2]].min(axis=0), rois[:, [1, 3]].max(axis=0)
        lost = still.primary[:, r0:r1, c0:c1].copy()
        for shadow, passed in cast:
            a, b, c, d = shadow.roi
            lost[:, a - r0 : b - r0, c - c0 : d - c0] *= passed
        np.subtract(still.primary[:, r0:r1, c0:c1], lost, out=lost)
        arriving = still.arriving.copy()
        if self._bend is None:
            arriving[:, r0:r1, c0:c1] -= lost
        else:
            whole = np.zeros_like(still.primary)
            whole[:, r0:r1, c0:c1] = lost
            arriving -= self._shown(whole)
        return arriving

    def _cast(
        self, bodies: Sequence[Body], rest: _Rest, before: Sequence[Shadow], shift: Shift
    ) -> list[tuple[Shadow, Image]]:
        """Return shadows and the shares of the signals (kinds, h, w) that pass, with penumbrae.

        Each material attenuates what those before it have let through.
        """
        earlier, result = list(before), []
        for shadow in shadows(bodies, self._ideal, lambda m: self._penumbra(m).half):
            at_pixels = rest.path.passing(shadow, earlier, shift)
            passed = np.ones((len(at_pixels), *shadow.path.shape), np.float32)
            rows, columns = shadow.rows - shadow.roi[0], shadow.columns - shadow.roi[2]
            passed[:, rows, columns] = 1.0 - shadow.covered * (1.0 - at_pixels)
            blur = self._penumbra(shadow.magnification)
            result.append((shadow, np.stack([blur(p) for p in passed])))
            earlier.append(shadow)
        return result

    def _penumbra(self, magnification: float) -> SeparableFilter:
        """Return the focal spot's blur of what lies where it is magnified so."""
        step = round(magnification / MAGNIFICATION_STEP)
        if step not in self._filters:
            self._filters[step] = focal_filter(
                self._config.focal_spot, max(step * MAGNIFICATION_STEP, 1.0), self._ideal.pitch
            )
        return self._filters[step]

    def _shown(self, signals: Image) -> Image:
        """Return signals (kinds, h, w) as the intensifier shows them; a panel changes nothing."""
        if self._bend is None:
            return signals
        u, v, area = self._bend
        bent = [cv2.remap(s, u, v, cv2.INTER_LINEAR, borderValue=0.0) * area for s in signals]
        return np.stack(bent).astype(np.float32)


def _arriving(signals: Image) -> Arriving:
    return Arriving(signals[0], signals[1], signals[2] if len(signals) > 2 else None)
