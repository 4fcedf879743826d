"""Magnetisation along a body: its mean direction over each link."""

from __future__ import annotations

import numpy as np

from mmdtwin.config.devices.soft import (
    HarmonicProfile,
    PiecewiseProfile,
    Profile,
    SoftConfig,
    TipProfile,
)
from mmdtwin.geometry import Array

ROUNDING = 1e-9  # of the whole moment, below which a net moment is none


def net_moment(config: SoftConfig, volume: float) -> float:
    """Return the size of a straight body's net magnetic moment, A m2; `volume` in m3."""
    net = float(np.linalg.norm(mean_directions(config.profile, np.array([0.0, 1.0]))[0]))
    return config.magnetisation * volume * net if net > ROUNDING else 0.0


def mean_directions(profile: Profile, edges: Array) -> Array:
    """Return the mean of a profile over the stretches of a body.

    Parameters
    ----------
    profile : Profile
        Direction of the magnetisation along the body.
    edges : (n + 1,) array
        Ends of the stretches, as shares of the length from 0 to 1.

    Returns
    -------
    (n, 3) array
        Along length, width and normal, as a share of the body's magnetisation.
    """
    if isinstance(profile, HarmonicProfile):
        angle = 2 * np.pi * profile.periods * edges + profile.phase
        integral = np.stack([np.sin(angle), np.zeros_like(angle), -np.cos(angle)], axis=1)
        return np.asarray(np.diff(integral, axis=0) / np.diff(angle)[:, None])
    along = (1.0, 0.0, 0.0)
    if isinstance(profile, TipProfile):
        pieces = [(1.0 - profile.fraction, (0.0, 0.0, 0.0)), (profile.fraction, along)]
    elif isinstance(profile, PiecewiseProfile):
        pieces = [(s.length / profile.length, s.direction) for s in profile.segments]
    else:
        pieces = [(1.0, along)]
    ends = np.concatenate([[0.0], np.cumsum([share for share, _ in pieces])])
    # The integral from the start is piecewise linear.
    steps = np.diff(ends)[:, None] * np.array([direction for _, direction in pieces])
    integral = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    at_edges = np.stack([np.interp(edges, ends, integral[:, k]) for k in range(3)], axis=1)
    return np.asarray(np.diff(at_edges, axis=0) / np.diff(edges)[:, None])
