"""Many independent raw frames at once with torch, on a CPU or a GPU.

The physics of `Imager` with the sum over all energies, as its full path; what differs is only the
order in which single precision rounds, and the noise's generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import dct

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.synth.xray.beam import Beam
from mmdtwin.synth.xray.collimator import aperture
from mmdtwin.synth.xray.detector import SeparableFilter, focal_filter, scintillator_filter
from mmdtwin.synth.xray.exposure import ExposureControl
from mmdtwin.synth.xray.imager import MEAN_LEVEL
from mmdtwin.synth.xray.low_pass import LowPass
from mmdtwin.synth.xray.noise import FEW
from mmdtwin.synth.xray.profile import (
    MeasuringField,
    beam_profile,
    kerma_per_quantum,
    quanta_per_charge,
)
from mmdtwin.synth.xray.scatter import ScatterField, water_equivalent

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class BatchBody:
    """Bodies of one material, one of each in every image.

    Parameters
    ----------
    material, displaces : str
        Names of X-ray materials.
    path, share : (n, h, w) array
        Mean path length in m and share of rays that meet it, as of `path_lengths`.
    magnification : float
        On the detector, for the penumbra.
    """

    material: str
    displaces: str
    path: ArrayLike
    share: ArrayLike
    magnification: float


def render_batch(
    config: ImagerConfig,
    maps: Mapping[str, ArrayLike],
    bodies: Sequence[BatchBody] = (),
    seed: int = 0,
    device: str = "cpu",
    noise: bool = True,
) -> Tensor:
    """Return raw frames of many backgrounds.

    Each is exposed as the first frame of an `Imager` of its own: settled, without lag, fixed
    pattern of the pixels and display.

    Parameters
    ----------
    config : ImagerConfig
        With a flat panel.
    maps : mapping of str to (n, h, w) array
        Thickness in m of each material behind each image.
    bodies : sequence of BatchBody
        Each attenuates what those before it let through.
    seed : int
        Of the noise.
    device : str
        Of torch: "cpu", "cuda".
    noise : bool
        False gives the mean.

    Returns
    -------
    (n, h, w) int32 tensor on `device`
        Grey values; float32 before rounding if there is no noise.

    Raises
    ------
    UserError
        If torch or the device is missing, the imager has an intensifier, or shapes do not fit.
    """
    torch = _torch(device)
    if config.detector.intensifier is not None:
        raise UserError("render_batch: of flat panels only; remove detector.intensifier")
    scene = _Batch(torch, config, maps, device)
    mean, variance = scene.arriving(bodies)
    generator = torch.Generator(device=device).manual_seed(seed)
    image = scene.absorbed(mean, variance, generator) if noise else mean
    image = _filtered(torch, image, scintillator_filter(config.detector, scene.projection.pitch))
    if noise and config.detector.electronic_noise > 0.0:
        image += config.detector.electronic_noise * torch.randn(
            image.shape, generator=generator, device=device
        )
    image *= scene.gain
    if not noise:
        return image
    return image.round().clamp(0, 2**config.detector.bits - 1).to(torch.int32)


class _Batch:
    """Backgrounds, and the gain and exposure of each."""

    def __init__(
        self, torch: Any, config: ImagerConfig, maps: Mapping[str, ArrayLike], device: str
    ) -> None:
        self._torch, self._config, self._device = torch, config, device
        self.projection = Projection.from_config(config)
        self._maps = {k: self._tensor(f"map of {k}", m) for k, m in maps.items()}
        if len({len(m) for m in self._maps.values()}) != 1:
            raise UserError("render_batch: maps must be of one or more materials and as many each")
        self._beam = Beam.of(config)
        self._layers = [(self._beam.mu(k), m) for k, m in self._maps.items()]
        self._expose()

    def _tensor(self, what: str, values: ArrayLike) -> Tensor:
        tensor = self._torch.as_tensor(values, dtype=self._torch.float32, device=self._device)
        if tensor.ndim != 3 or tuple(tensor.shape[1:]) != self.projection.shape:
            raise UserError(
                f"render_batch: {what} is {tuple(tensor.shape)}, must be (n, "
                f"{', '.join(map(str, self.projection.shape))})"
            )
        if not self._torch.isfinite(tensor).all():
            raise UserError(f"render_batch: {what} has a value that is not a finite number")
        return tensor

    def _sums(self, layers: Sequence[tuple[Array, Tensor]]) -> Tensor:
        """Signals (4, n, h, w) behind layers, as `Beam.behind`."""
        torch, weights = self._torch, self._beam.weights
        out = torch.zeros((len(weights), *layers[0][1].shape), device=self._device)
        for k in range(weights.shape[1]):
            depth = sum(thickness * float(mu[k]) for mu, thickness in layers)
            passed = torch.exp(-depth)
            for total, weight in zip(out, weights[:, k].tolist(), strict=True):
                total += passed * weight
        return out

    def _expose(self) -> None:
        """Set signals, units, scatter, gain and exposure control of each image."""
        torch, config, projection, beam = self._torch, self._config, self.projection, self._beam
        sums = self._sums(self._layers)
        opening = aperture(config, projection)
        self._field = MeasuringField(config.exposure.measuring_field, opening)
        blurred = self._penumbra(sums[:2], projection.sid / projection.sod)
        profiles, units, fields, self._kerma = [], [], [], []
        for i in range(sums.shape[1]):
            each = {k: m[i].cpu().numpy() for k, m in self._maps.items()}
            depth = np.sum([beam.mu(k) * float(m.mean()) for k, m in each.items()], axis=0)
            profile = beam_profile(config, projection, beam, depth)
            energy = float(
                sums[1, i].sum(dtype=torch.float64) / sums[0, i].sum(dtype=torch.float64)
            )
            unit = quanta_per_charge(config, projection, beam, energy)
            primary = blurred[0, i].cpu().numpy() * profile * unit[0]
            fields.append(
                ScatterField(config, water_equivalent(each), projection.pitch, primary, profile)
            )
            profiles.append(profile)
            units.append(unit[:2])
            absorbed, kerma = (
                self._field.mean(s) for s in (sums[[0, 3], i].cpu().numpy() * (profile * opening))
            )
            each_quantum = kerma_per_quantum(config, projection, beam, energy, kerma / absorbed)
            self._kerma.append(each_quantum)
        profile_of = self._tensor("profile", np.stack(profiles))
        unit_of = torch.as_tensor(np.stack(units), device=self._device).T[:, :, None, None]
        self._primary = (
            blurred * unit_of * profile_of * torch.as_tensor(opening, device=self._device)
        )
        ratio = torch.as_tensor(np.stack([f.ratio for f in fields]), device=self._device)
        spread = _spread(torch, fields[0].low_pass, self._primary[0], ratio)
        self._scatter = spread * profile_of
        plain = self._primary[0] + self._scatter
        charges = self._charges(plain)
        levels = [
            self._field.mean(m) * c for m, c in zip(plain.cpu().numpy(), charges, strict=True)
        ]
        full_scale = 2**config.detector.bits - 1
        gains = [MEAN_LEVEL * full_scale / level for level in levels]
        self.gain = torch.tensor(gains, device=self._device)[:, None, None]

    def arriving(self, bodies: Sequence[BatchBody]) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the absorbed quanta, (n, h, w), as exposed."""
        torch, signals, layers = self._torch, self._primary, list(self._layers)
        if bodies:
            before = self._sums(layers)[:2]
        for body in bodies:
            path, share = self._tensor("path", body.path), self._tensor("share", body.share)
            thickness = path / torch.clamp(share, min=1e-6)
            mu = self._beam.mu(body.material, body.displaces)
            passed = self._sums([*layers, (mu, thickness)])[:2] / before
            signals = signals * self._penumbra(1.0 - share * (1.0 - passed), body.magnification)
            layers.append((mu, path))
            before = self._sums(layers)[:2]
        mean = signals[0] + self._scatter
        variance = signals[1] + self._scatter / self._config.detector.swank
        charge = torch.tensor(self._charges(mean), device=self._device)[:, None, None]
        return mean * charge, variance * charge

    def absorbed(self, mean: Tensor, variance: Tensor, generator: torch.Generator) -> Tensor:
        """Return the quanta that are absorbed, with their noise; as `Noise.quantum`."""
        torch = self._torch
        each = variance / torch.clamp(mean, min=1e-30)
        number = torch.where(mean > 0.0, mean / torch.clamp(each, min=1e-30), 0.0)
        normal = torch.randn(mean.shape, generator=generator, device=self._device)
        few = torch.poisson(torch.clamp(number, max=FEW), generator=generator)
        return torch.where(number < FEW, few * each, mean + torch.sqrt(variance) * normal)

    def _charges(self, mean: Tensor) -> list[float]:
        """Charge of the tube for each image, A s, settled."""
        charges = []
        for image, kerma in zip(mean.cpu().numpy(), self._kerma, strict=True):
            control = ExposureControl(self._config, self.projection)
            control.start(self._field.mean(image) * kerma)
            charges.append(control.charge)
        return charges

    def _penumbra(self, images: Tensor, magnification: float) -> Tensor:
        blur = focal_filter(self._config.focal_spot, magnification, self.projection.pitch)
        return _filtered(self._torch, images, blur)


