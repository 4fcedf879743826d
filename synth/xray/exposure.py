"""How much is exposed: the tube's charge, automatic control of it, and the dose counters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmdtwin.config.imager import GridConfig, ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.frame import Projection
from mmdtwin.synth.xray.spectrum import REFERENCE_DISTANCE, load_spectrum

# m from the isocentre towards the source: patient entrance reference point, IEC 60601-2-54. Of a
# gantry too small for it, half way to the source.
ENTRANCE_OFFSET = 0.15
MILLI = 1e-3  # mA -> A, mAs -> A s
OCTAGON = 2.0 * (math.sqrt(2.0) - 1.0)  # area of a regular octagon over the square around it


@dataclass(frozen=True)
class Exposure:
    """Charge and doses of one frame.

    Parameters
    ----------
    charge : float
        Of the tube, A s.
    detector_dose : float
        Air kerma that reaches the detector, mean over the measuring field, Gy.
    reference_kerma : float
        Air kerma in free air at the patient entrance reference point, Gy.
    dap : float
        Dose-area product of the collimated beam, Gy m2.
    """

    charge: float
    detector_dose: float
    reference_kerma: float
    dap: float


class ExposureControl:
    """Sets the tube's charge frame by frame.

    By hand (``exposure.charge``) it stays. Automatic control aims at ``exposure.detector_dose`` in
    the measuring field; it makes up an error exponentially in ``exposure.control_time``. Neither
    passes what ``exposure.max_current`` gives in one pulse.

    Parameters
    ----------
    config : ImagerConfig
        Spectrum, exposure, collimator, distances.
    projection : Projection
        Pitch and shape of the image: the field where there is no collimator.

    Attributes
    ----------
    charge : float
        Of the coming frame, A s; 0 before `start`.
    max_charge : float
        What the tube gives in one pulse, A s; infinite for a pulse of no length.
    output : float
        Air kerma per charge at 1 m on the central ray in free air, Gy/(A s).

    Raises
    ------
    UserError
        If a charge by hand passes the tube's limit, or the spectrum is unknown.
    """

    def __init__(self, config: ImagerConfig, projection: Projection) -> None:
        exposure = config.exposure
        self.output = load_spectrum(config.spectrum).output
        # A pulse of no length is an ideal flash, which no current limits.
        self.max_charge = exposure.max_current * MILLI * config.pulse_width or math.inf
        self._by_hand = None if exposure.charge is None else exposure.charge * MILLI
        if self._by_hand is not None and self._by_hand > self.max_charge:
            raise UserError(
                f"exposure.charge: {exposure.charge:g} mAs is more than a pulse gives: max_current "
                f"{exposure.max_current:g} mA x pulse_width {config.pulse_width:g} s = "
                f"{self.max_charge / MILLI:g} mAs"
            )
        self._aim = exposure.detector_dose
        self._time = exposure.control_time
        entrance = config.sod - min(ENTRANCE_OFFSET, config.sod / 2)
        self._entrance = self.output * _inverse_square(entrance)
        self._area_kerma = (
            self.output * field_area(config, projection) * _inverse_square(config.sid)
        )
        self.charge = 0.0

    def start(self, kerma_per_charge: float) -> None:
        """Settle at once.

        Parameters
        ----------
        kerma_per_charge : float
            Air kerma at the detector, behind the patient and the grid, with scatter, mean over
            the measuring field, per charge of the tube: Gy/(A s).
        """
        self.charge = self._settled(kerma_per_charge)

    def measured(self, kerma_per_charge: float, dt: float) -> None:
        """Set the next frame's charge from what the last one measured, `dt` s before it."""
        wanted = self._settled(kerma_per_charge)
        self.charge += (wanted - self.charge) * -math.expm1(-dt / self._time)

    def exposure(self, kerma_per_charge: float) -> Exposure:
        """Return what a frame with the present charge gives; arguments as for `start`."""
        return Exposure(
            charge=self.charge,
            detector_dose=self.charge * kerma_per_charge,
            reference_kerma=self.charge * self._entrance,
            dap=self.charge * self._area_kerma,
        )

    def _settled(self, kerma_per_charge: float) -> float:
        if self._by_hand is not None:
            return self._by_hand
        assert self._aim is not None  # ExposureConfig holds one of the two
        wanted = self._aim / kerma_per_charge if kerma_per_charge > 0.0 else math.inf
        charge = min(wanted, self.max_charge)
        if math.isinf(charge):
            raise UserError(
                "exposure: nothing reaches the measuring field, and no pulse_width "
                "limits the charge"
            )
        return charge


def field_area(config: ImagerConfig, projection: Projection) -> float:
    """Return the area of the beam in the detector's plane, m2: of the collimator's opening, or of
    the image (its round part with an intensifier)."""
    if config.collimator is None:
        height, width = (n * projection.pitch for n in projection.shape)
        return height * width * (math.pi / 4.0 if config.detector.intensifier else 1.0)
    width, height = config.collimator.opening
    shares = {"rectangular": 1.0, "round": math.pi / 4.0, "octagonal": OCTAGON}
    return width * height * shares[config.collimator.shape]


def bucky_factor(grid: GridConfig, scatter_to_primary: float) -> float:
    """Return how many times the charge a grid needs for the same dose at the detector.

    Parameters
    ----------
    grid : GridConfig
        Shares of primary and scattered radiation that pass.
    scatter_to_primary : float
        In front of the grid.
    """
    passed = grid.primary + grid.scatter * scatter_to_primary
    return (1.0 + scatter_to_primary) / passed


def _inverse_square(distance: float) -> float:
    return (REFERENCE_DISTANCE / distance) ** 2
