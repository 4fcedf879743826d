"""A living patient: how breathing and heartbeat move the vessel, and the ECG that goes with it."""

from __future__ import annotations

from bisect import bisect_right
from math import cos, exp, pi, sin

import numpy as np

from mmdtwin.config.patient import PatientConfig, RhythmConfig
from mmdtwin.geometry import Array, transform, unit
from mmdtwin.seeding import stream

# P, Q, R, S, T: phase in a beat, height in V and width in phase. Angles, ratios of heights (a b^2)
# and widths of P. E. McSharry et al., IEEE Trans Biomed Eng 50 (2003) 289, table I; R is 1 mV.
ECG_WAVES = (
    (-1 / 6, 0.25e-3, 0.25 / (2 * pi)),
    (-1 / 24, -0.167e-3, 0.1 / (2 * pi)),
    (0.0, 1.0e-3, 0.1 / (2 * pi)),
    (1 / 24, -0.25e-3, 0.1 / (2 * pi)),
    (1 / 4, 0.4e-3, 0.4 / (2 * pi)),
)


class Rhythm:
    """Cycles that differ from one to the next in period and amplitude.

    They are drawn one after the other, so that what was asked before does not matter. Time 0 lies
    anywhere in the first one.
    """

    def __init__(self, config: RhythmConfig, rng: np.random.Generator) -> None:
        self.config = config
        self._rng = rng
        self._amplitudes: list[float] = []
        self._starts = [0.0]
        self._draw()
        first = rng.uniform() * self._starts[1]
        self._starts = [s - first for s in self._starts]

    def _draw(self) -> None:
        c = self.config
        spread = np.sqrt(np.log1p(np.square([c.period_variation, c.amplitude_variation])))
        period, amplitude = np.exp(spread * self._rng.normal(size=2) - spread**2 / 2)
        self._starts.append(self._starts[-1] + float(period) / c.rate)
        self._amplitudes.append(c.amplitude * float(amplitude))

    def cycle(self, t: float) -> tuple[int, float]:
        """Return the number of the cycle at time t >= 0 s, and the phase in it, 0-1."""
        while self._starts[-1] <= t:
            self._draw()
        k = bisect_right(self._starts, t) - 1
        return k, (t - self._starts[k]) / (self._starts[k + 1] - self._starts[k])

    def excursion(self, t: float) -> tuple[float, float]:
        """Distance from rest along the direction, m, and its rate, m/s."""
        k, phase = self.cycle(t)
        period = self._starts[k + 1] - self._starts[k]
        share, slope = self._shape(phase)
        return self._amplitudes[k] * share, self._amplitudes[k] * slope / period

    def _shape(self, phase: float) -> tuple[float, float]:
        """Excursion over amplitude, and its derivative in phase."""
        if phase <= 0.0:
            return 0.0, 0.0
        q, n = self.config.skew, 2.0 * self.config.exponent
        angle = pi * phase**q
        rise = max(sin(angle), 0.0)
        slope = n * rise ** (n - 1.0) * cos(angle) * angle * q / phase
        return rise**n, slope


class Motion:
    """Rigid motion of the vessel against the laboratory. The same seed gives the same motion.

    Breathing and heartbeat translate the vessel; they do not turn or deform it.

    Parameters
    ----------
    config : PatientConfig
        Who lies there.
    seed : int
        Of the streams "breathing" and "heartbeat".

    Attributes
    ----------
    heart_rate : float or None
        Mean rate, Hz; None without a heartbeat.
    moving : bool
        False of a patient that neither breathes nor has a pulse.
    """

    def __init__(self, config: PatientConfig, seed: int) -> None:
        self._breathing = _rhythm(config.breathing, seed, "breathing")
        self._heartbeat = _rhythm(config.heartbeat, seed, "heartbeat")
        self._rhythms = [r for r in (self._breathing, self._heartbeat) if r]
        self._directions = unit([r.config.direction for r in self._rhythms] or np.empty((0, 3)))
        self.heart_rate = config.heartbeat.rate if config.heartbeat else None
        self.moving = bool(self._rhythms)

    def displacement(self, t: float) -> Array:
        """Displacement of the vessel from rest at time t >= 0 s, (3,) m in the vessel's frame."""
        return np.array([r.excursion(t)[0] for r in self._rhythms]) @ self._directions

    def velocity(self, t: float) -> Array:
        """Velocity of the vessel, (3,) m/s in the vessel's frame."""
        return np.array([r.excursion(t)[1] for r in self._rhythms]) @ self._directions

    def transform(self, t: float) -> Array:
        """T_rest_vessel (4, 4): from the vessel's frame at time t to where it is at rest."""
        return transform(translation=self.displacement(t))

    def respiratory_phase(self, t: float) -> float | None:
        """Fraction of a breath since the end of exhalation; None without breathing."""
        return self._breathing.cycle(t)[1] if self._breathing else None

    def ecg_phase(self, t: float) -> float | None:
        """Fraction of a beat since the R wave; None without a heartbeat."""
        return self._heartbeat.cycle(t)[1] if self._heartbeat else None

    def ecg(self, t: float) -> float:
        """Synthetic ECG, V: five Gaussians a beat; 0 without a heartbeat."""
        if self._heartbeat is None:
            return 0.0
        phase = self._heartbeat.cycle(t)[1]
        total = 0.0
        for centre, height, width in ECG_WAVES:
            away = (phase - centre + 0.5) % 1.0 - 0.5
            total += height * exp(-0.5 * (away / width) ** 2)
        return total

    def cardiac_time(self, t: float) -> float:
        """Time in s on a clock on which every beat lasts as long, for a pulse in phase with it."""
        if self._heartbeat is None:
            return t
        beats, phase = self._heartbeat.cycle(t)
        return (beats + phase) / self._heartbeat.config.rate


def _rhythm(config: RhythmConfig | None, seed: int, purpose: str) -> Rhythm | None:
    return Rhythm(config, stream(seed, purpose)) if config else None
