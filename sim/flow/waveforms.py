"""The course of the inlet over one beat, as Fourier harmonics relative to its mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from mmdtwin.config.flow import PulseConfig

Complex = NDArray[np.complex128]

HARMONICS = 10  # kept of a table or a waveform: 12 Hz at 72 beats a minute
SAMPLES = 256  # of a waveform over one beat

# Flow over its mean at shares of a beat that starts with the R wave. Assumed: shapes with the
# features that textbooks describe (W. W. Nichols et al., McDonald's Blood Flow in Arteries):
# "arterial" as in the common carotid, an early systolic peak, a dicrotic notch and forward flow
# throughout; "triphasic" as in the resting femoral artery, with reversal in early diastole.
WAVEFORMS = {
    "arterial": (
        (0.0, 0.08, 0.16, 0.22, 0.30, 0.38, 0.43, 0.50, 0.60, 0.75, 0.90),
        (0.62, 0.75, 2.75, 2.35, 1.75, 1.05, 0.55, 0.90, 0.80, 0.70, 0.64),
    ),
    "triphasic": (
        (0.0, 0.08, 0.18, 0.26, 0.34, 0.42, 0.50, 0.58, 0.66, 0.80, 0.92),
        (0.15, 0.60, 6.50, 4.60, 1.00, -1.60, -1.10, 0.20, 0.70, 0.25, 0.12),
    ),
}


def harmonics(pulse: PulseConfig | None) -> Complex:
    """Return c (k + 1,) of q(t)/mean = Re sum c_k exp(2 pi i k rate t), with c_0 = 1."""
    if pulse is None:
        return np.ones(1, complex)
    if pulse.waveform == "sine":
        return np.array([1.0, -1.0j])
    if pulse.waveform is not None:
        share, values = WAVEFORMS[pulse.waveform]
        spline = CubicSpline([*share, 1.0], [*values, values[0]], bc_type="periodic")
        return of_table(spline(np.arange(SAMPLES) / SAMPLES))
    if pulse.table is not None:
        return of_table(np.array(pulse.table))
    assert pulse.harmonics is not None
    return np.array([1.0, *(a * np.exp(1j * p) for a, p in pulse.harmonics)])


def of_table(values: NDArray[np.float64]) -> Complex:
    """Return the leading harmonics of even samples of one beat, divided by their mean."""
    spectrum = np.fft.rfft(values) / len(values)
    kept = 2.0 * spectrum[: min(HARMONICS, (len(values) - 1) // 2) + 1]
    kept[0] = spectrum[0]
    return kept / spectrum[0].real
