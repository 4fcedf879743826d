"""Action spaces: what an agent commands, scaled to [-1, 1].

`field`, (6,), world frame, evaluated with the rig's calibrated field model at the device as
estimated on the path:

| entry | meaning | full scale |
|---|---|---|
| 0-2 | field vector: direction and magnitude | 15 mT |
| 3-5 | pull: gradient of the field along the device's moment | 15 uN |

`currents`, (n_coils,): each coil's current, full scale its limit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from mmdtwin.actuation import CoilCurrents
from mmdtwin.control.allocation import allocate
from mmdtwin.control.estimator import Estimate
from mmdtwin.control.follower import Decision, command
from mmdtwin.control.path import Path
from mmdtwin.control.session import COMMAND_FRAMES
from mmdtwin.geometry import Array, unit
from mmdtwin.rig import RigDescription

FULL_FIELD = 15e-3  # T
FULL_FORCE = 15e-6  # N


class Action(ABC):
    """Turns an agent's action into a decision on a rig."""

    space: Space[NDArray[np.float32]]

    def __init__(self, description: RigDescription) -> None:
        self._description = description
        self._field = description.placed_field
        self._valid_for = COMMAND_FRAMES / description.frame_rate

    def decide(self, action: NDArray[np.float32], estimate: Estimate, path: Path) -> Decision:
        """Return the currents for an action, and the field and force that they make."""
        at = path.at(float(np.clip(estimate.s, 0.0, path.length)))
        currents = self._currents(np.asarray(action, float), at)
        field, gradient = self._field.field_and_gradient(at[None], currents)
        moment = self._description.device.moment * unit(field[0])
        return Decision(currents, field[0], gradient[0].T @ moment, at)

    def command(self, decision: Decision, seq: int) -> CoilCurrents:
        """Wrap a decision for the rig."""
        return command(decision, seq, self._valid_for)

    @abstractmethod
    def _currents(self, action: Array, at: Array) -> Array:
        """Currents (n,) A for an action at a point (3,) m in the world."""


class FieldAction(Action):
    """Field vector and pull."""

    def __init__(self, description: RigDescription) -> None:
        super().__init__(description)
        self.space = Box(-1.0, 1.0, (6,), np.float32)

    def _currents(self, action: Array, at: Array) -> Array:
        field = FULL_FIELD * action[:3]
        return allocate(
            self._field,
            at,
            field=field,
            force=FULL_FORCE * action[3:],
            moment=self._description.device.moment * unit(field),
            limits=self._description.coil_limits,
        ).inputs


class CurrentsAction(Action):
    """Coil currents."""

    def __init__(self, description: RigDescription) -> None:
        super().__init__(description)
        self.space = Box(-1.0, 1.0, description.coil_limits.max_current.shape, np.float32)

    def _currents(self, action: Array, at: Array) -> Array:
        del at
        return action * self._description.coil_limits.max_current


ACTIONS: dict[str, type[Action]] = {"field": FieldAction, "currents": CurrentsAction}
