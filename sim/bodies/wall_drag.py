"""What a wall does to the drag of a sphere: plane walls, round tubes, and what lies between.

Every factor multiplies the drag in unbounded fluid. Compiled; lengths in any unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from mmdtwin.geometry import Array

ORDER = 6  # of the polynomials in a/h
WIDEST = 0.98  # a/R to which the tube's formulas are used
# Exponent of the distance from the axis over R in the tube's share: along the vessel it gives the
# drag of an eccentric sphere, to first order in a/R, within 3 % of the wall's part to 0.6 R.
BLEND = 1.3
TUBE_AXIAL, TUBE_ACROSS = 2.1050, 1.8044  # first order in a/R of a sphere on a tube's axis


def _log_series(n: int) -> Array:
    """Taylor coefficients of ln(1 - x) to order n."""
    return np.array([0.0, *(-1.0 / k for k in range(1, n + 1))])


def _inverse(series: tuple[float, ...]) -> tuple[float, ...]:
    """Taylor coefficients, as many, of 1 / (series in x)."""
    out = [1.0 / series[0]]
    for n in range(1, len(series)):
        out.append(-sum(series[k] * out[n - k] for k in range(1, n + 1)) / series[0])
    return tuple(out)


def _matched(
    far: tuple[float, ...], contact: float, log: float = 0.0, slow: float = 0.0, pole: float = 0.0
) -> Array:
    """Return the row of a factor known far from the wall and in the narrow gap.

    `far` is its Taylor series in x = a/h; in the gap it is pole / e + log ln e + slow e ln e +
    contact, with e = h/a - 1. The singular terms are taken with 1 - x for e (x / (1 - x) is
    1 / e), and a polynomial in x gives both the far series and the constant at contact.

    Returns
    -------
    (ORDER + 4,) array
        Polynomial in rising powers; then log, slow and pole.
    """
    n = len(far)
    logs = _log_series(n - 1)
    slows = logs - np.concatenate([[0.0], logs[:-1]])
    poles = np.concatenate([[0.0], np.ones(n - 1)])
    row = np.zeros(ORDER + 4)
    row[:n] = np.array(far) - log * logs - slow * slows - pole * poles
    row[n] = contact - row[:n].sum()
    row[ORDER + 1 :] = log, slow, pole
    return row


# Far from the wall: Faxen's series (Happel and Brenner 1965, sec. 7-4) and the far fields of
# Goldman, Cox and Brenner, Chem. Eng. Sci. 22 (1967) 637 (I) and 653 (II).
# In the gap: O'Neill and Stewartson, J. Fluid Mech. 27 (1967) 705, and Cooley and O'Neill, J. Inst.
# Maths Applics 4 (1968) 163, with the constants of Chaoui and Feuillebois, Q. J. Mech. Appl. Math.
# 56 (2003) 381; normal: Cooley and O'Neill, Mathematika 16 (1969) 37; contact in shear: II.
# About the normal: Jeffery, Proc. London Math. Soc. 14 (1915) 327, zeta(3) at contact.
ALONG, NORMAL, COUPLING, ROLL, SPIN, SHEAR, SHEAR_TORQUE = range(7)
PLANE = np.stack(
    [
        _matched(_inverse((1, -9 / 16, 0, 1 / 8, -45 / 256, -1 / 16)), 0.9543, -8 / 15, -64 / 375),
        _matched(_inverse((1, -9 / 8, 0, 1 / 2, -135 / 256, -1 / 8)), 0.9713, -1 / 5, pole=1.0),
        _matched((0, 0, 0, 0, 3 / 32, -9 / 256), -0.1929, -1 / 10, -43 / 250),
        _matched((1, 0, 0, 5 / 16, 0, 0), 0.3709, -2 / 5, -66 / 125),
        _matched((1, 0, 0, 1 / 8), 1.2021),
        _matched((1, 9 / 16, 81 / 256), 1.7005),
        _matched((1, 0, 0, -3 / 16), 0.9440),
    ]
)


@nb.njit(cache=True)
def plane(which: int, x: float) -> float:
    """Return a factor of a sphere beside a plane wall; x = radius / distance of the centre.

    Forces over 6 pi mu a and the speed (SHEAR: the undisturbed speed at the centre); torques over
    8 pi mu a^3 and the rate (SHEAR_TORQUE: half the shear rate); COUPLING: torque of translation
    over 8 pi mu a^2 and the speed, which is also the force of rotation over 8 pi mu a^2 and the
    rate.
    """
    row = PLANE[which]
    value = row[ORDER]
    for k in range(ORDER - 1, -1, -1):
        value = value * x + row[k]
    log = np.log(1.0 - x)
    value += (row[ORDER + 1] + row[ORDER + 2] * (1.0 - x)) * log
    return float(value + row[ORDER + 3] * x / (1.0 - x))


@nb.njit(cache=True)
def tube(ratio: float) -> tuple[float, float]:
    """Return K1 and K2 of a sphere on the axis of a tube; ratio = radius / tube's radius.

    F = 6 pi mu a (-K1 U + K2 u_axis) with the axial speed of Poiseuille's flow: the problem of
    Haberman and Sayre (David Taylor Model Basin report 1143, 1958), by the formulas of Bungay and
    Brenner, Int. J. Multiphase Flow 1 (1973) 25, for all ratios.
    """
    e = 1.0 - ratio
    narrow = 2.25 * np.pi**2 * np.sqrt(2.0) * e**-2.5
    moving = narrow * (1.0 + e * (-73.0 / 60.0 + e * 77293.0 / 50400.0)) + (
        -22.5083 + ratio * (-5.6117 + ratio * (-0.3363 + ratio * (-1.216 + ratio * 1.647)))
    )
    held = narrow * (1.0 + e * (7.0 / 60.0 - e * 2227.0 / 50400.0)) + (
        4.0180 + ratio * (-3.9788 + ratio * (-1.9215 + ratio * (4.392 + ratio * 5.006)))
    )
    return float(moving / (6.0 * np.pi)), float(held / (12.0 * np.pi))


class Hindrance(NamedTuple):
    """Factors of a sphere in a vessel: of drag, and of the pull of the undisturbed flow."""

    axial: float  # along the wall, the way the vessel runs
    around: float  # along the wall, across the vessel
    normal: float
    flow_axial: float  # of the flow's velocity with Faxen's term
    flow_around: float
    coupling: float
    roll: float  # rotation about an axis along the wall
    spin: float  # rotation about the normal
    flow_roll: float  # of the flow's half vorticity


@nb.njit(cache=True)
def hindrance(radius: float, distance: float, tube_radius: float, least_gap: float) -> Hindrance:
    """Return the factors of a sphere at a distance from the wall of a tube.

    At the wall they are the plane's, on the axis the tube's: the plane's at a/d, plus a share of
    the tube's less the plane's at a/R. In infinite fluid all are one and the coupling zero.

    Parameters
    ----------
    radius : float
        The sphere's, a.
    distance : float
        Of its centre from the wall, d; infinite without one.
    tube_radius : float
        R; infinite beside a plane.
    least_gap : float
        Gap below which the fluid film gets no thinner: roughness.
    """
    if not np.isfinite(distance):
        return Hindrance(1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0)
    x = radius / max(distance, radius + least_gap)
    along, normal, shear = plane(ALONG, x), plane(NORMAL, x), plane(SHEAR, x)
    axial, around, flow_axial, flow_around = along, along, shear, shear
    share = 0.0
    if np.isfinite(tube_radius):
        ratio = min(radius / tube_radius, WIDEST)
        off = min(max(1.0 - distance / tube_radius, 0.0), 1.0)
        share = 1.0 - off**BLEND
        moving, held = tube(ratio)
        held /= 1.0 - 2.0 / 3.0 * ratio**2  # Faxen's term is in the velocity
        across = 1.0 + TUBE_ACROSS / TUBE_AXIAL * (moving - 1.0)
        axial += (moving - plane(ALONG, ratio)) * share
        around += (across - plane(ALONG, ratio)) * share
        normal += (across - plane(NORMAL, ratio)) * share
        flow_axial += (held - plane(SHEAR, ratio)) * share
        flow_around += (across - plane(SHEAR, ratio)) * share
    return Hindrance(
        axial,
        around,
        normal,
        flow_axial,
        flow_around,
        plane(COUPLING, x) * (1.0 - share),
        plane(ROLL, x),
        plane(SPIN, x),
        plane(SHEAR_TORQUE, x),
    )
