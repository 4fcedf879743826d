"""A fluoroscope of the twin: its pulses on the twin's clock, and the pedal."""

from __future__ import annotations

import math
from dataclasses import replace

from mmdtwin.frame import Frame
from mmdtwin.geometry import Array
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.world import World
from mmdtwin.synth.xray import Imager

EPSILON = 1e-9  # s; event times closer than this are one


class Fluoroscope:
    """An imager that looks at the world in pulses.

    Pulse k is centred on `offset` + k / frame_rate: that is its frame's `t_exposure`. The world is
    seen at the centres of `pulse_samples` equal parts of the pulse, and the frame is made of all of
    them when the last has been seen. What lies before time 0 is seen as it is at 0. A frame is
    delivered `latency` after `t_exposure`, but never before its pulse has ended.

    Parameters
    ----------
    source : str
        Name that the frames carry.
    imager : Imager
        What makes the frames.
    T_world_imager : (4, 4) array
        True placement of its gantry.
    offset : float
        s from the clock's 0 to the middle of the first pulse.

    Attributes
    ----------
    exposed : int
        Number of frames made, which is the `seq` of the next.
    """

    def __init__(
        self, source: str, imager: Imager, T_world_imager: Array, offset: float = 0.0
    ) -> None:
        self.source = source
        self.imager = imager
        self.T_world_imager = T_world_imager
        self.exposed = 0
        self._offset = offset
        self._on = True
        self._begin(0)

    @property
    def next_event(self) -> float:
        """Time of the next moment of a pulse, s; infinite while the beam is off."""
        return self._events[0] if self._on or self._scenes else math.inf

    @property
    def middle(self) -> float:
        """Time of the middle of the pulse that is on or comes next, s."""
        return self._offset + self._pulse / self.imager.config.frame_rate

    @property
    def delay(self) -> float:
        """Time from the middle of a pulse to the delivery of its frame, s."""
        return max(self.imager.config.latency, self.imager.config.pulse_width / 2)

    def switch(self, on: bool, now: float) -> None:
        """Press or release the pedal: a pulse that has begun is finished, none begins after."""
        if on and not self._on and not self._scenes:
            pulse = math.ceil((now - self._offset) * self.imager.config.frame_rate - EPSILON)
            self._begin(max(pulse, self._pulse))
            if self._events[0] < now - EPSILON:
                self._begin(self._pulse + 1)
        self._on = on

    def attend(self, world: World) -> Frame | None:
        """Pass the present event; see the world if it is due. Return the frame of a pulse's end."""
        due = self._events.pop(0)
        if self._looks and self._looks[0] <= due + EPSILON:
            self._looks.pop(0)
            self._scenes.append(world.scene())
        if self._events:
            return None
        frame = self.imager.expose(self._scenes, seq=self.exposed)
        t = self.middle
        self.exposed += 1
        self._begin(self._pulse + 1)
        return replace(frame, source=self.source, t_exposure=t, t_received=t + self.delay)

    def _begin(self, pulse: int) -> None:
        """Set the moments of a pulse: those at which the world is seen, and the middle."""
        config = self.imager.config
        self._pulse = pulse
        self._scenes: list[Scene] = []
        n = config.pulse_samples
        parts = [((j + 0.5) / n - 0.5) * config.pulse_width for j in range(n)]
        self._looks = [max(self.middle + part, 0.0) for part in parts]
        middle = [] if n % 2 else [self.middle]  # one of the looks if their number is odd
        self._events = sorted([*self._looks, *middle])
