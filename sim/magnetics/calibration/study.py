"""How well a calibration finds a hidden coil system: perturbed coils, noisy readings, the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from mmdtwin.config.coils import CoilsConfig, SaturationConfig
from mmdtwin.geometry import Array
from mmdtwin.saturation import Law
from mmdtwin.seeding import stream
from mmdtwin.sim.magnetics.calibration.calibrate import Fitted, calibrate
from mmdtwin.sim.magnetics.calibration.report import calibration_of, rms
from mmdtwin.sim.magnetics.calibration.samples import Mask, Samples
from mmdtwin.sim.magnetics.calibration.terms import drawn_field, moved_coil

REACH = 0.9  # of the workspace, in which samples and tests lie
TESTS = 2000


@dataclass(frozen=True)
class Hidden:
    """How a hidden system differs from its drawing, and how it is measured; all assumed.

    Parameters
    ----------
    shift, tilt, gain : float
        Standard deviations: m (each axis), rad (each axis), relative.
    knee : float
        Of the cores, over the current limit; varies by a fifth from coil to coil.
    law : str
        Of the cores.
    samples : int
    noise : float
        T, of each component of a reading.
    outliers : float
        Share of the readings.
    outlier : float
        T, standard deviation of each component of what is added to them.
    offset, turn : float
        Misplacement of the sensor: m and rad.
    """

    shift: float = 1.0e-3
    tilt: float = np.deg2rad(1.0)
    gain: float = 0.05
    knee: float = 1.0
    law: Law = "tanh"
    samples: int = 500
    noise: float = 0.2e-3
    outliers: float = 0.01
    outlier: float = 20e-3
    offset: float = 1.0e-3
    turn: float = np.deg2rad(1.0)


@dataclass(frozen=True)
class Outcome:
    """Errors against the noise-free truth at fresh points and currents: rms of the vector, T."""

    sensor_frame: float  # of the readings, where the sensor stood, in its axes
    true_frame: float  # of the field, in the coils' own frame
    nominal: float  # of the coils as drawn, in the coils' own frame
    cross_validated: float  # as the calibration itself reports, against noisy readings
    outliers_found: int  # of `outliers_made`
    outliers_made: int
    false_outliers: int


class HiddenSystem:
    """A perturbed coil system that can be measured.

    Parameters
    ----------
    config : CoilsConfig
        The drawing.
    hidden : Hidden
        Sizes of the perturbation.
    seed : int
        Of everything random.
    """

    def __init__(self, config: CoilsConfig, hidden: Hidden, seed: int) -> None:
        self.drawing, self.hidden, self.seed = config, hidden, seed
        rng = stream(seed, "hidden")
        coils = []
        for coil, limit in zip(config.coils, config.limits.max_current, strict=True):
            shift, tilt = rng.normal(0, hidden.shift, 3), rng.normal(0, hidden.tilt, 3)
            moved = moved_coil(coil, np.array([*shift, *tilt, 0.0]))
            knee = float(hidden.knee * limit * rng.uniform(0.8, 1.2))
            gain = coil.core_gain * (1 + rng.normal(0, hidden.gain))
            law = SaturationConfig(law=hidden.law, knee=knee)
            update = {"core_gain": gain, "saturation": law}
            coils.append(moved.model_copy(update=update if coil.core_gain > 1 else {}))
        self.config = config.model_copy(update={"coils": tuple(coils)})
        self.offset = hidden.offset * _direction(rng)
        self.rotation = Rotation.from_rotvec(hidden.turn * _direction(rng)).as_matrix()

    def draw(self, n: int, purpose: str) -> tuple[Array, Array]:
        """Return positions (n, 3) m and currents (n, c) A, uniform in ball and limits."""
        rng = stream(self.seed, purpose)
        radius = REACH * self.config.workspace_radius * rng.uniform(size=(n, 1)) ** (1 / 3)
        directions = rng.normal(size=(n, 3))
        positions = radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        limits = self.config.limits.max_current
        return positions, rng.uniform(-limits, limits, (n, len(limits)))

    def field(self, positions: Array, currents: Array) -> Array:
        """Return the true field (n, 3) T in the coils' frame."""
        return drawn_field(self.config, positions, currents)

    def readings(self, positions: Array, currents: Array) -> Array:
        """Return what a sensor without noise reads where it is said to be at `positions`."""
        return self.field(positions + self.offset, currents) @ self.rotation.T

    def measure(self) -> tuple[Samples, Mask]:
        """Return noisy samples, and which are outliers (n,) bool."""
        h, rng = self.hidden, stream(self.seed, "noise")
        positions, currents = self.draw(h.samples, "samples")
        fields = self.readings(positions, currents) + rng.normal(0, h.noise, (h.samples, 3))
        chosen = np.zeros(h.samples, bool)
        chosen[rng.permutation(h.samples)[: round(h.outliers * h.samples)]] = True
        fields[chosen] += rng.normal(0, h.outlier, (int(chosen.sum()), 3))
        return Samples(positions, currents, fields), chosen


def study(
    config: CoilsConfig, hidden: Hidden | None = None, seed: int = 0, drawn: bool = True
) -> tuple[Outcome, Fitted]:
    """Calibrate a hidden system and compare with the truth.

    Parameters
    ----------
    config : CoilsConfig
        The drawing that hidden system and calibration start from.
    hidden : Hidden, optional
        Sizes of the perturbation.
    seed : int
        Of everything random.
    drawn : bool
        False keeps the drawing from the calibration.
    """
    system = HiddenSystem(config, hidden or Hidden(), seed)
    samples, chosen = system.measure()
    fitted = calibrate(samples, config if drawn else None)
    calibration = calibration_of(fitted)
    positions, currents = system.draw(TESTS, "test")
    inside = np.linalg.norm(positions, axis=1) <= calibration.model.workspace_radius
    positions, currents = positions[inside], currents[inside]
    truth = system.field(positions, currents)
    model = calibration.model
    fields = np.einsum(
        "nc,nci->ni", model.saturation.effective(currents), model.unit_field(positions)
    )
    nominal = drawn_field(config, positions, currents)
    found = fitted.outliers
    outcome = Outcome(
        sensor_frame=rms(
            calibration.readings(positions, currents) - system.readings(positions, currents)
        ),
        true_frame=rms(fields - truth),
        nominal=rms(nominal - truth),
        cross_validated=rms(fitted.held_out[~found]),
        outliers_found=int((found & chosen).sum()),
        outliers_made=int(chosen.sum()),
        false_outliers=int((found & ~chosen).sum()),
    )
    return outcome, fitted


def _direction(rng: np.random.Generator) -> Array:
    vector = rng.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))
