"""Checks of what is absorbed: the statistics of quanta, and the noise of frames."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from mmdtwin.config.base import load
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.geometry import Array
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Body
from mmdtwin.synth.xray.background import Background, Pose
from mmdtwin.synth.xray.checks.check import Check
from mmdtwin.synth.xray.imager import Imager
from mmdtwin.synth.xray.noise import Noise

SHAPE = (128, 128)  # px
FRAMES = 30


def quanta_checks(rng: np.random.Generator) -> Iterator[Check]:
    """Run them."""
    yield _counts(rng)
    yield _swank(rng)
    yield _few_quanta(rng)
    yield _dose(rng)
    yield _fresh(rng)


def small_config(path: str = "fast", **changes: Any) -> ImagerConfig:
    """A small image; changes are of the detector, but for those of the imager itself."""
    data = load(ImagerConfig, "imagers", "flat-phantom").model_dump()
    detector = {"rows": SHAPE[0], "columns": SHAPE[1], "electronic_noise": 0.0, "bits": 16}
    for key, value in changes.items():
        (data if key in data else detector)[key] = value
    data["detector"] = data["detector"] | detector
    return ImagerConfig.model_validate(data | {"path": path})


def imager_of(rng: np.random.Generator, config: ImagerConfig, **maps: float) -> Imager:
    thickness = maps or {"water": 0.1}
    shape = config.detector.rows, config.detector.columns
    layers = {k.replace("_", "-"): np.full(shape, t, np.float32) for k, t in thickness.items()}
    return Imager(config, rng, rng, background=Background(layers, Pose()))


class Still:
    """A world of bodies, or of none."""

    def __init__(self, device: tuple[Body, ...] = (), instruments: tuple[Body, ...] = ()) -> None:
        self._bodies = device, instruments

    def scene(self) -> Scene:
        return Scene(0.0, *self._bodies)


def spread_of(imager: Imager, world: Still) -> Array:
    """Standard deviation (h, w) over frames, quanta."""
    frames = np.stack([imager.render(world).image for _ in range(FRAMES)]) / imager.gain
    return np.asarray(frames.std(axis=0, ddof=1))


def _counts(rng: np.random.Generator) -> Check:
    noise, worst = Noise(rng), 0.0
    means = (2.0, 20.0, 60.0, 400.0)
    for mean in means:
        flat = np.full((512, 512), mean, np.float32)
        counts = noise.compound(flat, flat, flat, 1.0)
        whole = np.abs(counts - np.rint(counts)).max() < 1e-3
        worst = max(worst, abs(float(counts.var(dtype=float)) / mean - 1) if whole else np.inf)
    return Check(
        "the number of absorbed photons has its mean as variance",
        "Poisson's law",
        "1.5 %: five standard errors of 512 x 512 pixels, and the rest of a part",
        f"{100 * worst:.2f} %",
        worst < 0.015,
        f"means of {', '.join(f'{m:g}' for m in means)}",
    )


def _swank(rng: np.random.Generator) -> Check:
    light, found = 0.85, []
    for path in ("fast", "full"):
        config = small_config(path, swank=light, blur=0.0, scatter_to_primary=0.0, heel=False)
        imager = imager_of(rng, config)
        spectrum = imager.beam.spectrum
        behind = spectrum.photons * np.exp(-0.1 * spectrum.attenuation("water"))
        behind = behind * spectrum.absorbed(600e-6, 0.75)
        m0, m1, m2 = (float(behind @ spectrum.energy**k) for k in range(3))
        # Signals are in units of the energy m2 / m1.
        number = imager.signal().astype(float) * (m2 / m1) / (m1 / m0)
        expected = number * m1**2 / (m0 * m2) * light
        frames = np.stack([imager.render(Still()).image for _ in range(FRAMES)])
        squared = frames.mean() ** 2 / frames.var(axis=0, ddof=1).mean()
        found.append(float(squared / expected.mean() - 1))
    return Check(
        "SNR^2 of the signal = N M1^2/(M0 M2), times the Swank factor of the light",
        "compound Poisson process (Swank, J. Appl. Phys. 44, 1973)",
        "2 %: five standard errors of the variance are 1 %",
        f"fast {100 * found[0]:+.2f} %, full {100 * found[1]:+.2f} %",
        max(abs(f) for f in found) < 0.02,
        "10 cm of water, 60 kVp, factor 0.85",
    )


def _few_quanta(rng: np.random.Generator) -> Check:
    noise, found = Noise(rng), {}
    for mean in (0.5, 3.0, 25.0):
        flat = np.full((512, 512), mean, np.float32)
        drawn = noise.quantum(flat, flat, 1.0).astype(float) - mean
        found[mean] = float((drawn**3).mean() / (drawn**2).mean() ** 1.5) * np.sqrt(mean)
    return Check(
        "fast path: few quanta are Poisson's",
        "skewness 1/sqrt(mean)",
        "10 %: four standard errors of the least skew",
        ", ".join(f"{v:.3f} at {k:g}" for k, v in found.items()) + " of it",
        all(abs(v - 1) < 0.1 for v in found.values()),
        "below 30 quanta; normal above",
    )


def _dose(rng: np.random.Generator) -> Check:
    relative = []
    for dose in (100e-9, 200e-9):
        imager = imager_of(rng, small_config(exposure={"detector_dose": dose}))
        spread = spread_of(imager, Still())
        relative.append(np.sqrt((spread**2).mean()) / imager.signal().mean())
    ratio = float(relative[0] / relative[1])
    return Check(
        "twice the dose lowers the relative noise by sqrt 2",
        "Poisson's law",
        "2 %",
        f"{ratio:.4f}",
        abs(ratio / np.sqrt(2) - 1) < 0.02,
        "100 and 200 nGy at the detector",
    )


def _fresh(rng: np.random.Generator) -> Check:
    imager = imager_of(rng, small_config(rows=512, columns=512, blur=0.0))
    frames = [imager.render(Still()).image - imager.expected() for _ in range(2)]
    first, second = (f.astype(float) for f in frames)
    waves = [np.fft.rfft2((f - f.mean()) / f.std()) for f in (first, second)]
    cross = np.fft.irfft2(waves[0] * np.conj(waves[1])) / first.size
    largest = float(np.abs(cross).max())
    v, u = np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)
    radius = np.hypot(v, u)
    power = np.mean(np.abs(np.stack(waves)) ** 2, axis=0) / first.size
    edges = np.linspace(0.02, 0.5, 9)
    rings = [power[(radius >= a) & (radius < b)].mean() for a, b in pairwise(edges)]
    flat = float(np.abs(np.array(rings) / np.mean(rings) - 1).max())
    return Check(
        "noise is fresh in every frame, and white before the blur",
        "correlation of two frames at any shift; power in rings",
        "0.02; 4 %, four standard errors of the smallest ring",
        f"correlation {largest:.4f}, power flat to {100 * flat:.1f} %",
        largest < 0.02 and flat < 0.04,
        "512 x 512, no blur, no electronic noise",
    )
