"""Baseline controllers: path following in a travelling magnetic well, doing nothing, random."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from mmdtwin.actuation import CoilCurrents
from mmdtwin.control.allocation import allocate
from mmdtwin.control.estimator import Estimate
from mmdtwin.control.path import DOWN, Path
from mmdtwin.control.well import WellMaker
from mmdtwin.geometry import Array
from mmdtwin.rig import RigDescription

OVERSPEED = 2.5e-3  # m/s beyond the reference
BLEED = 0.3  # of the steady force, each frame
HOLD = 0.25e-3  # m from the target within which the well is left where it is
STUCK_OFF = 0.35e-3  # m from the reference
STUCK_SPEED = 0.8e-3  # m/s
PACE_MEMORY = 0.5  # s
MIDSTREAM = 1.5  # of the mean speed of the fluid, where the device lies; 2 on the axis
SHUN_BEFORE = 2.5e-3  # m before the fork, and
SHUN_BEYOND = 5.0e-3  # m beyond it: where a wrong turn taken before is shunned
TRUST = 0.3  # s for which forces outlast the last sight of the device
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
    patience: float = 2.0  # s until it is shaken to be seen,
    shake: float = 0.2e-6  # N/s more all the time
    blind_lift: float = 0.4  # and how much of the weight is carried: it is not to shoot off
    field: float = 15e-3  # T
    stiffness: float = 1.0e-3  # N/m asked of the well
    feedback: float = 0.2e-3  # N/m along the path where no well can be made
    integral: float = 0.7e-3  # N/(m s), against friction, slopes and flow
    max_along: float = 3.0e-6  # N, beside weight and flow; up to twice that where it is stuck
    ahead: float = 1.8e-3  # m, how far before the device the field looks: its tip turns first
    lateral: float = 0.8e-3  # N/m across the path in the image
    lateral_integral: float = 1.5e-3  # N/(m s), until the device slides off what holds it
    max_lateral: float = 4e-6  # N
    lift: float = 0.3  # fraction of the submerged weight that is carried
    hop: float = 0.5  # 1/s, how fast more is carried while the device is held up by something
    max_lift: float = 0.45
    retreat: float = 4.0e-3  # m before the fork, after a wrong turn
    shun: float = 1.0e-6  # N across the vessel at the fork, more at each wrong turn
    wiggle: float = 2.0  # 1/s, how fast the field begins to swing then
    swing: float = 1.8e-3  # m, how far before and behind the device the swinging field looks
    swing_rate: float = 1.2  # Hz
    slack: float = 0.3  # of the field is taken off then


class PathFollower(Controller):
    """Leads the device along the path in a travelling well of the magnetic energy.

    The field points along the path and holds the sheet in line. Along the path the force falls
    linearly with place, F(s) = k (s_well - s): the field itself pulls the device to the well,
    wherever it is, without waiting for an image. Images only move the well. Were the feedback
    gain higher than the well's stiffness, the delay of 0.15 s would make the loop swing; a gain
    equal to the stiffness is one field fixed in space, whatever the delay.

    The walls make the well possible: Earnshaw's theorem forbids one in three directions, not in
    one. A third of the weight is carried, so that the sheet slides on the floor with little
    friction and the curved floor still centres it. What the rest of the weight and the flow pull
    along the path and down a sloping floor is taken off beforehand.

    1 uN moves the sheet at some 12 mm/s, so little may be left to chance: a device that is stuck
    is freed by a weaker field that swings, not by force; one that is not seen is let be, then
    shaken; one that took a wrong turn is led back to before the fork.
    """

    def __init__(
        self, description: RigDescription, path: Path, gains: FollowerGains | None = None
    ) -> None:
        super().__init__(description, path)
        self.gains = gains or FollowerGains()
        self._reference = 0.0
        self._seen = False
        self._unseen = 0.0  # s
        self._steady = 0.0
        self._error = 0.0
        self._aside = np.zeros(3)
        self._lift = self.gains.lift
        self._trust = 1.0  # 1 while tracked
        self._back_to: float | None = None  # s, m, after a wrong turn
        self._shunned: dict[float, Array] = {}
        self._pace = 0.0  # m/s towards the reference, of late
        self._stuck = 0.0  # 0 free, 1 for long
        self._t: float | None = None

    def decide(self, estimate: Estimate) -> Decision:
        """Return the currents that put the well where it is to be."""
        dt = 0.0 if self._t is None else max(estimate.t - self._t, 0.0)
        self._t = estimate.t
        if estimate.tracked:
            self._seen, self._unseen, self._trust = True, 0.0, 1.0
            self._move_well(estimate, dt)
            self._lean(estimate, dt)
            self._carry(estimate, dt)
        else:
            self._search(estimate, dt)
        path = self._path(estimate)
        at = path.at(estimate.s)
        direction, field = self._alignment(estimate)
        rest = self._across(estimate)
        # What stiffness is to be had here decides the force at the device.
        g, rig = self.gains, self.description
        wells = WellMaker(self._field, at, direction, rig.device.moment, hill=DOWN)
        well = wells.make(field, rest, g.stiffness, rig.coil_limits)
        along = self._along(estimate, max(well.stiffness, g.feedback))
        currents = wells.make(field, rest + along, g.stiffness, rig.coil_limits).inputs
        return self._report(currents, at, direction, path.at(self._reference))

    def _search(self, estimate: Estimate, dt: float) -> None:
        """Move a device that is not seen: at rest it can hide in the image."""
        g = self.gains
        self._unseen += dt
        if self._seen:
            self._trust *= float(np.exp(-dt / TRUST))
        else:
            self._reference = min(self._reference + g.speed * dt, g.blind)
            push = self._steady + 0.5 * g.integral * (self._reference - estimate.s) * dt
            self._steady = min(push, g.max_blind)
            self._lift = min(self._lift + g.hop * dt, g.blind_lift)
        longer = self._unseen - g.patience
        if longer > 0:
            # It is held up: shake it, harder and harder.
            self._trust, self._stuck = 1.0, min(longer, 1.0)
            self._reference = estimate.s
            shake = min(g.shake * longer, g.max_along)
            self._steady = shake * float(np.sin(2 * np.pi * g.swing_rate * estimate.t))

    def _move_well(self, estimate: Estimate, dt: float) -> None:
        g, before = self.gains, self._reference
        self._turn_back(estimate)
        if self._back_to is None:
            furthest = min(estimate.s + g.lead, self.path.length)
            wanted = min(self._reference + g.speed * dt, furthest)
            # A device that ran ahead of the well is not pulled back: the fluid stops it at once.
            ahead = min(estimate.s, self.path.length)
            self._reference = max(wanted, min(self._reference, furthest), ahead)
        else:
            wanted = min(self._reference - g.speed * dt, estimate.s)
            self._reference = max(wanted, estimate.s - g.lead, self._back_to)
        led = abs(self._reference - before) / dt if dt > 0 else 0.0
        error = self._reference - estimate.s
        if error * self._error <= 0:
            self._steady = 0.0  # it has come up with the well: what brought it here would fling it
        self._error = error
        if self._reference >= self.path.length and abs(error) < HOLD:
            return  # there: friction holds the device better than the loop would
        self._steady = self._bounded(self._steady + g.integral * error * dt)
        if self._pace > OVERSPEED + led and self._steady * error > 0:
            self._steady *= 1 - BLEED  # it came loose: what freed it would now fling it

    def _turn_back(self, estimate: Estimate) -> None:
        """After a wrong turn, go back to before the fork, and keep to the other side then."""
        turn, g = estimate.wrong_turn, self.gains
        if turn is not None:
            if self._back_to is None:
                beyond = turn.fork + SHUN_BEYOND
                away = _level(self.path.at(beyond) - turn.path.at(beyond))
                push = g.shun * away / max(float(np.linalg.norm(away)), 1e-9)
                self._shunned[turn.fork] = self._shunned.get(turn.fork, np.zeros(3)) + push
                self._steady = 0.0
            self._back_to = turn.fork - g.retreat
        elif self._back_to is not None and estimate.s < self._back_to + STUCK_OFF:
            self._back_to = None

    def _shun(self, s: float) -> Array:
        """Force (3,) towards the right side of the forks where it went wrong before."""
        return sum(
            (
                push
                for fork, push in self._shunned.items()
                if fork - SHUN_BEFORE < s < fork + SHUN_BEYOND
            ),
            start=np.zeros(3),
        )

    def _path(self, estimate: Estimate) -> Path:
        return self.path if estimate.wrong_turn is None else estimate.wrong_turn.path

    def _carry(self, estimate: Estimate, dt: float) -> None:
        """Carry more of the weight while the device is stuck: friction falls and edges are passed.

        More force would free it too, and then fling it.
        """
        g = self.gains
        off = abs(self._reference - estimate.s) > STUCK_OFF
        towards = estimate.speed * np.sign(self._reference - estimate.s)
        self._pace += (1 - np.exp(-dt / PACE_MEMORY)) * (towards - self._pace)
        if off and self._pace < STUCK_SPEED:
            self._stuck = min(self._stuck + g.wiggle * dt, 1.0)
            self._lift = min(self._lift + g.hop * dt, g.max_lift)
        else:
            self._stuck -= LIFT_DECAY * self._stuck
            self._lift += LIFT_DECAY * (g.lift - self._lift)

    def _alignment(self, estimate: Estimate) -> tuple[Array, float]:
        """Direction (3,) and size, T, of the field.

        A device that is stuck is often wedged by the field itself, which turns it into the wall:
        a weaker field that swings about the vessel's direction lets it go.
        """
        g = self.gains
        swing = g.swing * np.sin(2 * np.pi * g.swing_rate * estimate.t)
        ahead = (1 - self._stuck) * g.ahead + self._stuck * swing
        direction = self._path(estimate).chord(estimate.s + ahead, self.description.device.length)
        return direction, g.field * (1 - g.slack * self._stuck)

    def _along(self, estimate: Estimate, stiffness: float) -> Array:
        wanted = self._trust * (stiffness * (self._reference - estimate.s) + self._steady)
        size = self._bounded(wanted)
        tangent, device = self._path(estimate).tangent(estimate.s), self.description.device
        # Lift carries one part of the weight; neither the rest of it nor the flow must pull along.
        rise = float(-DOWN @ self._path(estimate).chord(estimate.s, device.length))
        slope = (1 - self._lift) * device.weight * rise
        flow = device.drag * MIDSTREAM * self._path(estimate).flow_at(estimate.s)
        return (size + slope - flow) * tangent

    def _bounded(self, along: float) -> float:
        most = self.gains.max_along * (1 + self._stuck)
        return float(np.clip(along, -most, most))

    def _lean(self, estimate: Estimate, dt: float) -> None:
        """Build up force across the path against a lasting offset, along with the path's turns."""
        g, tangent = self.gains, self._path(estimate).tangent(estimate.s)
        offset = _level(estimate.lateral)
        aside = self._aside - g.lateral_integral * dt * offset
        self._aside = _shortened(aside - tangent * (aside @ tangent), g.max_lateral)
        if float(aside @ offset) > 0:
            self._aside *= 1 - BLEED  # it has crossed the path: what pushed it there is too much

    def _across(self, estimate: Estimate) -> Array:
        g = self.gains
        weight = self.description.device.weight
        push = self._trust * _shortened(
            self._aside - g.lateral * _level(estimate.lateral), g.max_lateral
        )
        bank = (1 - self._lift) * weight * self._path(estimate).pull_at(estimate.s)
        return push + self._shun(estimate.s) - bank - DOWN * self._lift * weight


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
                limits=self.description.coil_limits,
            ).inputs
        return self._report(self._currents, at, self._direction, at)


def command(decision: Decision, seq: int, valid_for: float) -> CoilCurrents:
    """Wrap a decision for a rig."""
    return CoilCurrents(decision.currents, seq=seq, valid_for=valid_for)
