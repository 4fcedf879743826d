"""Checks of the beam: materials, spectra, contrast, heel, exposure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmdtwin.config.imager import ImagerConfig
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.synth.xray.checks.beam_reference import (
    ABSORBED,
    CONTRAST,
    HEEL,
    HEEL_ANGLES,
    MASS_ATTENUATION,
    PRINTED,
    SPECTRA,
)
from mmdtwin.synth.xray.checks.check import Check
from mmdtwin.synth.xray.exposure import ExposureControl, bucky_factor
from mmdtwin.synth.xray.materials import attenuation, density
from mmdtwin.synth.xray.spectrum import load_spectrum
from mmdtwin.synth.xray.tube import heel_profile

CSI = (600e-6, 0.75)  # thickness in m and packing of the scintillator
MICROGRAY_PER_MAS = 1e3  # Gy/(A s) -> uGy/mAs


def checks(seed: int) -> Iterator[Check]:
    """Run the checks of materials, spectra and exposure."""
    yield _mass_attenuation()
    yield _edge()
    yield _spectra()
    yield _quanta()
    yield _absorption()
    yield from _contrast()
    yield _heel()
    yield _automatic(np.random.default_rng(seed))
    yield _inverse_square()


def _mass_attenuation() -> Check:
    got = {
        name: attenuation(name, [40.0, 60.0, 80.0]) / density(name) * 10  # m2/kg -> cm2/g
        for name in MASS_ATTENUATION
    }
    worst = max(float(np.abs(got[n] / MASS_ATTENUATION[n] - 1).max()) for n in got)
    return Check(
        "mu/rho of water, bone, silicone, iron, Nd2Fe14B and iodine",
        "NIST (NISTIR 5632); xraydb for the compounds",
        "0.5 %",
        f"largest difference {100 * worst:.2f} %",
        worst <= 5e-3,
        "40, 60, 80 keV",
        "0.1-800 keV; no fine structure at edges",
        _draw_mass_attenuation,
    )


def _edge() -> Check:
    below, above = attenuation("Nd", [43.55, 43.59])
    rise = attenuation("ndfeb", 50.0) / attenuation("ndfeb", 40.0)
    return Check(
        "the K edge of Nd makes NdFeB more opaque at 50 than at 40 keV",
        "edge at 43.57 keV; 4.18 and 5.82 cm2/g (xraylib, xraydb)",
        "rises over the edge; ratio 1.39 to 1 %",
        f"x {above / below:.2f} over the edge; ratio {rise:.3f}",
        bool(above > 4 * below and abs(rise / (5.82 / 4.18) - 1) < 0.01),
    )


def _spectra() -> Check:
    off = []
    for name, mean, layer, fluence, kerma in SPECTRA:
        s = load_spectrum(name)
        got = (
            s.mean_energy / mean,
            s.half_value_layer() * 1e3 / layer,
            s.fluence / fluence,
            s.output * MICROGRAY_PER_MAS / kerma,
        )
        off.append(np.abs(np.array(got) - 1))
    worst = np.max(off, axis=0)
    return Check(
        "mean energy, half-value layer, fluence and output of spectra",
        "SpekPy 2.5.4, tungsten, 12 deg, by itself at each voltage and filter",
        "2 %: other tables of cross sections; filters added afterwards, voltages interpolated",
        "largest differences {:.2f}, {:.2f}, {:.2f}, {:.2f} %".format(*100 * worst),
        bool(worst.max() <= 0.02),
        f"{len(SPECTRA)} spectra, 42-125 kVp, Al, Cu, Sn, Ti",
        "30-150 kVp behind 0.5 mm Al or more",
        _draw_spectra,
    )


def _quanta() -> Check:
    spectrum = load_spectrum("80kVp-2.5Al-0.2Cu")
    quanta = 1e-12 / float(spectrum.photons @ spectrum.kerma)  # per mm2 and uGy
    return Check(
        "photons per air kerma",
        "2.7e4 per mm2 and uGy (SpekPy)",
        "2 %, as printed",
        f"{quanta:.3g}",
        abs(quanta / 2.7e4 - 1) <= 0.02 + 0.05e4 / 2.7e4,
        "80 kVp, 2.5 Al, 0.2 Cu",
    )


def _absorption() -> Check:
    got = []
    for name, _ in ABSORBED:
        spectrum = load_spectrum(name)
        got.append(float(spectrum.photons @ spectrum.absorbed(*CSI)))
    off = np.abs(np.array(got) - [share for _, share in ABSORBED])
    return Check(
        "share of photons that 600 um of CsI at 75 % absorb",
        ".94, .87, .77 (xraylib, SpekPy)",
        "0.01: two printed digits",
        ", ".join(f"{share:.3f}" for share in got),
        bool(off.max() <= 0.01),
        ", ".join(name for name, _ in ABSORBED),
        "fluorescence that escapes is not taken off",
    )


def contrast(device: str, thickness: float, spectrum_name: str, depth: float) -> tuple[float, ...]:
    """Return the signals, per photon and in keV, behind `depth` m of soft tissue without and with
    a device of a thickness in m that displaces water."""
    spectrum = load_spectrum(spectrum_name)
    weights = spectrum.photons * spectrum.absorbed(*CSI) * spectrum.energy
    behind = weights * np.exp(-spectrum.attenuation("soft-tissue") * depth)
    extra = spectrum.attenuation(device) - spectrum.attenuation("water")
    return float(behind.sum()), float(behind @ np.exp(-extra * thickness))


def _contrast() -> Iterator[Check]:
    primary, scattered, law = [], [], []
    for device, thickness, (name, depth, ratio), expected, diluted in CONTRAST:
        without, behind = contrast(device, thickness, name, depth)
        c = (without - behind) / (without + behind)
        scatter = ratio * without
        c_s = (without - behind) / (without + behind + 2 * scatter)
        primary.append(abs(c - expected) / expected)
        scattered.append(max(0.0, abs(c_s - diluted) - PRINTED) / diluted)
        law.append(abs(c_s - c / (1 + ratio * (1 + c))))
    yield Check(
        "primary contrast of NdFeB, ferrofluid, iodine, bone and steel",
        "computed apart from this package (xraylib, SpekPy)",
        "10 %: rounding, bins at the edges",
        f"largest difference {100 * max(primary):.1f} %",
        max(primary) <= 0.10,
        "60 kVp behind 3 cm, 80 kVp with copper behind 20 cm; 600 um of CsI, energy",
        draw=_draw_contrast,
    )
    yield Check(
        "scatter dilutes contrast to C/(1 + SPR (1 + C))",
        "that law; the same table",
        "1e-12; 10 % beyond the printed digits",
        f"{max(law):.0e}; largest difference {100 * max(scattered):.1f} %",
        max(law) <= 1e-12 and max(scattered) <= 0.10,
        "scatter to primary .3 and 3",
    )


def _heel() -> Check:
    worst = 0.0
    rows, pitch, sid = 401, 1e-3, 1.0
    projection = Projection.from_carm(sid, 0.7, pitch, (rows, 3))
    where = (rows - 1) / 2 + np.tan(np.deg2rad(HEEL_ANGLES)) * sid / pitch
    for name, expected in HEEL.items():
        spectrum = load_spectrum(name)
        weights = spectrum.energy * spectrum.absorbed(*CSI)
        weights = weights * np.exp(-spectrum.attenuation("water") * 0.2)
        for reference, signal in zip(expected, (None, weights), strict=True):
            column = heel_profile(name, projection, signal)[:, 1]
            got = np.interp(where, np.arange(rows), column)
            worst = max(worst, float(np.abs(got / reference - 1).max()))
    return Check(
        "heel effect: photons, and signal behind 20 cm, across the field",
        "SpekPy 2.5.4 off its axis",
        "2 %: tabulated by angle and voltage",
        f"largest difference {100 * worst:.2f} %",
        worst <= 0.02,
        "-9 to 9.5 deg towards the anode; 65 and 118 kVp",
        "the beam's hardening across the field is in the signal's size, not in its contrast",
    )


def _config(**changes: Any) -> ImagerConfig:
    values = {
        "source": "check",
        "background": {"kind": "flat"},
        "detector": {"electronic_noise": 0.0},
        "exposure": {"detector_dose": 100e-9, "control_time": 0.3},
    }
    return ImagerConfig.model_validate(values | changes)


def _projection(config: ImagerConfig) -> Projection:
    d = config.detector
    return Projection.from_carm(config.sid, config.sod, d.pitch, (d.rows, d.columns))


def _automatic(rng: np.random.Generator) -> Check:
    """A patient who becomes more opaque; then one too opaque for the tube."""
    config, dt = _config(), 1 / 15.0
    control = ExposureControl(config, _projection(config))
    aim, limit = 100e-9, control.max_charge
    before = aim / limit * rng.uniform(10.0, 20.0)  # Gy per A s
    after = before * rng.uniform(0.2, 0.5)
    control.start(before)
    errors = [control.exposure(before).detector_dose / aim - 1]
    for _ in range(45):
        errors.append(control.exposure(after).detector_dose / aim - 1)
        control.measured(after, dt)
    law = errors[1] * np.exp(-np.arange(45) * dt / 0.3)
    off = float(np.abs(np.array(errors[1:]) - law).max())
    control.start(0.5 * aim / limit)
    capped = control.charge == limit
    return Check(
        "automatic exposure settles on the detector's dose, and the tube's current limits it",
        "error of the dose x exp(-t/0.3 s); max_current x pulse_width",
        "1e-9",
        f"start {errors[0]:.0e}, decay {off:.0e}, after 3 s {errors[-1]:.0e}, limited: {capped}",
        abs(errors[0]) < 1e-9 and off < 1e-9 and capped,
        "15 frames/s, patient 2-5 times as opaque",
    )


def _inverse_square() -> Check:
    """Kerma at two distances, dose-area product of one opening angle, and a grid's factor."""
    charge = 1e-3  # A s
    found = []
    for sid in (0.9, 1.2):
        side = 0.1 * sid
        config = _config(
            spectrum="80kVp-2.5Al",
            sid=sid,
            sod=0.75,
            exposure={"charge": 1.0},
            collimator={"opening": (side, side)},
        )
        control = ExposureControl(config, _projection(config))
        control.start(1.0)
        found.append(control.exposure(1.0))
    output = load_spectrum("80kVp-2.5Al").output
    dap = [e.dap / (charge * output * 0.1**2) - 1 for e in found]
    kerma = found[0].reference_kerma / (charge * output / 0.6**2) - 1
    grid = _config(grid={"primary": 0.7, "scatter": 0.12}).grid
    assert grid is not None
    factor = bucky_factor(grid, 4.0) / (5.0 / (0.7 + 0.12 * 4.0)) - 1
    off = max(abs(x) for x in (*dap, kerma, factor))
    return Check(
        "reference kerma falls with the square of the distance; the dose-area product does not; "
        "a grid asks for its Bucky factor",
        "output at 1 m / 0.60^2; output x area at 1 m; (1 + SPR)/(Tp + Ts SPR)",
        "1e-9",
        f"{off:.0e}; output {output * MICROGRAY_PER_MAS:.1f} uGy/mAs",
        off < 1e-9,
        "80 kVp, 2.5 Al; 0.9 and 1.2 m to the detector",
        "what the heel takes off the edge of the field is neglected in the product",
    )


