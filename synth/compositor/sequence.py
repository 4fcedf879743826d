"""Short sequences: devices that move, in anatomy that breathes and beats, with the optical flow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import load
from mmdtwin.config.patient import PatientConfig
from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array, apply, transform
from mmdtwin.sim.patient import Motion
from mmdtwin.synth.compositor.compose import Asked, Composite, compose
from mmdtwin.synth.compositor.draw import from_choice, from_range
from mmdtwin.synth.compositor.labels import footprint
from mmdtwin.synth.compositor.view import View

SPIN = 1.0  # rad/s, rms rate about each axis, assumed
STEADY = 0.5  # s over which a device keeps its way, assumed


@dataclass(frozen=True, eq=False)
class Way:
    """How a device moves: its place (3,) m and attitude (3, 3), relative to the first frame."""

    places: Array
    turns: Array

    def at(self, frame: int, centre: Array) -> Array:
        """Return the transform (4, 4) from where the device was at first; it turns about itself."""
        R = self.turns[frame]
        return transform(R, centre - R @ centre + self.places[frame])


def draw_way(rng: np.random.Generator, frames: int, period: float, speed: float) -> Way:
    """Return a smooth way at about a speed, m/s, in frames that are `period` s apart."""
    blend = np.exp(-period / STEADY)
    heading = rng.normal(size=3)
    spin = rng.normal(0.0, SPIN, 3)
    place, turn = np.zeros(3), Rotation.identity()
    places, turns = [place], [turn.as_matrix()]
    for _ in range(frames - 1):
        noise = np.sqrt(1.0 - blend**2)
        heading = blend * heading + noise * rng.normal(size=3)
        spin = blend * spin + noise * rng.normal(0.0, SPIN, 3)
        place = place + speed * period * heading / np.sqrt(3.0)
        turn = Rotation.from_rotvec(spin * period) * turn
        places.append(place)
        turns.append(turn.as_matrix())
    return Way(np.array(places), np.array(turns))


def draw_sequence(
    config: RandomisationConfig,
    view: View,
    asked: list[Asked],
    rng: np.random.Generator,
    frames: int,
) -> Iterator[tuple[Composite, NDArray[np.float32]]]:
    """Yield the composites of a sequence, each with the flow to the next frame, (h, w, 2) px.

    Devices and instruments move with the anatomy; devices besides on ways of their own. The flow
    is that of the anatomy, and of a device where there is one; the last frame's is zero.

    Parameters
    ----------
    config : RandomisationConfig
    view : View
    asked : list of Asked
        Where devices are at first.
    rng : Generator
        Decides the motion.
    frames : int
    """
    imager = view.imager
    projection = imager.projection
    period = 1.0 / imager.config.frame_rate
    name = from_choice(rng, config.motion.patient)
    motion = Motion(load(PatientConfig, "patients", name), int(rng.integers(2**31)))
    start = float(rng.uniform(0.0, 10.0))
    shifts = np.array([motion.displacement(start + i * period) for i in range(frames)])
    shifts -= shifts[0]
    ways = [draw_way(rng, frames, period, from_range(rng, config.motion.speed)) for _ in asked]
    centres = [each.device.centre for each in asked]

    def pose(k: int, i: int) -> Array:
        return transform(translation=shifts[i]) @ ways[k].at(i, centres[k])

    for i in range(frames):
        seen = []
        for k, each in enumerate(asked):
            device = each.device.placed(pose(k, i))
            there = footprint(device, projection)
            if there is not None:
                contrast = each.contrast if i == 0 else None  # its material stays, all else moves
                seen.append((k, replace(each, device=device, footprint=there, contrast=contrast)))
        moved = view.moved(shifts[i])
        composite = compose(moved, [each for _, each in seen], start + i * period)
        composite.about.update(patient=name, time=i * period, frame=i)
        following = min(i + 1, frames - 1)
        flow = anatomy_flow(projection, shifts[following] - shifts[i])
        for k, each in seen:
            step = pose(k, following) @ np.linalg.inv(pose(k, i))
            rows, columns = np.nonzero(each.footprint.mask)
            v, u = rows + each.footprint.roi[0], columns + each.footprint.roi[2]
            flow[v, u] = device_flow(projection, each, step, np.stack([u, v], axis=1))
        yield composite, flow


def anatomy_flow(projection: Projection, displacement: Array) -> NDArray[np.float32]:
    """Return the flow (h, w, 2) px of an anatomy that is displaced by (3,) m, as it is imaged."""
    shift = projection.axes[:2] @ displacement / projection.pixel_size
    return np.broadcast_to(shift, (*projection.shape, 2)).astype(np.float32)


def device_flow(
    projection: Projection, asked: Asked, step: Array, pixels: Array
) -> NDArray[np.float32]:
    """Return the flow (n, 2) px of a device that moves by `step` (4, 4) at pixels (n, 2).

    Its points are taken to lie at the depth of its middle.
    """
    depth = float(projection.depth(asked.device.centre))
    points = projection.back_project(pixels.astype(float), np.full(len(pixels), depth))
    after = projection.project(apply(step, points))
    return np.asarray(after - projection.project(points), np.float32)
