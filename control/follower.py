"""Baseline controllers: path following in a travelling magnetic well, doing nothing, random."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from mmdtwin.actuation import CoilCurrents
from mmdtwin.control.allocation import Allocation, Stiffness, allocate
from mmdtwin.control.estimator import Estimate
from mmdtwin.control.path import DOWN, Path
from mmdtwin.geometry import Array
from mmdtwin.rig import RigDescription

OVERSPEED = 1.5e-3  # m/s beyond the reference
BLEED = 0.3  # of the steady force, each frame
HOLD = 0.3e-3  # m from the target within which the well is left where it is
STUCK_BEHIND = 0.8e-3  # m behind the reference
STUCK_SPEED = 1.0e-3  # m/s
LIFT_DECAY = 0.35  # of the extra lift, each frame, once it moves


@dataclass(frozen=True, eq=False)
class Decision:
    """What a controller wants: currents to apply, and why, for pictures and logs.

    `field` (3,) T and `force` (3,) N are what the calibrated model says the currents make at the
    device; `reference` (3,) m is where the controller wants the device now.
    """

    currents: Array
    field: Array
    force: Array
    reference: Array


class Controller(ABC):
    """Maps estimates to currents. It sees what a laboratory sees, and nothing else."""

    def __init__(self, description: RigDescription, path: Path) -> None:
        self.description = description
        self.path = path  # in the world as estimated
        self._field = description.placed_field

    @abstractmethod
    def decide(self, estimate: Estimate) -> Decision:
        """Return the decision for the newest estimate."""

    def _report(self, currents: Array, at: Array, direction: Array, reference: Array) -> Decision:
        field, gradient = self._field.field_and_gradient(at[None], currents)
        moment = self.description.device.moment * direction
        return Decision(currents, field[0], gradient[0].T @ moment, reference)


@dataclass(frozen=True)
class FollowerGains:
    """Tuning of the path follower, SI."""

    speed: float = 3.0e-3  # m/s of the reference along the path
    lead: float = 1.5e-3  # m, the reference waits when the device is this far behind
    blind: float = 3.0e-3  # m the reference goes before the device is seen for the first time
    max_blind: float = 0.3e-6  # N of steady force until then,
    blind_lift: float = 0.75  # and how much of the weight is carried: it is not to shoot off
    field: float = 15e-3  # T
    stiffness: float = 1.0e-3  # N/m asked of the well
    feedback: float = 0.2e-3  # N/m along the path where no well can be made
    integral: float = 1.0e-3  # N/(m s), against friction, slopes and flow
    max_along: float = 3e-6  # N, beside what carries the weight along the path
    ahead: float = 1.8e-3  # m, how far before the device the field looks: its tip turns first
    lateral: float = 0.8e-3  # N/m across the path in the image
    lateral_integral: float = 1.5e-3  # N/(m s), until the device slides off what holds it
    max_lateral: float = 4e-6  # N
    lift: float = 0.3  # fraction of the submerged weight that is carried
    hop: float = 0.5  # 1/s, how fast more is carried while the device is held up by something
    max_lift: float = 1.0


class PathFollower(Controller):
    """Leads the device along the path in a travelling well of the magnetic energy.

    The field points along the path and holds the sheet in line. Along the path the force falls
    linearly with place, F(s) = k (s_well - s): the field itself pulls the device to the well,
    wherever it is, without waiting for an image. Images only move the well. Were the feedback
    gain higher than the well's stiffness, the delay of 0.15 s would make the loop swing; a gain
    equal to the stiffness is one field fixed in space, whatever the delay.

    The walls make the well possible: Earnshaw's theorem forbids one in three directions, not in
    one. A third of the weight is carried, so that the sheet slides on the floor with little
    friction and the curved floor still centres it.
    """

    def __init__(
        self, description: RigDescription, path: Path, gains: FollowerGains | None = None
    ) -> None:
        super().__init__(description, path)
        self.gains = gains or FollowerGains()
        self._reference = 0.0
        self._seen = False
        self._steady = 0.0
        self._aside = np.zeros(3)
        self._lift = self.gains.lift
        self._t: float | None = None

    def decide(self, estimate: Estimate) -> Decision:
        """Return the currents that put the well where it is to be."""
        dt = 0.0 if self._t is None else max(estimate.t - self._t, 0.0)
        self._t = estimate.t
        if not self._seen and not estimate.tracked:
            # A device at rest can hide in the image; moving it shows it.
            g = self.gains
            self._reference = min(self._reference + g.speed * dt, g.blind)
            push = self._steady + 0.5 * g.integral * (self._reference - estimate.s) * dt
            self._steady = min(push, g.max_blind)
            self._lift = min(self._lift + g.hop * dt, g.blind_lift)
        self._seen = self._seen or estimate.tracked
        if estimate.tracked:
            self._move_well(estimate, dt)
            self._lean(estimate, dt)
            self._carry(estimate, dt)
        at = self.path.at(estimate.s)
        direction = self.path.chord(estimate.s + self.gains.ahead, self.description.device.length)
        rest = self._across(estimate)
        # What stiffness is to be had here decides the force at the device.
        well = self._allocate(at, direction, rest).stiffness or 0.0
        along = self._along(estimate, max(well, self.gains.feedback))
        currents = self._allocate(at, direction, rest + along).inputs
        return self._report(currents, at, direction, self.path.at(self._reference))

    def _move_well(self, estimate: Estimate, dt: float) -> None:
        g = self.gains
        furthest = min(estimate.s + g.lead, self.path.length)
        wanted = min(self._reference + g.speed * dt, furthest)
        before = self._reference
        self._reference = max(wanted, min(self._reference, furthest))
        led = (self._reference - before) / dt if dt > 0 else 0.0
        error = self._reference - estimate.s
        if self._reference >= self.path.length and abs(error) < HOLD:
            return  # there: friction holds the device better than the loop would
        self._steady = float(
            np.clip(self._steady + g.integral * error * dt, -g.max_along, g.max_along)
        )
        faster = (estimate.speed - led) * np.sign(self._steady)
        if faster > OVERSPEED:
            self._steady *= 1 - BLEED  # it came loose: what freed it would now fling it

    def _carry(self, estimate: Estimate, dt: float) -> None:
        """Carry more of the weight while the device is stuck: friction falls and edges are passed.

        More force would free it too, and then fling it.
        """
        g = self.gains
        behind = self._reference - estimate.s > STUCK_BEHIND
        if behind and abs(estimate.speed) < STUCK_SPEED:
            self._lift = min(self._lift + g.hop * dt, g.max_lift)
        else:
            self._lift += LIFT_DECAY * (g.lift - self._lift)

    def _along(self, estimate: Estimate, stiffness: float) -> Array:
        g = self.gains
        wanted = stiffness * (self._reference - estimate.s) + self._steady
        size = float(np.clip(wanted, -g.max_along, g.max_along))
        tangent = self.path.tangent(estimate.s)
        # The lift carries one part of the weight; the rest of it must not pull along the path.
        slope = (1 - self._lift) * self.description.device.weight * float(-DOWN @ tangent)
        return (size + slope) * tangent

    def _lean(self, estimate: Estimate, dt: float) -> None:
        """Build up force across the path against a lasting offset, along with the path's turns."""
        g, tangent = self.gains, self.path.tangent(estimate.s)
        offset = _level(estimate.lateral)
        aside = self._aside - g.lateral_integral * dt * offset
        self._aside = _shortened(aside - tangent * (aside @ tangent), g.max_lateral)
        if float(aside @ offset) > 0:
            self._aside *= 1 - BLEED  # it has crossed the path: what pushed it there is too much

    def _across(self, estimate: Estimate) -> Array:
        g = self.gains
        push = _shortened(self._aside - g.lateral * _level(estimate.lateral), g.max_lateral)
        return push - DOWN * self._lift * self.description.device.weight

    def _allocate(self, point: Array, direction: Array, force: Array) -> Allocation:
        return allocate(
            self._field,
            point,
            field=self.gains.field * direction,
            force=force,
            moment=self.description.device.moment * direction,
            limits=self.description.limits,
            stiffness=Stiffness(direction, self.gains.stiffness, DOWN),
        )


