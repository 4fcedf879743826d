"""The fluoroscope: from the world to a grey image, attenuation first and noise last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.frame import Frame, Projection
from mmdtwin.geometry import Array, Image
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Body
from mmdtwin.synth.xray.background import Background, make_background
from mmdtwin.synth.xray.beam import Beam
from mmdtwin.synth.xray.detector import SeparableFilter, scintillator_filter
from mmdtwin.synth.xray.display import Display
from mmdtwin.synth.xray.exposure import ExposureControl
from mmdtwin.synth.xray.glare import Glare
from mmdtwin.synth.xray.lag import Lag
from mmdtwin.synth.xray.noise import Noise
from mmdtwin.synth.xray.optics import Arriving, Lit, Optics
from mmdtwin.synth.xray.path_lengths import Roi
from mmdtwin.synth.xray.pixels import PixelResponse
from mmdtwin.synth.xray.threads import in_parallel

MEAN_LEVEL = 0.15  # of full scale: grey that exposure control sets in its field, assumed


class Imaged(Protocol):
    """What an imager needs of a world."""

    def scene(self) -> Scene:
        """Return its bodies as they are now."""


class Imager:
    """A fluoroscope in front of one background.

    Parameters
    ----------
    config : ImagerConfig
        Geometry, beam, detector.
    rng_background : Generator
        Draws the background, where its kind is drawn.
    rng_noise : Generator
        Draws the noise of every frame.
    T_world_imager : (4, 4) array, optional
        True placement of the gantry, m. The background moves with the gantry: its change of
        perspective over a registration error is neglected.
    T_world_imager_calibrated : (4, 4) array, optional
        Placement that the laboratory believes in.
    background : Background, optional
        Use this one instead of the configured kind.

    Attributes
    ----------
    projection, calibrated : Projection
        True geometry, and the one that frames carry.
    background : Background
        Its pose gives both projections their gantry angles.
    beam : Beam
        Spectrum and detector.
    blur : SeparableFilter
        Of the scintillator.
    exposure : ExposureControl
        Sets the charge of the tube.
    quantum_energy : float
        keV of one quantum, in which signals are counted.
    gain : float
        Grey levels per quantum: `MEAN_LEVEL` for the background as the exposure settles on it.
    """

    def __init__(
        self,
        config: ImagerConfig,
        rng_background: np.random.Generator,
        rng_noise: np.random.Generator,
        T_world_imager: Array | None = None,
        T_world_imager_calibrated: Array | None = None,
        background: Background | None = None,
    ) -> None:
        self.config = config
        self.background = background or make_background(config, rng_background)
        angles = self.background.pose.primary, self.background.pose.secondary
        self.projection = Projection.from_config(config, *angles, T_world_imager)
        self.calibrated = Projection.from_config(config, *angles, T_world_imager_calibrated)
        self._optics = Optics(config, self.projection, self.background)
        self.blur = scintillator_filter(config.detector, self.projection.pitch)
        self._noise = Noise(rng_noise)
        self._pixels = PixelResponse(config.detector, self.projection.shape, rng_noise)
        self._lag = Lag(config.detector.lag, 1.0 / config.frame_rate)
        self._glare: Glare | None = None
        if config.detector.intensifier is not None:
            pitch, shape = self.projection.pitch, self.projection.shape
            self._glare = Glare(config.detector.intensifier, shape, pitch)
        self._full_scale = 2**config.detector.bits - 1
        self._display = Display(config.display, self._full_scale)
        self.exposure = ExposureControl(config, self.projection)
        plain = self._optics.plain()
        self.exposure.start(self._optics.kerma(plain))
        level = self._optics.in_field(plain.mean) * self.exposure.charge
        self.gain = MEAN_LEVEL * self._full_scale / level
        self._last: tuple[float, float] | None = None  # time and kerma per charge of a frame

    @property
    def beam(self) -> Beam:
        return self._optics.beam

    @property
    def quantum_energy(self) -> float:
        return self._optics.quantum_energy

    @property
    def primary(self) -> Image:
        """Primary signal of the background, (h, w) quanta, on the ideal grid without distortion."""
        return self._optics.primary * np.float32(self.exposure.charge)

    @property
    def scatter(self) -> Image:
        """Signal of scattered radiation behind the grid, as `primary`."""
        return self._optics.scatter * np.float32(self.exposure.charge)

    def signal(self, bodies: Sequence[Body] | None = None) -> Image:
        """Return the mean image before the detector's blur, (h, w) absorbed quanta.

        Of the background at rest and bodies before it, with the charge of the coming frame.
        """
        return self._optics.plain(bodies or ()).mean * np.float32(self.exposure.charge)

    def variance(self, bodies: Sequence[Body] | None = None) -> Image:
        """Return the quantum noise's variance before the blur, (h, w) quanta squared.

        An energy-integrating detector sees the compound Poisson variance sum(n E^2), more by 1
        over the Swank factor of its light.
        """
        return self._optics.plain(bodies or ()).variance * np.float32(self.exposure.charge)

    def expected(self, bodies: Sequence[Body] | None = None) -> Image:
        """Return the mean image after the detector's blur, (h, w) grey levels, not clipped."""
        image = self.blur(self.signal(bodies))
        if self._glare is not None:
            self._glare(image)
        return image * np.float32(self.gain)

    def transmission(self, body: Body, roi: Roi) -> Image:
        """Return the share of the primary signal that a body lets pass, (h, w) of `roi`.

        Behind the background at rest, with the focal spot's penumbra, without distortion.
        """
        return self._optics.transmission((body,), roi)

    def lit(self, scene: Scene, row: int, column: int) -> Lit:
        """Return what a device at a pixel is seen by, behind all of a scene but the device."""
        return self._optics.lit(scene, row, column)

    def arriving(self, scenes: Sequence[Scene]) -> Arriving:
        """Return mean and variance of what the detector absorbs of a pulse, per A s, (h, w)."""
        return self._optics.arriving(scenes)

    def render(self, world: Imaged, seq: int = 0) -> Frame:
        """Expose one frame of the world as it is now; as `expose`."""
        return self.expose([world.scene()], seq)

    def begin(self) -> None:
        """Begin another run: nothing of past frames lags, exposure control starts afresh."""
        self._last = None

    def expose(self, scenes: Sequence[Scene], seq: int = 0) -> Frame:
        """Expose one frame of the moments of one pulse.

        Parameters
        ----------
        scenes : sequence of Scene
            Moments, spread evenly over the pulse: what they let pass is averaged.
        seq : int
            Number of the frame.

        Returns
        -------
        Frame
            Grey values; of the middle of the pulse. Linear in absorbed energy and saturating at
            the top of the range, but for what `config.display` makes of them.
        """
        arriving = self.arriving(scenes)
        t = float(np.mean([scene.time for scene in scenes]))
        kerma = self._optics.kerma(arriving)
        since = None if self._last is None else max(t - self._last[0], 0.0)
        self._regulate(since, kerma)
        self._last = t, kerma
        exposed = self.exposure.exposure(kerma)
        return Frame(
            image=self._detect(arriving, exposed.charge, since),
            seq=seq,
            t_exposure=t,
            t_received=t + self.config.latency,
            projection=self.calibrated,
            dose=exposed.detector_dose,
            reference_kerma=exposed.reference_kerma,
            dap=exposed.dap,
        )

    def _regulate(self, since: float | None, kerma: float) -> None:
        """Let exposure control act on its measurement of the frame before, if there was one."""
        if self._last is None or since is None:
            self.exposure.start(kerma)
        elif since > 0.0:
            self.exposure.measured(self._last[1], since)

    def _detect(self, arriving: Arriving, charge: float, since: float | None) -> NDArray[np.uint16]:
        """Return the grey image of what arrives, `since` s after the frame before."""
        # Quanta are independent where they are absorbed; the scintillator's light then blurs
        # their noise with the image.
        if arriving.count is None:
            absorbed = self._noise.quantum(arriving.mean, arriving.variance, charge)
        else:
            absorbed = self._noise.compound(
                arriving.mean, arriving.variance, arriving.count, charge
            )
        image = _blurred(absorbed, self.blur)
        if self._glare is not None:
            self._glare(image)
        if self.config.detector.electronic_noise > 0.0:
            self._noise.add_electronic(image, self.config.detector.electronic_noise)
        self._pixels(image)
        self._read_late(image, since)
        grey = np.asarray(cv2.multiply(image, self.gain, dtype=cv2.CV_16U), np.uint16)  # rounds
        return self._display(np.minimum(grey, np.uint16(self._full_scale), out=grey))

    def _read_late(self, image: Image, since: float | None) -> None:
        """Let the lag act; a run begins as after a long exposure, in a pause nothing is caught."""
        if since is None:
            self._lag.reset(image)
        else:
            self._lag.pause(max(since - 1.0 / self.config.frame_rate, 0.0))
        self._lag(image)


def _blurred(image: Image, blur: SeparableFilter) -> Image:
    """Blur both halves of an image (h, w) at the same time."""
    out = np.empty_like(image)
    height, reach = len(image), blur.half

    def part(_: int, first: int, end: int) -> None:
        low, high = max(first - reach, 0), min(end + reach, height)
        out[first:end] = blur(image[low:high])[first - low : end - low]

    in_parallel(height, part)
    return out
