"""What the compiled dynamics of a chain take: its constants, its pose, what surrounds it.

Arrays are in PyBullet's units (mm, g, s; see `mmdtwin.units`) and in the vessel's frame; triples
named "along the axes" belong to the link's length, width and normal. `n` is the number of links,
`d` that of the rates of a joint: 1 of a hinge, about the width, 3 of a ball, about the child's
axes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmdtwin.geometry import Array


class Links(NamedTuple):
    """Constants of a chain's equal links."""

    half: float  # half the length
    mass: float
    inertia: Array  # (3,) along the axes
    displaced: float  # mass of the fluid that is not there
    added_mass: Array  # (3,) along the axes, of fluid
    added_inertia: Array  # (3,) along the axes, of fluid
    weight: Array  # (3,) less buoyancy
    moment: Array  # (n, 3) along the axes, nN m/T
    drag: Array  # (3,) force per speed along the axes
    friction: float  # force per speed^1.5 in the plane of length and width
    pressure: float  # force per speed^2 along the normal
    spread: tuple[float, float]  # length^2 / 12 and width^2 / 12, over which drag is spread
    spin_drag: float  # torque per rate about the length, on top of the spread width's
    stiffness: Array  # (d,) of a joint about its rates
    damping: Array  # (d,), likewise


class Held(NamedTuple):
    """The inertia of a link that PyBullet holds, and by which its contacts work."""

    mass: float
    inertia: Array  # (3,) along the axes


CONTACT_STEP = 1e-3  # s, nominal step


def held_inertia(links: Links) -> Held:
    """Return an inertia for contacts close to the left side of the implicit step.

    A contact works on what PyBullet holds, not on M + M_fluid + h C + h^2 K. With the dry inertia
    only, it would kick links that are stiff, or slow in thick fluid, far too fast. Masses have one
    value for all directions, so they take the lightest.
    """
    h, (long2, wide2), drag = CONTACT_STEP, links.spread, links.drag
    turning = np.array([drag[2] * wide2 + links.spin_drag, drag[2] * long2, drag[1] * long2])
    stiffness = np.zeros(3)
    stiffness[slice(1, 2) if len(links.stiffness) == 1 else slice(None)] = links.stiffness
    return Held(
        mass=float(links.mass + (links.added_mass + h * drag).min()),
        inertia=links.inertia + links.added_inertia + h * turning + h * h * stiffness,
    )


class Fluid(NamedTuple):
    """What surrounds the links."""

    field: Array  # (n, 3) T
    gradient: Array  # (n, 3, 3), dB_i/dx_j, T/mm
    flow: Array  # (n, 3)
    flow_gradient: Array  # (n, 3, 3), dv_i/dx_j
    flow_acceleration: Array  # (n, 3)


class Pose(NamedTuple):
    """Where the links are and how they move."""

    centre: Array  # (n, 3)
    axes: Array  # (n, 3, 3), axes of a link as columns: its length, width and normal
    rate_axes: Array  # (n - 1, d, 6), velocity about the base's centre for a unit rate of a joint
    rates: Array  # (n - 1, d)
    bend: Array  # (n - 1, d), hinge angle, or rotation vector in the child's axes
    velocity: Array  # (n, 3) of the centres
    spin: Array  # (n, 3), angular velocities
    bias: Array  # (n, 3), acceleration of the centres while all rates are constant
    spin_bias: Array  # (n, 3), angular acceleration, likewise

    @classmethod
    def of(cls, n: int, d: int) -> Pose:
        """Return room for the pose of n links with d rates a joint."""
        shapes = [(n, 3), (n, 3, 3), (n - 1, d, 6), (n - 1, d), (n - 1, d)] + [(n, 3)] * 4
        return cls(*(np.zeros(shape) for shape in shapes))
