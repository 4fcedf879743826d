"""Where a flat device rests on the floor of a lumen."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mmdtwin.geometry import Array, unit
from mmdtwin.rig import DeviceFacts
from mmdtwin.vessel import Wall

ACROSS = np.linspace(-1.0, 1.0, 9)  # places tried across the floor, of the room there is
ROLLS = np.radians([-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0])
FOOTPRINT = np.array([-0.5, 0.0, 0.5])  # of the width
STEP = 0.03e-3  # m of height
DEEPEST = 2.5  # radii below the centreline that are looked at
HOLD = 1.0e-3  # m: a place y off the middle counts as y^2 / HOLD higher


def resting_places(
    wall: Wall, centre: Array, tangents: Array, radius: Array, device: DeviceFacts, down: Array
) -> tuple[Array, Array]:
    """Where the centre of a flat device rests below a centreline, and what pulls it from there.

    In each cross-section the device is let down along `down`, in several places and with several
    rolls about the vessel's direction, until it meets the wall. Of these it takes the lowest, a
    place off the middle counting as somewhat higher: control holds it there.

    Parameters
    ----------
    wall : Wall
    centre, tangents : (n, 3) array
        Centreline, m, and its unit tangents.
    radius : (n,) array
        Inscribed radius, m.
    device : DeviceFacts
    down : (3,) array
        Direction of gravity.

    Returns
    -------
    offsets : (n, 3) array
        From the centreline to the resting place, m.
    pull : (n, 3) array
        Force along the sloping floor across the vessel, per weight.
    """
    fall = unit(down - tangents * (tangents @ down)[:, None])
    side = np.cross(tangents, fall)
    room = np.maximum(radius - device.width / 2, 0.0)
    offsets, pull = np.empty_like(centre), np.empty_like(centre)
    for i, r in enumerate(radius):
        across = ACROSS * room[i]
        heights = np.arange(0.0, DEEPEST * r, STEP)
        # [place, roll, height, footprint]
        y = across[:, None, None, None] + np.cos(ROLLS)[:, None, None] * FOOTPRINT * device.width
        z = heights[:, None] + np.sin(ROLLS)[:, None, None] * FOOTPRINT * device.width
        y, z = np.broadcast_arrays(y, z[None])
        points = centre[i] + y[..., None] * side[i] + z[..., None] * fall[i]
        gap = wall.at(points.reshape(-1, 3)).reshape(y.shape).min(axis=3)
        clear = np.logical_and.accumulate(gap >= device.thickness / 2, axis=2)
        depth = clear.sum(axis=2) * STEP
        lowest = gaussian_filter1d(depth.max(axis=1), 1.0, mode="nearest")
        best = int(np.argmax(lowest - across**2 / HOLD))
        offsets[i] = across[best] * side[i] + lowest[best] * fall[i]
        steepness = np.gradient(lowest, across)[best] if room[i] > STEP else 0.0
        pull[i] = steepness * side[i]
    return offsets, pull


def bridged(heights: Array, length: float) -> Array:
    """How far (n,) the middle of a straight device is held above the floor that it bridges.

    Parameters
    ----------
    heights : (n,) array
        Of the floor along the way, at even distances.
    length : float
        Of the device, in these distances.
    """
    reach = int(length / 2)
    padded = np.pad(heights, reach, mode="edge")
    middle = np.arange(len(heights)) + reach
    held = heights.copy()
    for a in range(1, reach + 1):
        held = np.maximum(held, (padded[middle - a] + padded[middle + a]) / 2)
    return np.asarray(held - heights)