def _level(offset: Array) -> Array:
    """The horizontal part: floor and weight decide the height."""
    return np.asarray(offset - DOWN * float(offset @ DOWN))


def _shortened(vector: Array, longest: float) -> Array:
    """The vector, or one of the greatest length allowed."""
    length = float(np.linalg.norm(vector))
    return vector * (longest / length) if length > longest else vector


class DoNothing(Controller):
    """Sends zero currents: what gravity and flow do alone."""

    def decide(self, estimate: Estimate) -> Decision:
        """Return zero currents."""
        zero = np.zeros(self._field.n_inputs)
        return Decision(zero, np.zeros(3), np.zeros(3), self.path.at(estimate.s))


class RandomController(Controller):
    """Sends fields and forces drawn anew twice a second, as large as the follower's."""

    HOLD = 0.5  # s

    def __init__(self, description: RigDescription, path: Path, rng: np.random.Generator) -> None:
        super().__init__(description, path)
        self._rng = rng
        self._until = -1.0
        self._currents = np.zeros(self._field.n_inputs)
        self._direction = path.tangent(0.0)

    def decide(self, estimate: Estimate) -> Decision:
        """Return the present draw."""
        gains = FollowerGains()
        at = self.path.at(float(np.clip(estimate.s, self.path.s[0], self.path.s[-1])))
        if estimate.t >= self._until:
            self._until = estimate.t + self.HOLD
            direction, force = self._rng.normal(size=(2, 3))
            self._direction = direction / np.linalg.norm(direction)
            force *= self._rng.uniform(0, gains.max_along) / np.linalg.norm(force)
            self._currents = allocate(
                self._field,
                at,
                field=gains.field * self._direction,
                force=force,
                moment=self.description.device.moment * self._direction,
                limits=self.description.limits,
            ).inputs
        return self._report(self._currents, at, self._direction, at)


def command(decision: Decision, seq: int, valid_for: float) -> CoilCurrents:
    """Wrap a decision for a rig."""
    return CoilCurrents(decision.currents, seq=seq, valid_for=valid_for)
