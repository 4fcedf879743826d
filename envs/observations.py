"""Observations: what an agent sees.

`tracked`, (20,), what a laboratory can know, world frame as estimated:

| entry | meaning | unit of 1 |
|---|---|---|
| 0 | distance left along the path | 20 mm |
| 1 | speed along the path | 5 mm/s |
| 2-4 | offset from the path, across it and across the ray | 2 mm |
| 5-7 | tangent of the path here | 1 |
| 8-16 | path 2, 4 and 6 mm ahead, relative to the path here | 6 mm |
| 17 | 1 if the device was seen in this frame, else 0 | 1 |
| 18 | standard deviation of the track, larger axis | 10 px |
| 19 | lumen radius here | 2 mm |

`state`, (19,), the truth, vessel's frame, for a rig that knows it:

| entry | meaning | unit of 1 |
|---|---|---|
| 0 | distance left along the path | 20 mm |
| 1-3 | velocity | 5 mm/s |
| 4-6 | offset from the path | 2 mm |
| 7-9 | direction of the device | 1 |
| 10-12 | tangent of the path here | 1 |
| 13-15 | path 4 mm ahead, relative to the device | 6 mm |
| 16-18 | target relative to the device | 20 mm |

`pixels`, (96, 96, 1) uint8: the frame around the tracked device, windowed on its own 1st and 99th
percentiles, native resolution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from mmdtwin.control.estimator import Estimate
from mmdtwin.control.path import Path
from mmdtwin.control.task import Episode
from mmdtwin.frame import Frame
from mmdtwin.geometry import invert, rotate
from mmdtwin.rig import RigDescription
from mmdtwin.track import Track

CROP = 96  # px
AHEAD = (2e-3, 4e-3, 6e-3)  # m
BOUND = 10.0  # entries are clipped to this many units


@dataclass(frozen=True, eq=False)
class View:
    """What observations are made from. `truth` is None on a rig that does not know it."""

    frame: Frame
    track: Track
    estimate: Estimate
    path: Path
    episode: Episode
    truth: Any


class Observation(ABC):
    """Makes one kind of observation."""

    space: Space[NDArray[Any]]

    @abstractmethod
    def __init__(self, description: RigDescription) -> None: ...

    @abstractmethod
    def make(self, view: View) -> NDArray[Any]:
        """Return the observation of a view."""


def _vector(*parts: Any) -> NDArray[np.float32]:
    flat = np.concatenate([np.atleast_1d(np.asarray(p, float)).ravel() for p in parts])
    return np.clip(np.nan_to_num(flat), -BOUND, BOUND).astype(np.float32)


class Tracked(Observation):
    """What a laboratory can know."""

    SIZE = 20

    def __init__(self, description: RigDescription) -> None:
        del description
        self.space = Box(-BOUND, BOUND, (self.SIZE,), np.float32)

    def make(self, view: View) -> NDArray[Any]:
        estimate, path = view.estimate, view.path
        here = path.at(estimate.s)
        sigma = np.sqrt(max(float(np.linalg.eigvalsh(view.track.covariance[:2, :2])[-1]), 0.0))
        return _vector(
            (path.length - estimate.s) / 20e-3,
            estimate.speed / 5e-3,
            estimate.lateral / 2e-3,
            path.tangent(estimate.s),
            [(path.at(min(estimate.s + a, path.length)) - here) / 6e-3 for a in AHEAD],
            float(estimate.tracked),
            sigma / 10,
            np.interp(estimate.s, path.s, path.radius) / 2e-3,
        )


class State(Observation):
    """The truth."""

    SIZE = 19

    def __init__(self, description: RigDescription) -> None:
        del description
        self.space = Box(-BOUND, BOUND, (self.SIZE,), np.float32)

    def make(self, view: View) -> NDArray[Any]:
        truth, path = view.truth, view.episode.path
        s = float(path.s[np.argmin(np.linalg.norm(path.points - truth.position, axis=1))])
        velocity = rotate(invert(truth.T_world_vessel), truth.world.velocity)
        return _vector(
            (path.length - s) / 20e-3,
            velocity / 5e-3,
            (truth.position - path.at(s)) / 2e-3,
            truth.direction,
            path.tangent(s),
            (path.at(min(s + 4e-3, path.length)) - truth.position) / 6e-3,
            (view.episode.target - truth.position) / 20e-3,
        )


class Pixels(Observation):
    """A crop of the frame around the track."""

    def __init__(self, description: RigDescription) -> None:
        del description
        self.space = Box(0, 255, (CROP, CROP, 1), np.uint8)

    def make(self, view: View) -> NDArray[Any]:
        image = view.frame.image
        u, v = np.round(view.track.position).astype(int) - CROP // 2
        u0 = int(np.clip(u, 0, image.shape[1] - CROP))
        v0 = int(np.clip(v, 0, image.shape[0] - CROP))
        crop = image[v0 : v0 + CROP, u0 : u0 + CROP].astype(np.float32)
        low, high = np.percentile(crop, [1.0, 99.0])
        grey = np.clip((crop - low) * (255.0 / max(high - low, 1.0)), 0, 255)
        return grey.astype(np.uint8)[..., None]


OBSERVATIONS: dict[str, type[Observation]] = {
    "tracked": Tracked,
    "state": State,
    "pixels": Pixels,
}
