"""The fluoroscope: from the world to a grey image, attenuation first and noise last."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.frame import Frame, Projection
from mmdtwin.geometry import Array
from mmdtwin.sim.shapes import Solids
from mmdtwin.synth.xray.background import Background, make_background
from mmdtwin.synth.xray.beam import Beam
from mmdtwin.synth.xray.detector import focal_filter, scintillator_filter, white_noise
from mmdtwin.synth.xray.path_lengths import covered_roi, path_lengths
from mmdtwin.synth.xray.spectrum import load_spectrum

SCATTER_WIDTH = 40e-3  # m on the detector, sigma of the scatter of a chest, assumed
SCATTER_SHRINK = 8  # scatter is smooth: it is blurred at 1/8 size
MEAN_LEVEL = 0.15  # of full scale: grey that exposure control sets in its field, assumed
CONTROL_FIELD = 0.5  # of the image's sides: the middle, where exposure control measures, assumed


class Imaged(Protocol):
    """What an imager needs of a world."""

    time: float  # s

    def solids(self) -> Solids:
        """Return the device in the world frame."""


class Imager:
    """A fluoroscope in front of one background.

    Parameters
    ----------
    config : ImagerConfig
        Geometry, beam, detector.
    rng_background : Generator
        Draws the background (kinds "bank" and "ct").
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
        self._rng = rng_noise
        detector, pose = config.detector, self.background.pose
        shape = (detector.rows, detector.columns)
        geometry = (config.sid, config.sod, detector.pitch, shape, pose.primary, pose.secondary)
        self.projection = Projection.from_carm(*geometry, T_world_imager)
        self.calibrated = Projection.from_carm(*geometry, T_world_imager_calibrated)
        self.beam = Beam(
            load_spectrum(config.spectrum), detector.csi_thickness, detector.csi_packing
        )
        self.blur = scintillator_filter(detector)
        self._focal = focal_filter(config.focal_spot, config.sid / config.sod, detector.pitch)
        self._full_scale = 2**detector.bits - 1
        self._previous: NDArray[np.float32] | None = None
        self._noise = np.empty(shape, np.float32)
        self._prepare_background()

    def _prepare_background(self) -> None:
        """Set the means and variances, in absorbed quanta, of an image without a device."""
        config, shape = self.config, self.projection.shape
        sums = self.beam.absorbed(self.background.maps)
        energy, squared, kerma = (s.reshape(shape) for s in sums)
        primary = self._focal(energy.astype(np.float32))
        scatter = _low_pass(primary, SCATTER_WIDTH / config.detector.pitch)
        scatter *= np.float32(config.scatter_to_primary * primary.mean() / scatter.mean())
        # Scatter reaches the detector with about the spectrum of the primary.
        middle = _middle(shape)
        ratio = 1.0 + float(scatter[middle].mean() / primary[middle].mean())
        fluence = config.detector_dose / (float(kerma[middle].mean()) * ratio)
        self.quantum_energy = float(squared.sum() / energy.sum())  # keV, of one effective quantum
        quanta = np.float32(fluence * config.detector.pitch**2 / self.quantum_energy)
        self.primary, self.scatter = primary * quanta, scatter * quanta
        self._mean = self.primary + self.scatter
        self._spread = (squared / energy / self.quantum_energy).astype(np.float32)
        self._sigma = np.sqrt(self._mean * self._spread)
        self.gain = MEAN_LEVEL * self._full_scale / float(self._mean[middle].mean())  # grey/quantum

    def signal(self, solids: Solids | None = None) -> NDArray[np.float32]:
        """Return the mean image before the detector's blur, (h, w) absorbed quanta.

        One quantum is a photon of the mean absorbed energy (`quantum_energy`).
        """
        mean = self._mean.copy()
        if solids is not None:
            self._cast(solids, mean, None)
        return mean

    def variance(self, solids: Solids | None = None) -> NDArray[np.float32]:
        """Return the quantum noise's variance before the blur, (h, w) quanta squared.

        An energy-integrating detector sees the compound Poisson variance sum(n E^2).
        """
        return self.signal(solids) * self._spread

    def expected(self, solids: Solids | None = None) -> NDArray[np.float32]:
        """Return the mean image after the detector's blur, (h, w) grey levels, not clipped."""
        return self.blur(self.signal(solids)) * np.float32(self.gain)

    def render(self, world: Imaged, seq: int = 0) -> Frame:
        """Expose one frame of the world as it is now.

        Parameters
        ----------
        world : World
            `time` in s and `solids()` are used.
        seq : int
            Number of the frame.

        Returns
        -------
        Frame
            Grey values linear in absorbed energy, saturating at the top of the range.
        """
        t = float(world.time)
        return Frame(
            image=self._expose(world.solids()),
            seq=seq,
            t_exposure=t,
            t_received=t + self.config.latency,
            projection=self.calibrated,
            dose=self.config.detector_dose,
        )

    def _expose(self, solids: Solids) -> NDArray[np.uint16]:
        mean, sigma = self._mean.copy(), self._sigma.copy()
        self._cast(solids, mean, sigma)
        # Quanta are independent where they are absorbed; the scintillator's light then blurs
        # their noise with the image. At the 30 quanta and more of fluoroscopy a Poisson number
        # is normal but for a skewness below 0.2, which the blur reduces further.
        sigma *= self._rng.standard_normal(dtype=np.float32, out=self._noise)
        sigma += mean
        image = self.blur(sigma)
        if self.config.detector.electronic_noise > 0.0:
            electronic = white_noise(self._rng, image.shape)
            cv2.scaleAdd(electronic, self.config.detector.electronic_noise, image, image)
        lag = self.config.detector.lag
        if lag > 0.0:
            if self._previous is not None:
                image *= np.float32(1.0 - lag)
                cv2.scaleAdd(self._previous, lag, image, image)
            self._previous = image
        grey = np.asarray(cv2.multiply(image, self.gain, dtype=cv2.CV_16U), np.uint16)  # rounds
        return np.minimum(grey, np.uint16(self._full_scale), out=grey)

    def _cast(
        self, solids: Solids, mean: NDArray[np.float32], sigma: NDArray[np.float32] | None
    ) -> None:
        """Put the device's shadow into the images of the mean and of the noise."""
        roi = covered_roi(solids, self.projection, margin=self._focal.half)
        if roi is None:
            return
        window = (slice(roi[0], roi[1]), slice(roi[2], roi[3]))
        transmission = self.transmission(solids, roi)
        before = mean[window]
        after = self.primary[window] * transmission + self.scatter[window]
        if sigma is not None:
            sigma[window] *= np.sqrt(after / before)
        mean[window] = after

    def transmission(self, solids: Solids, roi: tuple[int, int, int, int]) -> NDArray[np.float32]:
        """Return the share of the primary signal that the device leaves, (h, w) of `roi`.

        Exact sum over the spectrum behind the background at every pixel the device covers, then
        the focal spot's penumbra.
        """
        path, share = path_lengths(solids, self.projection, roi)
        window = (slice(roi[0], roi[1]), slice(roi[2], roi[3]))
        hit = path > 0.0
        layers = {name: m[window][hit] for name, m in self.background.maps.items()}
        transmission = np.ones_like(path)
        if hit.any():
            behind, _, _ = self.beam.absorbed(layers)
            through, _, _ = self.beam.absorbed(layers, (solids.material, path[hit] / share[hit]))
            transmission[hit] = 1.0 - share[hit] * (1.0 - through / behind)
        return self._focal(transmission)


def _middle(shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the field in which exposure control measures."""
    edge = [round(n * (1.0 - CONTROL_FIELD) / 2) for n in shape]
    return slice(edge[0], shape[0] - edge[0]), slice(edge[1], shape[1] - edge[1])


def _low_pass(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur of a large width in px, at a fraction of the size."""
    height, width = image.shape
    small_size = (max(1, width // SCATTER_SHRINK), max(1, height // SCATTER_SHRINK))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    s = sigma / SCATTER_SHRINK
    blurred = cv2.GaussianBlur(small, (0, 0), s, borderType=cv2.BORDER_REPLICATE)
    full = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, np.float32)
