"""Loads on one link of a magnetic soft chain: magnetic, weight, drag, and the fluid carried along.

Conventions are those of `links`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from mmdtwin.geometry import Array
from mmdtwin.sim.bodies.links import Fluid, Links, Pose
from mmdtwin.sim.bodies.vectors import (
    Vector,
    add,
    cross,
    dot,
    each,
    into,
    less,
    outof,
    row,
    scaled,
)  # fmt: skip


@nb.njit(cache=True, fastmath=True)
def resistance(links: Links, still: Vector) -> Vector:
    """Force per speed along the axes, at a velocity against the fluid along the axes."""
    in_plane = links.friction * np.sqrt(np.sqrt(still[0] * still[0] + still[1] * still[1]))
    drag = links.drag
    return (drag[0] + in_plane, drag[1] + in_plane, drag[2] + links.pressure * abs(still[2]))


@nb.njit(cache=True, fastmath=True)
def turning_drag(
    links: Links, axes: Array, flow_gradient: Array, per_speed: Vector
) -> tuple[Vector, Vector]:
    """Torque per rate along the axes, and torque of a sheared fluid on a link that does not turn.

    Both are the forces per speed, spread over the link's length and width.
    """
    long2, wide2 = links.spread
    x = into(axes, outof(flow_gradient, row(axes[:, 0])))  # fluid's velocity along the length
    y = into(axes, outof(flow_gradient, row(axes[:, 1])))  # and along the width
    vorticity = 0.5 * dot(row(axes[:, 2]), outof(flow_gradient, row(axes[:, 1])))
    vorticity -= 0.5 * dot(row(axes[:, 1]), outof(flow_gradient, row(axes[:, 2])))
    roll, pitch = per_speed[2] * wide2, per_speed[2] * long2
    yaw, yaw_wide = per_speed[1] * long2, per_speed[0] * wide2
    per_rate = (roll + links.spin_drag, pitch, yaw + yaw_wide)
    torque = (
        roll * y[2] + links.spin_drag * vorticity,
        -pitch * x[2],
        yaw * x[1] - yaw_wide * y[0],
    )
    return per_rate, torque


@nb.njit(cache=True, fastmath=True)
def write_block(
    out: Array, axes: Array, linear: Vector, rotary: Vector, soft: Vector, arm: Vector
) -> None:
    """Write a link's (6, 6) block about the base's centre, `arm` before the link's.

    Eigenvalues along the axes of the (3, 3) blocks about its own centre: linear, and rotary less
    the square of the vector `soft`.
    """
    for q in range(3):
        eigen = each(linear, row(axes[q]))
        column = outof(axes, eigen)
        turned = cross(arm, column)
        for p in range(3):
            out[p, q] = column[p]
            out[3 + p, q] = turned[p]
            out[q, 3 + p] = turned[p]
    for p in range(3):
        own = outof(axes, each(rotary, row(axes[p])))
        shifted = cross(arm, row(out[3 + p]))
        for q in range(3):
            out[3 + p, 3 + q] = own[q] - soft[p] * soft[q] + shifted[q]


@nb.njit(cache=True, fastmath=True)
def link_load(
    pose: Pose,
    middle: Pose,
    links: Links,
    fluid: Fluid,
    i: int,
    h: float,
    left: Array,
    right: Array,
) -> None:
    """Write a link's block (6, 6) of the left side and its load (6,), about the base's centre.

    The block is mass + fluid's mass + h damping + h^2 stiffness. Terms quadratic in velocity are
    on the side of the loads, at the motion of `middle`: centripetal and gyroscopic, and for the
    fluid carried along Kirchhoff's equations (Lamb, Hydrodynamics, art. 124) of each link as a
    strip. The fluid's own acceleration bears on the displaced and the added mass (Maxey and Riley,
    Phys. Fluids 26 (1983) 883).
    """
    axes, flow_gradient = pose.axes[i], fluid.flow_gradient[i]
    arm = less(row(pose.centre[i]), row(pose.centre[0]))
    moment, field = row(links.moment[i]), row(fluid.field[i])
    still = into(
        axes, less(row(pose.velocity[i]), row(fluid.flow[i]))
    )  # against the fluid, along the axes
    spin = into(axes, row(pose.spin[i]))
    per_speed = resistance(links, still)
    per_rate, carried = turning_drag(links, axes, flow_gradient, per_speed)
    carried_mass = row(links.added_mass)
    mass = add((links.mass, links.mass, links.mass), carried_mass)
    inertia = add(row(links.inertia), row(links.added_inertia))
    through = into(axes, less(row(middle.velocity[i]), row(fluid.flow[i])))
    whirl = into(axes, row(middle.spin[i]))
    impulse = each(carried_mass, through)
    force = each(per_speed, still)
    force = add(force, less(cross(whirl, impulse), each(carried_mass, cross(whirl, through))))
    force = add(force, each(mass, into(axes, row(middle.bias[i]))))
    surge = add((links.displaced, links.displaced, links.displaced), carried_mass)
    force = less(force, each(surge, into(axes, row(fluid.flow_acceleration[i]))))
    torque = less(each(per_rate, spin), carried)
    torque = add(torque, add(cross(through, impulse), cross(whirl, each(inertia, whirl))))
    torque = add(torque, each(inertia, into(axes, row(middle.spin_bias[i]))))
    b = into(axes, field)
    torque = less(torque, cross(moment, b))
    # Alignment with the field as a spring: stiffness m.b across the field, none about it.
    spring = max(dot(moment, b), 0.0)
    about = dot(b, spin) / max(dot(b, b), 1e-300)
    torque = add(torque, scaled(h * spring, less(spin, scaled(about, b))))
    pull = add(row(links.weight), into(fluid.gradient[i], outof(axes, moment)))
    force = less(pull, outof(axes, force))
    torque = add(cross(arm, force), scaled(-1.0, outof(axes, torque)))
    for k in range(3):
        right[k], right[3 + k] = force[k], torque[k]
    stiff = h * h * spring
    rotary = add(add(inertia, scaled(h, per_rate)), (stiff, stiff, stiff))
    soft = scaled(np.sqrt(stiff / max(dot(b, b), 1e-300)), field)
    write_block(left, axes, add(mass, scaled(h, per_speed)), rotary, soft, arm)
