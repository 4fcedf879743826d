"""From a track in the image to a place on the path."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mmdtwin.control.path import Path, WrongTurn
from mmdtwin.frame import Projection
from mmdtwin.geometry import Array
from mmdtwin.track import Track

DRIFT = 2.0e-3  # m/sqrt(s), random walk of s between frames: a device at 3 mm/s that may stop
REGISTRATION = 0.41e-3  # m, of the path against the image, one axis: two of 0.5 mm rms in space
# How far the device lies beside its path: more where there is room, and the same over some way.
WANDER, WANDER_PER_ROOM = 0.15e-3, 0.25  # m, and of the lumen's radius
ALIKE = 2.0e-3  # m
FRESH = 0.2e-3  # m of new way that is one measurement
GRID = 0.1e-3  # m
OFF_PATH = 1.2e-3  # m
MIN_ANGLE = 0.3  # sine of the angle between path and ray from which its sides are told apart
CLEARLY = 0.5e-3  # m by which the device must lie nearer to another path,
UNDECIDED = 4.0e-3  # m beyond a fork within which the two are told apart
FOR_LONG = 0.4  # s, and for how long, to be taken to be there
FASTEST, LEEWAY = 40e-3, 1.5e-3  # m/s and m, beyond which a track leaps
BELIEVED = 4  # tracks in a row that leap are no error
SEARCH = 8e-3  # m of path looked at on either side of the prediction


@dataclass(frozen=True, eq=False)
class Estimate:
    """Where the device is on the path, at the time of the exposure.

    Parameters
    ----------
    t : float
        Exposure time, s.
    s : float
        Arclength along the path, m.
    speed : float
        Along the path, m/s.
    position : (3,) array
        In the world as estimated, m: the track's ray at the depth of the path, less the shift.
    lateral : (3,) array
        Offset from the path, across it and across the ray, m.
    tracked : bool
        False while the tracker coasts or is lost.
    wrong_turn : WrongTurn or None
        The wrong turn that the device has taken; `s`, `speed` and `lateral` are then on its path.
    """

    t: float
    s: float
    speed: float
    position: Array
    lateral: Array
    tracked: bool
    wrong_turn: WrongTurn | None = None


class PathEstimator:
    """Finds the device's arclength from its track, by maximum a posteriori along the path.

    A single view does not resolve motion along the ray; where the path is foreshortened the
    prior carries the estimate.

    The path and the image are registered to half a millimetre only. The device lies in the middle
    of the floor on average, so a lasting offset across the path is the registration's error: it is
    estimated on the way (a Kalman filter of a constant shift) and taken off. Where the path bends,
    what was learned across it counts along it.

    Parameters
    ----------
    path : Path
        In the world as estimated.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fine = np.arange(path.s[0], path.s[-1], GRID)
        self._points = np.array([path.at(s) for s in self._fine])
        self._uv = np.zeros((0, 2))
        self.shift = np.zeros(3)  # of the path as seen in the image, m in the world
        self._shift_covariance = REGISTRATION**2 * np.eye(3)
        self.s = self._furthest = 0.0
        self._variance = REGISTRATION**2
        self._t: float | None = None
        self._seen = 0.0  # s, when last
        self._doubt = 0  # tracks in a row that leapt

    def update(self, track: Track, projection: Projection, learn: bool = True) -> Estimate:
        """Take the next track; `learn` from it about the registration too.

        A track that leaps farther than a device can move is believed when it persists only.
        """
        self._uv = projection.project(self._points + self.shift)
        dt = 0.0 if self._t is None else max(track.t - self._t, 0.0)
        self._t = track.t
        self._variance += DRIFT**2 * dt
        tracked = track.state == "tracking" and self._correct(track, projection)
        s = self.s
        depth = float(projection.depth(self._path.at(s)))
        tangent = self._path.tangent(s)
        seen = projection.back_project(track.position, depth)
        if tracked and learn:
            self._register(seen - self._path.at(s), tangent, projection.rays(track.position))
        position = seen - self.shift
        offset = position - self._path.at(s)
        ahead = projection.project(self._path.at(s) + tangent * 1e-4)
        along = (ahead - projection.project(self._path.at(s))) / 1e-4  # px per m of path
        steep = float(along @ along)
        # Motion along the ray is invisible: trust no speed below a third of full scale.
        full = (self._px_per_m(projection, depth) / 3) ** 2
        speed = float(track.velocity @ along) / max(steep, full)
        return Estimate(
            t=track.t,
            s=s,
            speed=speed,
            position=position,
            lateral=offset - tangent * (offset @ tangent),
            tracked=tracked,
        )

    def _correct(self, track: Track, projection: Projection) -> bool:
        """Move s to the track; False if that is not to be believed yet."""
        scale = self._px_per_m(projection, projection.sod)
        noise = float(np.mean(np.diag(track.covariance)[:2])) + (GRID * scale) ** 2
        near = np.abs(self._fine - self.s) <= SEARCH
        gap = ((self._uv[near] - track.position) ** 2).sum(axis=1) / noise
        cost = gap + (self._fine[near] - self.s) ** 2 / self._variance
        best = int(np.argmin(cost))
        index = int(np.flatnonzero(near)[0]) + best
        reach = FASTEST * (track.t - self._seen) + LEEWAY
        self._doubt = self._doubt + 1 if abs(self._fine[index] - self.s) > reach else 0
        if 0 < self._doubt < BELIEVED:
            return False
        step = np.gradient(self._uv, self._fine, axis=0)[index]
        information = 1.0 / self._variance + float(step @ step) / noise
        self.s = float(self._fine[index])
        self._variance = 1.0 / information
        self._seen, self._doubt = track.t, 0
        return True

    def _register(self, offset: Array, tangent: Array, ray: Array) -> None:
        """Take the offset (3,) m across path and ray as a measurement of the shift."""
        across = np.cross(tangent, ray)
        size = float(np.linalg.norm(across))
        if size < MIN_ANGLE:
            return
        across /= size
        gain = self._shift_covariance @ across
        if abs(float(across @ (offset - self.shift))) > OFF_PATH:
            return  # that far off it is the device that errs, not the map
        # Only new way tells something new: a device at rest says the same again and again.
        fresh = min(self.s - self._furthest, ALIKE)
        if fresh < FRESH:
            return
        self._furthest = self.s
        wander = WANDER + WANDER_PER_ROOM * self._path.radius_at(self.s)
        gain /= float(across @ gain) + wander**2 * ALIKE / fresh
        self.shift = self.shift + gain * float(across @ (offset - self.shift))
        self._shift_covariance -= np.outer(gain, across @ self._shift_covariance)

    @staticmethod
    def _px_per_m(projection: Projection, depth: float) -> float:
        return projection.sid / (projection.pitch * depth)