def _filtered(torch: Any, images: Tensor, blur: SeparableFilter) -> Tensor:
    """Filter images (..., h, w) as a `SeparableFilter` does."""
    if blur.half == 0:
        return images * float(blur.kernel[0, 0])
    functional, half = torch.nn.functional, blur.half
    flat = images.reshape(-1, 1, *images.shape[-2:])
    padded = functional.pad(flat, (half, half, half, half), mode="reflect")
    out = torch.zeros_like(flat)
    for column, row in zip(blur.columns, blur.rows, strict=True):
        along_v = torch.as_tensor(column, device=images.device)[None, None, :, None]
        along_u = torch.as_tensor(row, device=images.device)[None, None, None, :]
        out += functional.conv2d(functional.conv2d(padded, along_u), along_v)
    return (out.clamp(min=0.0) if blur.positive else out).reshape(images.shape)


def _spread(torch: Any, low_pass: LowPass, primary: Tensor, ratio: Tensor) -> Tensor:
    """Return scatter (n, h, w) as a `ScatterField` does, by its separable steps as matrices."""
    small = tuple(ratio.shape[1:])

    def matrices(make: Callable[[int, int], Array]) -> list[Tensor]:
        return [
            torch.as_tensor(make(n, m).astype(np.float32), device=primary.device)
            for n, m in zip(low_pass.shape, small, strict=True)
        ]

    def resized(start: int, end: int, method: int) -> Array:
        return np.asarray(cv2.resize(np.eye(start), (start, end), interpolation=method))

    reduce = matrices(lambda n, m: resized(n, m, cv2.INTER_AREA))
    enlarge = matrices(lambda n, m: resized(m, n, cv2.INTER_LINEAR))
    cosine = matrices(lambda _, m: np.asarray(dct(np.eye(m), axis=0, norm="ortho")))
    transfer = torch.as_tensor(low_pass.transfer, device=primary.device)
    waves = reduce[0] @ primary @ reduce[1].T * ratio
    waves = cosine[0] @ waves @ cosine[1].T * transfer
    return enlarge[0] @ (cosine[0].T @ waves @ cosine[1]) @ enlarge[1].T


def _torch(device: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise UserError("render_batch: needs torch; pip install 'mmdtwin[rl]'") from error
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise UserError(f"render_batch: device '{device}': must be cpu, cuda or cuda:N") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"render_batch: device '{device}': this machine has no CUDA; use cpu")
    return torch