def _lines(axes: Any, x: Array, curves: dict[str, Array], labels: tuple[str, str]) -> None:
    for name, y in curves.items():
        axes.plot(x, y, label=name, linewidth=1)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend(fontsize="small")


def _draw_mass_attenuation(axes: Any) -> None:
    energy = np.linspace(20.0, 120.0, 1001)
    curves = {n: attenuation(n, energy) / density(n) * 10 for n in MASS_ATTENUATION}
    _lines(axes, energy, curves, ("keV", "mu/rho, cm2/g"))
    axes.set_prop_cycle(None)
    for values in MASS_ATTENUATION.values():
        axes.plot((40, 60, 80), values, "o", markersize=3)
    axes.set_yscale("log")


def _draw_spectra(axes: Any) -> None:
    for name, *_ in SPECTRA[:5]:
        s = load_spectrum(name)
        axes.step(s.energy, s.photons * s.fluence * 1e-9, where="mid", label=name, linewidth=1)
    axes.set(xlabel="keV", ylabel="photons per mm2, mAs and keV at 1 m")
    axes.legend(fontsize="small")


def _draw_contrast(axes: Any) -> None:
    peaks, curves = range(45, 126, 5), {}
    for device, thickness in (("ndfeb-silicone:0.2", 1e-3), ("steel", 0.35e-3), ("bone", 5e-3)):
        pairs = [contrast(device, thickness, f"{p}kVp-2.5Al", 0.1) for p in peaks]
        curves[f"{device}, {thickness * 1e3:g} mm"] = np.array(
            [(a - b) / (a + b) for a, b in pairs]
        )
    _lines(axes, np.array(peaks), curves, ("kVp, 2.5 Al, 10 cm", "primary contrast"))