class WayEstimator:
    """Finds the device on its way, or on one of the wrong turns that leave it.

    Parameters
    ----------
    path : Path
    wrong_turns : tuple of WrongTurn
        Both in the world as estimated.
    """

    def __init__(self, path: Path, wrong_turns: tuple[WrongTurn, ...] = ()) -> None:
        self._way = PathEstimator(path)
        self._turns = [(turn, PathEstimator(turn.path)) for turn in wrong_turns]
        self._taken: WrongTurn | None = None
        self._since: float | None = None

    def update(self, track: Track, projection: Projection) -> Estimate:
        """Take the next track."""
        on_way = self._way.update(track, projection, self._taken is None and not self._at_fork())
        turned = [
            replace(estimator.update(track, projection, learn=False), wrong_turn=turn)
            for turn, estimator in self._turns
        ]
        here = next(e for e in (on_way, *turned) if e.wrong_turn is self._taken)
        if here.wrong_turn is not None and here.s < here.wrong_turn.fork:
            self._taken, self._since = None, None
            return on_way
        nearest = min([on_way, *turned], key=self._distance)
        if not here.tracked or self._distance(nearest) > self._distance(here) - CLEARLY:
            self._since = None
            return here
        self._since = here.t if self._since is None else self._since
        if here.t - self._since < FOR_LONG:
            return here
        self._taken, self._since = nearest.wrong_turn, None
        return nearest

    def _at_fork(self) -> bool:
        """True where the device could be on either path: its offset tells nothing then."""
        s = self._way.s
        return any(-UNDECIDED / 2 < s - turn.fork < UNDECIDED for turn, _ in self._turns)

    @staticmethod
    def _distance(estimate: Estimate) -> float:
        turn = estimate.wrong_turn
        if turn is not None and estimate.s <= turn.fork:
            return float("inf")
        return float(np.linalg.norm(estimate.lateral))
