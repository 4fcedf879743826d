"""Checks of the two paths: fast against full, and the statistics of what is absorbed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmdtwin.geometry import Array, Image
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Body, Solids, Wire
from mmdtwin.synth.xray.anatomy import Anatomy
from mmdtwin.synth.xray.background import Background, Pose
from mmdtwin.synth.xray.beam import Beam
from mmdtwin.synth.xray.checks.check import Check
from mmdtwin.synth.xray.checks.quanta import (
    FRAMES,
    SHAPE,
    Still,
    imager_of,
    quanta_checks,
    small_config,
    spread_of,
)
from mmdtwin.synth.xray.fast import FastPath
from mmdtwin.synth.xray.full import FullPath
from mmdtwin.synth.xray.imager import Imager
from mmdtwin.synth.xray.shadows import Shadow
from mmdtwin.synth.xray.spectrum import load_spectrum

SPECTRA = ("60kVp-3Al", "80kVp-2.5Al-0.2Cu", "120kVp-2.5Al")
MATERIALS = (
    *("ndfeb-silicone", "ndfeb", "steel", "nitinol", "platinum", "iodine:300", "bone", "water"),
    "air",
)
THICKNESSES = np.geomspace(20e-6, 20e-3, 40).astype(np.float32)  # m
EDGE = 8  # px
SEEN = 0.1  # of the largest contrast: from there it is compared


def checks(seed: int) -> Iterator[Check]:
    """Run the checks of both paths and of the noise."""
    rng = np.random.default_rng(seed)
    yield _contrast()
    yield _any_material()
    yield _background(rng)
    yield _noise_of_both(rng)
    yield _hardening()
    yield from quanta_checks(rng)


def _devices() -> list[Body]:
    sheet = np.array([[1.85e-3, 0.75e-3, 0.0925e-3]])
    turned = np.array([[[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]])  # seen edge on
    return [
        Solids(np.zeros((1, 3)), np.eye(3)[None], sheet, "ndfeb-silicone"),
        Solids(np.zeros((1, 3)), turned, sheet, "ndfeb-silicone:0.3"),
        Solids.balls(np.zeros((1, 3)), np.array([1.5e-3]), "iodine:300"),
        Solids.balls(np.zeros((1, 3)), np.array([0.5e-3]), "steel"),
        Wire(np.array([[-2e-3, -1e-3, 0], [2e-3, 1e-3, 0]]), 0.2e-3, "platinum"),
    ]


def _contrast() -> Check:
    wire = Wire(np.array([[0, -9e-3, 5e-3], [1e-3, 9e-3, 5e-3]]), 0.175e-3, "stainless-steel")
    places: list[tuple[str, dict[str, float], list[Body]]] = [
        ("water", {"water": 0.1}, []),
        ("2 cm of bone", {"water": 0.1, "bone": 0.02}, []),
        ("a steel wire", {"water": 0.1}, [wire]),
    ]
    found, rng = {}, np.random.default_rng(0)
    for name, maps, behind in places:
        worst = 0.0
        pair = [imager_of(rng, small_config(p), **maps) for p in ("fast", "full")]
        for device in _devices():
            contrasts = [_michelson(imager, behind, device) for imager in pair]
            fast, full = (c[contrasts[1] > SEEN * contrasts[1].max()] for c in contrasts)
            worst = max(worst, float(np.abs(fast / full - 1).max()))
        found[name] = worst
    return Check(
        "fast path: a device's contrast, pixel by pixel",
        "full path: the sum over all energies",
        "1 % over water, 2 cm of bone and a steel wire",
        ", ".join(f"{100 * value:.2f} % over {name}" for name, value in found.items()),
        max(found.values()) < 0.01,
        "two composite sheets, an iodine drop, a steel ball, a platinum wire; 60 kVp",
        draw=_draw_range,
    )


def _michelson(imager: Imager, behind: list[Body], device: Body) -> Array:
    without, with_it = (imager.signal(b).astype(float) for b in (behind, [*behind, device]))
    return (without - with_it) / (without + with_it)


def _shadow(material: str, thickness: Image) -> Shadow:
    """A body that covers one pixel after another, ever thicker."""
    n = len(thickness)
    row, share = thickness[None], np.ones((1, n), np.float32)
    return Shadow(
        material, "soft-tissue", 1.4, (0, 1, 0, n), row, share,
        np.zeros(n, np.int64), np.arange(n), thickness, share[0],
    )  # fmt: skip


def _passing(spectrum: str, material: str) -> tuple[Array, Array, Array]:
    """What passes by cumulants and exactly, (2, n) each, and where (n,) the series served."""
    beam = Beam(load_spectrum(spectrum), 600e-6, 0.75)
    n = len(THICKNESSES)
    tissue = np.full((1, 1, n), 0.15, np.float32)
    anatomy = Anatomy(beam.mu("soft-tissue")[None], tissue)
    fast, full = (kind(beam, anatomy, np.asarray) for kind in (FastPath, FullPath))
    shadow = _shadow(material, THICKNESSES)
    passed = [path.passing(shadow, [], (0.0, 0.0))[:2].astype(float) for path in (fast, full)]
    return passed[0], passed[1], np.any(passed[0] != passed[1], axis=0)


def _any_material() -> Check:
    worst, served = 0.0, []
    for spectrum in SPECTRA:
        for material in MATERIALS:
            fast, full, series = _passing(spectrum, material)
            # What single precision can hold of a contrast that is hardly there.
            loss = np.abs(fast - full) / (np.abs(1 - full) + 1e-3)
            worst = max(worst, float(loss.max()))
            served.append(series.mean())
    return Check(
        "cumulants and, out of their range, the exact sum: any material, any thickness",
        "full path",
        "1 % of the contrast, of signal and of variance",
        f"{100 * worst:.2f} % at most; the series served {100 * np.mean(served):.0f} % of them",
        worst < 0.01,
        f"{len(MATERIALS)} materials, 20 um to 20 mm, in 15 cm of tissue; 60, 80, 120 kVp",
    )


def _background(rng: np.random.Generator) -> Check:
    """With structure, an instrument and a displacement by a part of a pixel."""
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]] / SHAPE[0]
    maps = {
        "soft-tissue": (0.15 + 0.02 * np.sin(20 * u + 9 * v)).astype(np.float32),
        "bone": (0.01 * (1 + np.sin(35 * v))).astype(np.float32),
    }
    wire = Wire(np.array([[-9e-3, -2e-3, 0], [9e-3, 3e-3, 0]]), 0.175e-3, "stainless-steel")
    worst = 0.0
    for moved in (np.zeros(3), np.array([0.37e-3, -0.81e-3, 0.0])):
        scene = Scene(0.0, (), (wire,), displacement=moved)
        means = []
        for path in ("fast", "full"):
            imager = Imager(small_config(path), rng, rng, background=Background(maps, Pose()))
            means.append(imager.arriving([scene]).mean.astype(float))
        inner = (slice(EDGE, -EDGE), slice(EDGE, -EDGE))
        worst = max(worst, float(np.abs(means[0] / means[1] - 1)[inner].max()))
    return Check(
        "fast path: the background with an instrument, at rest and moved",
        "full path",
        "0.5 %",
        f"{100 * worst:.3f} %",
        worst < 5e-3,
        "tissue and bone in waves of 20 px and more, a steel wire; moved by 1.8 and 4.0 px",
        f"moves as a whole, by the displacement at the isocentre; {EDGE} px at the edges, "
        "to which the blur of what is unseen reaches, are left out",
    )


def _noise_of_both(rng: np.random.Generator) -> Check:
    plate = np.array([[5e-3, 5e-3, 0.25e-3]])
    device = Solids(np.zeros((1, 3)), np.eye(3)[None], plate, "ndfeb-silicone")
    found = {}
    for name, maps in (("water", {"water": 0.1}), ("bone", {"water": 0.1, "bone": 0.02})):
        spread = []
        for path in ("fast", "full"):
            imager = imager_of(rng, small_config(path, swank=0.85), **maps)
            spread.append(spread_of(imager, Still((device,))))
        under = imager.signal([device]) < 0.97 * imager.signal()
        for what, where in ((f"{name}", ~under), (f"device over {name}", under)):
            a, b = (np.sqrt((s[where] ** 2).mean()) for s in spread)
            found[what] = float(abs(a / b - 1))
    return Check(
        "fast path: standard deviation of the noise",
        "full path: Poisson number of photons, normal sum of their energies",
        "3 %; sampled to 0.7 % under the device",
        ", ".join(f"{100 * v:.1f} % {k}" for k, v in found.items()),
        max(found.values()) < 0.03,
        f"Swank factor of the light 0.85; {FRAMES} frames",
    )


def _hardening() -> Check:
    beam = Beam(load_spectrum("80kVp-2.5Al"), 600e-6, 0.75)
    water = np.linspace(0.0, 0.2, 9, dtype=np.float32)
    behind = beam.behind([(beam.mu("water"), water)])
    mean_energy = behind.energy / behind.photons
    effective = -np.diff(np.log(behind.energy.astype(float))) / np.diff(water)
    iodine = (beam.mu("iodine:50", "soft-tissue"), np.full_like(water, 3e-3))
    passed = beam.behind([(beam.mu("water"), water), iodine]).energy / behind.energy
    rises = bool((np.diff(mean_energy) > 0).all())
    falls = bool((np.diff(effective) < 0).all())
    weaker = bool((np.diff(passed) > 0).all())
    return Check(
        "beam hardening: behind more water photons are harder, water and iodine weaken less",
        "low energies are absorbed first",
        "monotone, 0 to 20 cm",
        f"{mean_energy[0]:.1f} to {mean_energy[-1]:.1f} keV, mu of water {effective[0]:.1f} to "
        f"{effective[-1]:.1f} /m, 3 mm of iodine pass {passed[0]:.3f} to {passed[-1]:.3f}",
        rises and falls and weaker,
        "80 kVp, 2.5 mm Al",
    )


def _draw_range(axes: Any) -> None:
    for material in ("ndfeb-silicone", "steel", "iodine:300", "bone"):
        fast, full, _ = _passing("80kVp-2.5Al-0.2Cu", material)
        axes.semilogx(THICKNESSES * 1e3, 100 * ((1 - fast) / (1 - full) - 1)[0], label=material)
    axes.set(xlabel="thickness, mm", ylabel="contrast by cumulants - exact, %")
    axes.legend(fontsize="small")
