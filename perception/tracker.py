"""Following one device through the detections of successive frames, in image pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.perception.detector import Detection
from mmdtwin.track import Track

_State = Literal["tracking", "coasting", "lost"]
Prior = Callable[[Array], float]

GATE = 13.8  # squared Mahalanobis distance, 99.9 % of chi-square with 2 degrees of freedom
SURPRISE = 9.2  # 99 %: above it the motion model was too stiff
CALM = 4.6  # 90 %: below it the process noise steps back
NOISE_STEPS = (1.0, 5.0, 100.0)  # multipliers of the process noise; assumed, after filters that
# multiply by 3, 5 and 100 when innovations leave their gates and step back when they return
WEAK = 0.55  # of the usual score: less is not the device; assumed
STRONG = 1.5  # of the usual score: more is no better, so that bone edges do not win; assumed
SCORE_MEMORY = 10  # hits over which the usual score is averaged; assumed
# A faint detection is evidence by what it scores above FAINT, the level of the highest peaks of
# noise; evidence in one place adds up, and fades when nothing is seen there. All assumed.
FAINT = 3.5
ENOUGH = 4.0
FADE = 0.7
FORGOTTEN = 0.3
HOLD_SPEED = 5.0  # px/s; before the first detection the search widens at this speed, and
HOLD_SIGMA = 10.0  # px; up to this deviation: a device further away would have been seen; assumed
NOISE_CELL = 2.0  # px^2 a trial: a peak of 20 px^2, and ten distinct templates; assumed
ABOVE_NOISE = 0.7  # by which a score must exceed the highest peak that noise would give; assumed
CORRIDOR_SIGMA = 3.0  # px; error of the projected centreline (registration, breathing); assumed
OUTSIDE = 3.0  # CORRIDOR_SIGMAs beyond the corridor at which a detection is refused


def _noise_peak(covariance: Array) -> float:
    """Highest score that noise is expected to reach in the gate around a position (2, 2) px^2."""
    area = np.pi * GATE * np.sqrt(np.linalg.det(covariance))
    return float(np.sqrt(2.0 * np.log(1.0 + area / NOISE_CELL)))


class Corridor:
    """Strips around polylines in the image: the projected vessel, known before the procedure.

    Calling it with a position (2,), px, gives how far outside it lies, px; 0 inside.

    Parameters
    ----------
    lines : sequence of (n, 2) arrays
        Projected centrelines, px, spaced more finely than the tolerance.
    tolerance : float or sequence of (n,) arrays
        Half-width of the strips, px: projected lumen radius plus what the registration errs.
    """

    def __init__(self, lines: Sequence[ArrayLike], tolerance: float | Sequence[ArrayLike]) -> None:
        points = [np.asarray(line, float).reshape(-1, 2) for line in lines]
        if isinstance(tolerance, (int, float)):
            widths = [np.full(len(p), float(tolerance)) for p in points]
        else:
            widths = [np.asarray(w, float) for w in tolerance]
        if not points or any(len(p) != len(w) for p, w in zip(points, widths, strict=True)):
            raise UserError("corridor: needs at least one line, and one tolerance per point")
        self._points, self._widths = np.concatenate(points), np.concatenate(widths)
        self._tree = cKDTree(self._points)

    def __call__(self, position: Array) -> float:
        distance, index = self._tree.query(position)
        return max(float(distance) - float(self._widths[index]), 0.0)


@dataclass(frozen=True, eq=False)
class _Suspect:
    """A place where faint detections kept coming up, not yet taken for the device."""

    detection: Detection
    t: float
    evidence: float

    def could_be(self, d: Detection, t: float, speed: float) -> bool:
        spread = np.sqrt(np.trace(d.covariance + self.detection.covariance))
        reach = 2.0 * float(spread) + speed * (t - self.t)
        return float(np.hypot(*(d.position - self.detection.position))) <= reach


class Tracker:
    """Constant-velocity Kalman filter with one target and adaptive process noise.

    The velocity drifts as a random walk (white acceleration of spectral density q per axis), so
    over dt its variance grows by q dt and the position's by q dt^3 / 3 (Bar-Shalom, Li and
    Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 6.2).
    Among the detections within a chi-square gate the one of largest likelihood is taken: a
    Gaussian in the innovation times exp(score^2 / 2), the likelihood ratio of a signal-to-noise
    ratio, capped at what the device usually scores.

    Parameters
    ----------
    acceleration_density : float, default 50.0
        q, px^2/s^3: a change of velocity of 7 px/s (1.4 mm/s at 0.2 mm/px) in a second; assumed.
    velocity_sigma : float, default 15.0
        Deviation of the velocity, px/s per axis, of a device just found: 3 mm/s at 0.2 mm/px;
        assumed.
    lost_speed : float, default 150.0
        Growth of the search while lost, px/s: 30 mm/s at 0.2 mm/px, a device carried off by the
        flow or let go by the magnet; assumed.
    coast_time : float, default 0.5
        Time without a detection, s, after which the track is lost; assumed.
    acquire_score : float, default 7.0
        A single confirmed detection this strong begins a track or ends a loss; fainter ones must
        repeat. Gaussian noise exceeds 6 in 1e-9 of some 1e6 independent places and templates of a
        full frame; one more for noise that is not Gaussian, assumed.
    min_quality : float, default 2.5
        The track is lost when the mean score, misses counting zero, falls below it: noise seen
        through a small gate passes for a detection in a third of the frames and scores about 1;
        assumed.
    max_sigma : float, default 200.0
        The search stops growing here, px.
    """

    def __init__(
        self,
        acceleration_density: float = 50.0,
        velocity_sigma: float = 15.0,
        lost_speed: float = 150.0,
        coast_time: float = 0.5,
        acquire_score: float = 7.0,
        min_quality: float = 2.5,
        max_sigma: float = 200.0,
    ) -> None:
        self.acceleration_density = acceleration_density
        self.velocity_sigma = velocity_sigma
        self.lost_speed = lost_speed
        self.coast_time = coast_time
        self.acquire_score = acquire_score
        self.min_quality = min_quality
        self.max_sigma = max_sigma
        self._started = False

    def start(self, position: ArrayLike, sigma: float, t: float) -> None:
        """Begin a track at a position (2,), px, known to `sigma` px (one standard deviation).

        A frame taken at `t` itself is still news.

        Raises
        ------
        UserError
            If `sigma` is not positive or the position is not finite.
        """
        x = np.asarray(position, float)
        if not (x.shape == (2,) and np.isfinite(x).all() and sigma > 0):
            raise UserError(
                f"tracker: start at {np.round(x, 1).tolist()} +- {sigma:g} px; "
                "allowed: a finite (u, v) and sigma > 0"
            )
        self._begin(x, sigma**2 * np.eye(2), t)
        self._angle: complex = 0.0  # mean of exp(2 i angle): a bar looks the same turned by pi
        self._usual = 0.0
        self._quality = 0.0
        self._seen = False
        self._fresh = True
        self._started = True

    def _begin(self, position: Array, covariance: Array, t: float) -> None:
        self._x = np.concatenate([position, np.zeros(2)])
        self._p = np.zeros((4, 4))
        self._p[:2, :2] = covariance
        self._p[2:, 2:] = self.velocity_sigma**2 * np.eye(2)
        self._t = self._last_hit = t
        self._score = 0.0
        self._step = 0
        self._suspects: list[_Suspect] = []

    def update(
        self, detections: Sequence[Detection], t: float, corridor: Prior | None = None
    ) -> Track:
        """Advance to a frame taken at `t` and take in the detection that fits best.

        Frames may come at any spacing; one not later than the last changes nothing.

        Parameters
        ----------
        detections : sequence of Detection
            In that frame; may be empty.
        t : float
            Exposure time, s.
        corridor : callable, optional
            (2,) px -> px outside of where the device can be, such as `Corridor`.
        """
        if not self.is_news(t):
            return self._track()
        searching = not self._seen or self.state == "lost"
        self._x, self._p = self._advanced(t)
        self._t, self._fresh = t, False
        ranked = self._ranked(detections, corridor)
        if searching:
            self._acquire(ranked)
            return self._track()
        floor = max(WEAK * self._usual, _noise_peak(self._p[:2, :2]) + ABOVE_NOISE)
        likely = [d for d in ranked if d.score >= floor]
        if likely:
            self._correct(likely[0])
        else:
            self._miss()
        return self._track()

    def is_news(self, t: float) -> bool:
        """True if a frame taken at `t` is later than all that was taken in.

        Raises
        ------
        UserError
            If the tracker was not started.
        """
        self._check_started()
        return t > self._t or (self._fresh and t == self._t)

    def predict(self, t: float) -> Track:
        """Return where the device will be at `t` (not before the last update); changes nothing."""
        self._check_started()
        if t <= self._t:
            return self._track()
        x, p = self._advanced(t)
        return self._track(x, p, t)

    def search(self, t: float) -> tuple[Array, float]:
        """Centre (2,) and radius, px, of where to look in a frame taken at `t`."""
        ahead = self.predict(t)
        sigma = float(np.sqrt(np.linalg.eigvalsh(ahead.covariance[:2, :2])[-1]))
        return ahead.position, float(np.sqrt(GATE)) * sigma + 4.0

    @property
    def state(self) -> _State:
        """State as of the last update: "tracking", "coasting" or "lost"."""
        return self._state_at(self._t)

    def _state_at(self, t: float) -> _State:
        if not self._seen:
            return "coasting"
        if t - self._last_hit > self.coast_time or self._quality < self.min_quality:
            return "lost"
        return "tracking" if self._t == self._last_hit else "coasting"

    def _check_started(self) -> None:
        if not self._started:
            raise UserError("tracker: not started; call start(position, sigma, t) first")

    def _advanced(self, t: float) -> tuple[Array, Array]:
        dt = t - self._t
        if not self._seen:
            return self._x, self._widened(HOLD_SPEED * dt, HOLD_SIGMA)
        f = np.eye(4)
        f[:2, 2:] = dt * np.eye(2)
        if self._t > self._last_hit:
            # An unseen device may have stopped: forget its velocity over the coasting time.
            f[2:, 2:] *= np.exp(-dt / self.coast_time)
        q = self.acceleration_density * NOISE_STEPS[self._step]
        noise = np.kron(np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]), np.eye(2)) * q
        x, p = f @ self._x, f @ self._p @ f.T + noise
        if self._state_at(t) == "lost":
            p = self._widened(self.lost_speed * dt, self.max_sigma)
        return x, p

    def _widened(self, growth: float, limit: float) -> Array:
        """Covariance whose positional deviation grows linearly: speed unknown, but bounded."""
        sigma = float(np.sqrt(np.linalg.eigvalsh(self._p[:2, :2])[-1]))
        p = np.zeros((4, 4))
        p[:2, :2] = max(min(sigma + growth, limit), sigma) ** 2 * np.eye(2)
        p[2:, 2:] = self.velocity_sigma**2 * np.eye(2)
        return p

    def _ranked(self, detections: Sequence[Detection], corridor: Prior | None) -> list[Detection]:
        """Detections in the gate, least cost (minus twice the log likelihood) first."""
        cap = STRONG * self._usual if self._usual else np.inf
        costs: list[tuple[float, int]] = []
        for i, d in enumerate(detections):
            innovation = self._p[:2, :2] + d.covariance
            offset = d.position - self._x[:2]
            distance = float(offset @ np.linalg.solve(innovation, offset))
            outside = corridor(d.position) / CORRIDOR_SIGMA if corridor else 0.0
            if distance > GATE or outside > OUTSIDE:
                continue
            spread = float(np.log(np.linalg.det(innovation)))
            costs.append((distance + spread + outside**2 - min(d.score, cap) ** 2, i))
        return [detections[i] for _, i in sorted(costs)]

    def _correct(self, d: Detection) -> None:
        innovation = self._p[:2, :2] + d.covariance
        offset = d.position - self._x[:2]
        surprise = float(offset @ np.linalg.solve(innovation, offset))
        gain = np.linalg.solve(innovation, self._p[:2]).T
        self._x = self._x + gain @ offset
        # Joseph's form keeps the covariance symmetric and positive.
        keep = np.eye(4)
        keep[:, :2] -= gain
        self._p = keep @ self._p @ keep.T + gain @ d.covariance @ gain.T
        if surprise > SURPRISE:
            self._step = min(self._step + 1, len(NOISE_STEPS) - 1)
        elif surprise < CALM:
            self._step = max(self._step - 1, 0)
        self._hit(d)

    def _hit(self, d: Detection) -> None:
        self._last_hit, self._score = self._t, d.score
        self._usual += (d.score - self._usual) / SCORE_MEMORY
        self._quality += (d.score - self._quality) / SCORE_MEMORY
        # Weighted by the share of the score that is not noise, a faint frame turns it little.
        weight = 0.5 * d.score**2 / (d.score**2 + self._usual**2)
        self._angle += (np.exp(2j * d.angle) - self._angle) * (weight if self._seen else 1.0)
        self._seen = True

    def _miss(self) -> None:
        self._score = 0.0
        self._quality -= self._quality / SCORE_MEMORY
        self._step = min(self._step + 1, len(NOISE_STEPS) - 1)

    def _acquire(self, candidates: list[Detection]) -> None:
        """Begin on one strong detection, or where fainter ones keep coming up."""
        self._score = 0.0
        candidates = [d for d in candidates if d.confirmed]
        for d in candidates:
            if d.score >= self.acquire_score:
                self._take_up(d)
                return
        old = self._suspects
        self._suspects = []
        for d in candidates:
            if d.score <= FAINT:
                continue
            matched = [s for s in old if s.could_be(d, self._t, 2 * self.velocity_sigma)]
            before = max((s.evidence for s in matched), default=0.0)
            old = [s for s in old if s not in matched]
            evidence = before + d.score - FAINT
            if evidence >= ENOUGH:
                self._take_up(d)
                return
            self._suspects.append(_Suspect(d, self._t, evidence))
        faded = [_Suspect(s.detection, s.t, FADE * s.evidence) for s in old]
        self._suspects += [s for s in faded if s.evidence > FORGOTTEN]

    def _take_up(self, d: Detection) -> None:
        self._begin(d.position, d.covariance, self._t)
        self._usual = self._quality = d.score
        self._hit(d)

    def _track(
        self, x: Array | None = None, p: Array | None = None, t: float | None = None
    ) -> Track:
        x, p = (self._x if x is None else x), (self._p if p is None else p)
        at = self._t if t is None else t
        angle = (float(np.angle(self._angle)) / 2 + np.pi / 2) % np.pi - np.pi / 2
        state = self._state_at(at)
        score = self._score if at == self._t else 0.0
        return Track(at, x[:2].copy(), x[2:].copy(), p.copy(), angle, state, score)
