"""Checks of the detector: noise, sharpness, lag, greys, scatter, glare, pixels, display."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmdtwin.config.imager import (
    DetectorConfig,
    ExposureConfig,
    GridConfig,
    IntensifierConfig,
    LagConfig,
)
from mmdtwin.geometry import Array
from mmdtwin.synth.xray.background import Background, Pose
from mmdtwin.synth.xray.checks import display
from mmdtwin.synth.xray.checks.check import Check
from mmdtwin.synth.xray.checks.detector_measures import (
    SIZE,
    Still,
    edge_plate,
    edge_transfer,
    in_rings,
    make_imager,
    noise_power,
)
from mmdtwin.synth.xray.detector import focal_mtf, scintillator_mtf
from mmdtwin.synth.xray.glare import Glare
from mmdtwin.synth.xray.imager import Imager
from mmdtwin.synth.xray.pixels import PixelResponse
from mmdtwin.synth.xray.scatter import scatter_ratio, water_equivalent

FRAMES = 40  # of an ensemble
PER_MM = 1e-3  # cycles/m -> cycles/mm
RINGS = np.arange(0.025, 0.501, 0.025)  # cycles/px
FREQUENCY = np.arange(0.025, 0.501, 0.025)  # cycles/px
TERMS = (LagConfig(share=0.06, time=0.1), LagConfig(share=0.03, time=1.0))

# What differs from the imager of `make_imager`, of its detector and else.
Case = tuple[str, dict[str, Any], dict[str, Any]]
CASES: tuple[Case, ...] = (
    ("Lorentzian, 0.3 mm", {}, {}),
    ("Lorentzian, 0.15 mm", {"pitch": 0.15e-3}, {}),
    ("Gaussian, 0.3 mm", {"response": "gaussian"}, {}),
    ("Gaussian, 0.15 mm, spot 1 mm", {"response": "gaussian", "pitch": 0.15e-3},
     {"focal_spot": 1e-3}),
)  # fmt: skip


def checks(seed: int) -> Iterator[Check]:
    """Run the checks of the detector, of scatter and of the display."""
    yield _noise_power(seed)
    yield _edges(seed)
    yield _lag(seed)
    yield _greys(seed)
    yield _scatter_law(seed)
    yield _scatter_ratio(seed)
    yield _glare()
    yield _pixels(seed)
    yield from display.checks(seed)


def _noise_power(seed: int) -> Check:
    found, names = [], []
    for name, detector, changes in CASES:
        imager = make_imager(seed, {"electronic_noise": 5.0, **detector}, **changes)
        power, expected = noise_power(imager, FRAMES), _expected_power(imager)
        found.append(np.stack([in_rings(p, RINGS) for p in (power, expected)]))
        names.append(name)
    worst = max(float(np.abs(p / e - 1).max()) for p, e in found)
    middle = (RINGS[1:] + RINGS[:-1]) / 2

    def draw(axes: Any) -> None:
        for name, (power, expected) in zip(names, found, strict=True):
            (line,) = axes.plot(middle, power, "o", markersize=3, label=name)
            axes.plot(middle, expected, color=line.get_color())
        axes.set(xlabel="cycles/px", ylabel="noise power, quanta$^2$", yscale="log")
        axes.legend()

    return Check(
        "NPS = q MTF_scintillator^2 + electronic floor",
        "closed forms of the MTF, variance of the quanta, electronic and rounding noise",
        "10 %; a ring's standard error is 1.2 % at most",
        f"largest difference {100 * worst:.1f} %",
        worst <= 0.10,
        f"{'; '.join(names)}; {FRAMES} frames, rings of 0.025 up to 0.5 cycles/px; lag off",
        draw=draw,
    )


def _expected_power(imager: Imager) -> Array:
    """Power of the noise on the grid of `numpy.fft.fft2`, quanta squared."""
    detector, pitch = imager.config.detector, imager.projection.pitch
    v, u = (np.fft.fftfreq(n, pitch) for n in imager.projection.shape)
    mtf = scintillator_mtf(detector, np.hypot(v[:, None], u))
    floor = detector.electronic_noise**2 + 1.0 / (12.0 * imager.gain**2)
    return np.asarray(float(imager.variance().mean()) * mtf**2 + floor)


def _edges(seed: int) -> Check:
    rng, found, names = np.random.default_rng(seed), [], []
    for name, detector, changes in CASES:
        imager = make_imager(seed, detector, scatter_to_primary=0.0, **changes)
        config, f = imager.config, FREQUENCY / imager.projection.pitch
        angle = math.radians(rng.uniform(2.0, 6.0)) * rng.choice([-1, 1])
        focal = focal_mtf(config.focal_spot, config.sid / config.sod, f)
        expected = focal * scintillator_mtf(config.detector, f) * np.sinc(FREQUENCY)
        found.append(np.stack([edge_transfer(imager, angle, FREQUENCY), expected, f * PER_MM]))
        names.append(name)
    worst = max(float(np.abs(m - e).max()) for m, e, _ in found)

    def draw(axes: Any) -> None:
        for name, (measured, expected, f) in zip(names, found, strict=True):
            (line,) = axes.plot(f, measured, "o", markersize=3, label=name)
            axes.plot(f, expected, color=line.get_color())
        axes.set(xlabel="cycles/mm at the detector", ylabel="MTF")
        axes.legend()

    return Check(
        "slanted edge: MTF = MTF_focal MTF_scintillator sinc(pixel)",
        "closed forms; oversampled edge spread function (IEC 62220-1, ISO 12233)",
        "0.03 absolute: filters are within 0.015 each, 3 rays stand for a pixel's width",
        f"largest difference {worst:.3f}",
        worst <= 0.03,
        f"{'; '.join(names)}; lead plate at the isocentre, 2-6 deg; up to 0.5 cycles/px",
        "the penumbra stands for a uniform focal spot by a normal profile",
        draw,
    )


def _lag(seed: int) -> Check:
    dose = ExposureConfig(detector_dose=20e-6, control_time=1e6)
    imager = make_imager(seed, {"lag": TERMS, "electronic_noise": 0.0}, exposure=dose)
    period, core = 1.0 / imager.config.frame_rate, np.s_[64:-64, 16:96]
    opaque, empty = Still(edge_plate(0.0), edge_plate(math.pi)), Still()

    def level(world: Still, frame: int) -> float:
        return float(imager.render(world.at(frame * period)).image[core].mean())

    dark = [level(opaque, k) for k in range(3)][-1]
    risen = np.array([level(empty, k) for k in range(3, 33)])
    clear = float(imager.expected()[core].mean())
    k = np.arange(1, 31)
    late = sum(term.share * np.exp(-k * period / term.time) for term in TERMS)
    ghost = (clear - risen) / (clear - dark)
    worst = float(np.abs(ghost - late).max())

    def draw(axes: Any) -> None:
        axes.plot(k * period, ghost, "o", markersize=3)
        axes.plot(k * period, late)
        axes.set(xlabel="s since the plate went", ylabel="share of its shadow", yscale="log")

    return Check(
        "lag: a shadow that goes leaves sum b_i exp(-t/tau_i)",
        "Hsieh's sum of exponentials, as configured",
        "0.002 of the step: ten standard errors of the mean of 10^4 pixels",
        f"largest difference {worst:.4f}; {ghost[0]:.4f} after one frame ({late[0]:.4f})",
        worst <= 0.002,
        "shares 0.06 and 0.03, 0.1 and 1 s, 15 frames/s, 30 frames",
        draw=draw,
    )


def _greys(seed: int) -> Check:
    thick = np.full((SIZE, SIZE), 0.15, np.float32)
    thick[:, : SIZE // 4] = 0.0
    background = Background({"soft-tissue": thick}, Pose())
    imager = make_imager(
        seed, {"bits": 12, "electronic_noise": 2.0}, background, scatter_to_primary=0.0
    )
    expected, frames = imager.expected(), []
    for _ in range(20):
        frames.append(imager.render(Still()).image)
    image = np.stack(frames)
    bright, middle = expected > 1.5 * 4095, np.abs(expected / 614 - 1) < 0.5
    saturated = bool(bright.any() and (image[:, bright] == 4095).all())
    off = float((image[:, middle].mean(axis=0) - expected[middle]).mean())
    return Check(
        "greys of 12 bits: rounded to the nearest, saturating at 4095",
        "noise-free signal times gain",
        "mean within 0.25 of a grey, cut off it would be 0.5 low; 4095 where 1.5 x as much is due",
        f"mean off by {off:+.3f}; {int(bright.sum())} pixels {'' if saturated else 'not '}at 4095",
        saturated and abs(off) < 0.25 and int(image.max()) == 4095 and image.dtype == np.uint16,
        "20 frames, a strip without tissue beside 15 cm",
    )


def _scatter_law(seed: int) -> Check:
    plate = edge_plate(0.0)
    plate = type(plate)(plate.centre, plate.rotation, plate.half_extents, "ndfeb-silicone")
    inside = np.s_[SIZE // 2, 3 * SIZE // 4]

    def contrast(imager: Imager) -> float:
        a, b = (float(imager.signal(bodies)[inside]) for bodies in (None, [plate]))
        return (a - b) / (a + b)

    plain, worst = contrast(make_imager(seed, scatter_to_primary=0.0)), 0.0
    ratios = [0.1, 0.7, 3.0, 8.0, float(np.random.default_rng(seed).uniform(0.2, 6.0))]
    for ratio in ratios:
        for grid in (None, GridConfig(primary=0.7, scatter=0.12)):
            imager = make_imager(seed, scatter_to_primary=ratio, grid=grid)
            behind = ratio * (grid.scatter / grid.primary if grid else 1.0)
            law = plain / (1 + behind * (1 + plain))
            worst = max(worst, abs(contrast(imager) / law - 1))
    return Check(
        "scatter dilutes contrast: C_s = C_0/(1 + SPR (1 + C_0))",
        "SPR as configured, times the grid's shares",
        "1e-5 of it: 32-bit numbers",
        f"largest difference {worst:.0e}",
        worst <= 1e-5,
        f"SPR {', '.join(f'{r:.2g}' for r in ratios)}, with and without a grid; C_0 {plain:.3f}",
        "a device does not change the scatter",
    )


def _scatter_ratio(seed: int) -> Check:
    worst = 0.0
    for thickness in (0.03, 0.1, 0.2, float(np.random.default_rng(seed).uniform(0.02, 0.3))):
        maps = {"soft-tissue": np.full((SIZE, SIZE), thickness, np.float32)}
        imager = make_imager(seed, background=Background(maps, Pose()), scatter_to_primary=None)
        ratio = float((imager.scatter / imager.primary).mean())
        due = float(scatter_ratio(water_equivalent(maps)).mean())
        worst = max(worst, abs(ratio / due - 1))
    depths = np.linspace(0.0, 0.5, 501)
    table = scatter_ratio([0.0, 0.03, 0.1, 0.2])
    return Check(
        "scatter to primary by the patient's thickness",
        "0.3, 1, 3 behind 3, 10, 20 cm of water (assumed)",
        "1 %, exact in the table; rises with thickness up to 0.5 m",
        f"largest difference {100 * worst:.2f} %",
        bool(worst <= 0.01 and np.allclose(table, [0.0, 0.3, 1.0, 3.0])
             and (np.diff(scatter_ratio(depths)) > 0).all()),
    )  # fmt: skip


def _glare() -> Check:
    size, pitch, worst = 512, 0.4e-3, 0.0
    v, u = np.mgrid[:size, :size] - (size - 1) / 2
    for share, width in ((0.08, 10e-3), (0.15, 15e-3)):
        for radius in (5e-3, 15e-3, 25e-3):
            image = np.asarray(np.hypot(u, v) * pitch > radius, np.float32)
            config = IntensifierConfig(glare=share, glare_width=width)
            mean = float(image.mean())
            Glare(config, image.shape, pitch)(image)
            due = share * (1 + radius / width) * math.exp(-radius / width)
            middle = float(image[size // 2, size // 2])
            worst = max(worst, abs(middle - due) / share, abs(float(image.mean()) - mean))
    return Check(
        "veiling glare behind a lead disc of radius R: g (1 + R/w) exp(-R/w)",
        "integral of the spread exp(-r/w)/(2 pi w^2) outside of the disc",
        "2 % of the share: the rest of a spread that leaves the image comes back; mean kept",
        f"largest difference {100 * worst:.2f} %",
        worst <= 0.02,
        "discs of 5-25 mm, w 10 and 15 mm, g 0.08 and 0.15, field 0.2 m",
    )


def _pixels(seed: int) -> Check:
    shape, rng = (512, 512), np.random.default_rng(seed)
    error, share = float(rng.uniform(0.005, 0.03)), float(rng.uniform(1e-3, 1e-2))
    config = DetectorConfig(electronic_noise=0.0, gain_error=error, dead_pixels=share)
    pattern = PixelResponse(config, shape, rng)
    living = ~pattern.dead
    rms = float(pattern(np.ones(shape, np.float32))[living].std())
    flat = PixelResponse(config.model_copy(update={"gain_error": 0.0}), shape, rng)
    noise = flat(rng.standard_normal(shape, dtype=np.float32))
    quiet = float(noise[flat.dead].std())
    dead = float(flat.dead.mean())
    return Check(
        "gain error and dead pixels as configured; a dead pixel is the mean of its neighbours",
        "its noise is 1/sqrt 8 of theirs, a little more beside another dead one",
        "rms within 1 % (0.14 % standard error), noise 0.353 +- 0.08 (five standard errors)",
        f"rms {rms:.4f} ({error:.4f}), dead {100 * dead:.3f} % ({100 * share:.3f} %), {quiet:.3f}",
        abs(rms / error - 1) < 0.01
        and abs(dead - share) * noise.size <= 0.5
        and abs(quiet - 8**-0.5) < 0.08,
    )
