"""Commands that move a device: what a controller sends and a rig accepts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.geometry import Array

DEFAULT_VALID_FOR = 0.5  # s; the reference rig treats an older arm state as stale


@dataclass(frozen=True, eq=False, kw_only=True)
class Actuation:
    """Base of all commands.

    Parameters
    ----------
    seq : int
        Increases with every command; a rig refuses one that is not newer.
    valid_for : float
        Seconds after which the driver goes to its safe state unless a newer command came.
    """

    seq: int = 0
    valid_for: float = DEFAULT_VALID_FOR

    def __post_init__(self) -> None:
        # A command that was gated must not change behind the gate: keep copies that cannot.
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray | list | tuple):
                kept = np.array(value, float)
                kept.flags.writeable = False
                object.__setattr__(self, name, kept)


@dataclass(frozen=True, eq=False, init=False)
class CoilCurrents(Actuation):
    """Currents of a coil system, (n_coils,) A."""

    values: Array

    def __init__(
        self, values: ArrayLike, *, seq: int = 0, valid_for: float = DEFAULT_VALID_FOR
    ) -> None:
        object.__setattr__(self, "values", np.asarray(values, float))
        object.__setattr__(self, "seq", seq)
        object.__setattr__(self, "valid_for", valid_for)
        self.__post_init__()


@dataclass(frozen=True, eq=False)
class MagnetPose(Actuation):
    """Pose of an arm-held magnet, (4, 4) rigid transform in the world, m."""

    T_world_magnet: Array


@dataclass(frozen=True, eq=False)
class RotatingField(Actuation):
    """Field turning about `axis` (3,) with `magnitude` T, `frequency` Hz and `phase` rad.

    The driver expands it at its own rate: a loop at 15 Hz cannot spin a field above about 2 Hz.
    """

    axis: Array
    magnitude: float
    frequency: float
    phase: float = 0.0


@dataclass(frozen=True, eq=False)
class Waveform(Actuation):
    """Set-points `values` (n, n_inputs) at times `t` (n,) s after acceptance, linear between."""

    t: Array
    values: Array
