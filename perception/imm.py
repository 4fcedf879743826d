"""Following a position in an image by a mixture of motion models.

The interacting-multiple-model filter of Blom and Bar-Shalom (The interacting multiple model
algorithm for systems with Markovian switching coefficients, IEEE Transactions on Automatic Control
33, 1988): one Kalman filter for a device at rest, one for a steady velocity and one for a changing
one, mixed before every step as a Markov chain between them would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmdtwin.errors import UserError
from mmdtwin.geometry import Array
from mmdtwin.perception.gaussians import checked_position, mixture

MODELS = ("rest", "velocity", "acceleration")
ORDERS = 3  # position, velocity, acceleration
# Product of two successive whitened innovations above which they agree; for white ones it has a
# Laplace distribution of scale 1 and exceeds this once in two hundred.
AGREE = 4.6
OUTLIER = 9.2  # 99 % of chi-square with 2 degrees of freedom: alone, it says nothing of the noise,
# and no frame counts as more than this many times the noise so far
CALM = 4.6  # 90 %: below it the process noise steps back, and what follows stands alone
NOISE_STEPS = (1.0, 5.0, 100.0)  # multipliers of the process noise; as in tracker.py
MEMORY = 5.0  # frames over which the measurement noise is averaged; assumed: over 5 its deviation
# is known to about 20 % and follows a jump in 10
# Limits of the factor on the detector's covariance. Innovations smaller than expected are put down
# to a process noise that is stated too large, and never to a detector better than it says: from
# their size alone the two cannot be told apart.
LEAST_NOISE, MOST_NOISE = 1.0, 100.0


@dataclass(frozen=True)
class Harmonic:
    """Motion of the tissue around the device at a known frequency: breathing, heartbeat.

    Parameters
    ----------
    frequency : float
        Hz; about 0.25 for breathing, 1.2 for the heart.
    sigma : float, default 10.0
        Deviation, px per axis, of the amplitude before anything is seen: 2 mm at 0.2 mm/px;
        assumed.
    drift : float, default 0.1
        px^2/s by which the variance of the amplitude grows: breaths differ; assumed.

    Raises
    ------
    UserError
        If the frequency or sigma is not positive, or the drift negative.
    """

    frequency: float
    sigma: float = 10.0
    drift: float = 0.1

    def __post_init__(self) -> None:
        values = (self.frequency, self.sigma, self.drift)
        good = all(math.isfinite(value) for value in values)
        if not (good and self.frequency > 0.0 and self.sigma > 0.0 and self.drift >= 0.0):
            raise UserError(
                f"harmonic: frequency {self.frequency} Hz, sigma {self.sigma} px, drift "
                f"{self.drift} px^2/s; allowed: finite, the first two positive, drift >= 0"
            )


class Imm:
    """Kalman filters at rest, of constant velocity and of constant acceleration, mixed.

    At rest the position drifts as a random walk; a velocity drifts as one under white
    acceleration, an acceleration under white jerk (Bar-Shalom, Li and Kirubarajan, Estimation with
    Applications to Tracking and Navigation, 2001, section 6.2). What a model lacks is 0 in it; a
    model that takes over from it begins with a velocity and an acceleration drawn at random
    (Granstrom, Willett and Bar-Shalom, Systematic approach to IMM mixing for unequal dimension
    states, IEEE Transactions on Aerospace and Electronic Systems 51, 2015).

    Harmonics add to the position of all models. Each is a pair per axis that turns at its
    frequency; the first of the pair is what is seen.

    The filter can learn from its innovations. Two in a row that are large and point the same way
    are put down to the motion, others to the noise of the detector, and one that is large after a
    small one to neither.

    Parameters
    ----------
    position_density : float, default 1.0
        Of the device at rest, px^2/s: it strays by a pixel in a second; assumed.
    acceleration_density : float, default 50.0
        Of the model of constant velocity, px^2/s^3; as in `Tracker`.
    jerk_density : float, default 1e4
        Of the model of constant acceleration, px^2/s^5: a change of acceleration of 100 px/s^2
        (20 mm/s^2 at 0.2 mm/px) in a second; assumed.
    velocity_sigma : float, default 15.0
        Deviation of the velocity, px/s per axis, of a device that begins to move; as in `Tracker`.
    acceleration_sigma : float, default 50.0
        Deviation of the acceleration, px/s^2 per axis, of one that begins to accelerate: 10 mm/s^2
        at 0.2 mm/px; assumed.
    sojourn : float, default 1.0
        Mean time, s, after which the device changes model; infinite if it never does; assumed.
    harmonics : sequence of Harmonic, optional
        None by default.
    adapt_noise : bool, default True
        Scale the detector's covariances by a factor learned from the innovations.
    adapt_motion : bool, default True
        Multiply the process noise by `NOISE_STEPS` while innovations agree.

    Raises
    ------
    UserError
        If a density or deviation is negative or not finite, or the sojourn not positive.
    """

    def __init__(
        self,
        position_density: float = 1.0,
        acceleration_density: float = 50.0,
        jerk_density: float = 1e4,
        velocity_sigma: float = 15.0,
        acceleration_sigma: float = 50.0,
        sojourn: float = 1.0,
        harmonics: Sequence[Harmonic] = (),
        adapt_noise: bool = True,
        adapt_motion: bool = True,
    ) -> None:
        densities = (position_density, acceleration_density, jerk_density)
        values = (*densities, velocity_sigma, acceleration_sigma)
        if not all(math.isfinite(value) and value >= 0.0 for value in values):
            raise UserError(f"imm: densities and deviations {values}; allowed: finite and >= 0")
        if not sojourn > 0.0:
            raise UserError(f"imm: sojourn {sojourn} s; allowed: more than 0")
        self.densities = densities
        self.sojourn = sojourn
        self.harmonics = tuple(harmonics)
        self.adapt_noise = adapt_noise
        self.adapt_motion = adapt_motion
        self._variances = (0.0, velocity_sigma**2, acceleration_sigma**2)
        self._unknown = self._lacking()
        self._shown = self._showing()
        self._started = False

    def start(
        self,
        position: ArrayLike,
        covariance: ArrayLike,
        t: float,
        probabilities: ArrayLike = (1 / 3, 1 / 3, 1 / 3),
    ) -> None:
        """Begin at a position (2,), px, of covariance (2, 2), px^2, at time `t`, s.

        Parameters
        ----------
        position, covariance : (2,) and (2, 2) array
            Where the device is seen, harmonic motion included.
        t : float
            s.
        probabilities : (3,) array, optional
            Of the `MODELS`; equal by default.

        Raises
        ------
        UserError
            If the position or time is not finite, the covariance not positive definite, or the
            probabilities are negative or all zero.
        """
        z, c = checked_position("imm: start", position, covariance)
        mu = np.asarray(probabilities, float)
        good = mu.shape == (3,) and np.isfinite(mu).all() and mu.min() >= 0.0 and mu.sum() > 0.0
        if not (good and math.isfinite(t)):
            raise UserError(
                f"imm: start at {t} s with probabilities {mu.tolist()}; allowed: a finite time "
                "and three numbers >= 0, not all 0"
            )
        axis = np.zeros((3, len(self._unknown[0]) // 2))
        axis[1:, 1] = self._variances[1]
        axis[2:, 2] = self._variances[2]
        for k, harmonic in enumerate(self.harmonics):
            axis[:, ORDERS + 2 * k : ORDERS + 2 * k + 2] = harmonic.sigma**2
        p = np.stack([np.diag(np.repeat(row, 2)) for row in axis])
        p[:, :2, :2] = c
        # The place at rest is what is seen less the harmonics: they are unknown together.
        less = np.eye(p.shape[-1])
        less[:2, 2 * ORDERS :] = -self._shown[:2, 2 * ORDERS :]
        self._p = less @ p @ less.T
        self._x = np.zeros(p.shape[:2])
        self._x[:, :2] = z
        self._mu = mu / mu.sum()
        self._t = t
        self._noise = 1.0
        self._weight = MEMORY
        self._step = 0
        self._last = np.zeros(2)
        self._started = True

    def predict(self, t: float) -> tuple[Array, Array]:
        """Return where the device will be seen at `t`, such as when a command takes effect.

        Changes nothing. A time before the present is taken for the present.

        Returns
        -------
        mean : (6,) array
            Position, velocity and acceleration (u, v, du, dv, ddu, ddv) in px and s, the
            harmonics' included.
        covariance : (6, 6) array
        """
        mean, covariance = mixture(*self._advanced(max(t, self.t)))
        return self._shown @ mean, self._shown @ covariance @ self._shown.T

    def advance(self, t: float) -> None:
        """Move on to `t`, s, the time of the next frame.

        Raises
        ------
        UserError
            If `t` is before the present, or not finite.
        """
        if t < self.t:
            raise UserError(f"imm: advance to {t} s from {self.t} s; allowed: not backwards")
        self._mu, self._x, self._p = self._advanced(t)
        self._t = t

    def innovation(self, covariance: ArrayLike) -> Array:
        """Covariance (2, 2), px^2, of a detection about the present position, for a gate.

        Parameters
        ----------
        covariance : (2, 2) array
            The detector's own, px^2.
        """
        return self.covariance[:2, :2] + self.noise * np.asarray(covariance, float)

    def likelihood(self, position: ArrayLike, covariance: ArrayLike) -> float:
        """Density, px^-2, with which a detection is expected at (2,) px; changes nothing."""
        self._check_started()
        z, c = checked_position("imm: likelihood", position, covariance)
        return float(self._mu @ np.exp(self._scored(z, self._noise * c)))

    def correct(self, position: ArrayLike, covariance: ArrayLike) -> float:
        """Take in a detection at the present time.

        Parameters
        ----------
        position, covariance : (2,) and (2, 2) array
            px and px^2, as the detector states them.

        Returns
        -------
        float
            Squared Mahalanobis distance of the detection from what was expected (the normalised
            innovation squared): chi-square with 2 degrees of freedom while the filter is right.

        Raises
        ------
        UserError
            If the filter was not started, the position is not finite or the covariance not
            positive definite.
        """
        self._check_started()
        z, c = checked_position("imm: correct", position, covariance)
        h, r = self._shown[:2], self._noise * c
        mean, p = self.state
        white = np.linalg.solve(np.linalg.cholesky(h @ p @ h.T + r), z - h @ mean)
        y, prior = z - self._x @ h.T, h @ self._p @ h.T
        scores = self._scored(z, r)
        best = scores[self._mu > 0.0].max()
        before = self._mu
        weights = before * np.exp(np.minimum(scores - best, 0.0))
        self._mu = weights / weights.sum()

        gain = np.linalg.solve(prior + r, h @ self._p).swapaxes(1, 2)
        self._x = self._x + np.einsum("jnm,jm->jn", gain, y)
        # Joseph's form keeps the covariance symmetric and positive.
        keep = np.eye(len(h[0])) - gain @ h
        self._p = keep @ self._p @ keep.swapaxes(1, 2) + gain @ r @ gain.swapaxes(1, 2)
        self._learn(white, before, y, prior, c)
        return float(white @ white)

    @property
    def t(self) -> float:
        """Present time, s."""
        self._check_started()
        return self._t

    @property
    def mean(self) -> Array:
        """What `predict` returns for the present, (6,)."""
        return self._shown @ self.state[0]

    @property
    def covariance(self) -> Array:
        """Covariance (6, 6) of `mean`."""
        return self._shown @ self.state[1] @ self._shown.T

    @property
    def state(self) -> tuple[Array, Array]:
        """Mean (n,) and covariance (n, n) of all that is estimated, n = 6 + 4 per harmonic.

        First position, velocity and acceleration (u, v each) without the harmonics, so that the
        first two are the place in the tissue at rest. Then for each harmonic the displacement
        (u, v), px, and that of a quarter of a period before.
        """
        self._check_started()
        return mixture(self._mu, self._x, self._p)

    @property
    def probabilities(self) -> Array:
        """Probability of each of the `MODELS`, (3,)."""
        self._check_started()
        return self._mu.copy()

    @property
    def noise(self) -> float:
        """Factor on the detector's covariances, as learned: 1 if it is right about them.

        It comes out a little low, by about a tenth as a standard deviation.
        """
        self._check_started()
        return self._noise

    @property
    def motion(self) -> float:
        """Factor on the process noise at present."""
        self._check_started()
        return NOISE_STEPS[self._step]

    def _check_started(self) -> None:
        if not self._started:
            raise UserError("imm: not started; call start(position, covariance, t) first")

    def _lacking(self) -> Array:
        """Variances (3, n) of what each model does not know of the others."""
        axis = np.zeros((3, ORDERS + 2 * len(self.harmonics)))
        axis[0, 1] = self._variances[1]
        axis[:2, 2] = self._variances[2]
        return np.repeat(axis, 2, axis=1)

    def _showing(self) -> Array:
        """What is seen (6, n): position, velocity and acceleration with the harmonics."""
        axis = np.eye(ORDERS, ORDERS + 2 * len(self.harmonics))
        for k, harmonic in enumerate(self.harmonics):
            turn, i = 2.0 * np.pi * harmonic.frequency, ORDERS + 2 * k
            axis[:, i : i + 2] = [[1.0, 0.0], [0.0, -turn], [-(turn**2), 0.0]]
        return np.kron(axis, np.eye(2)).astype(float)

    def _moves(self, dt: float) -> tuple[Array, Array]:
        """Transition and process noise of the models over dt, (3, n, n) each."""
        size = ORDERS + 2 * len(self.harmonics)
        f, q = np.zeros((3, size, size)), np.zeros((3, size, size))
        f[:, 0, 0] = f[1:, 1, 1] = f[2, 2, 2] = 1.0
        f[1:, 0, 1] = f[2, 1, 2] = dt
        f[2, 0, 2] = dt**2 / 2
        at_rest, steady, changing = np.array(self.densities) * NOISE_STEPS[self._step]
        q[0, 0, 0] = at_rest * dt
        q[1, :2, :2] = steady * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        q[2, :3, :3] = changing * np.array(
            [
                [dt**5 / 20, dt**4 / 8, dt**3 / 6],
                [dt**4 / 8, dt**3 / 3, dt**2 / 2],
                [dt**3 / 6, dt**2 / 2, dt],
            ]
        )
        for k, harmonic in enumerate(self.harmonics):
            angle, pair = 2.0 * np.pi * harmonic.frequency * dt, ORDERS + 2 * k + np.arange(2)
            c, s = np.cos(angle), np.sin(angle)
            f[:, pair[:, None], pair] = [[c, -s], [s, c]]
            q[:, pair, pair] = harmonic.drift * dt
        both = np.eye(2)[None]
        return np.kron(f, both).astype(float), np.kron(q, both).astype(float)

    def _advanced(self, t: float) -> tuple[Array, Array, Array]:
        """Probabilities (3,), means (3, n) and covariances (3, n, n) at `t`, mixed and moved."""
        if not math.isfinite(t):
            raise UserError(f"imm: time {t} s; allowed: a finite one")
        dt = t - self._t
        # The chain that leaves each model once in a sojourn, for either other, after dt.
        stay = (1.0 + 2.0 * math.exp(-1.5 * dt / self.sojourn)) / 3.0
        chain = np.full((3, 3), (1.0 - stay) / 2.0)
        np.fill_diagonal(chain, stay)
        joint = self._mu[:, None] * chain  # from, to
        mu = joint.sum(axis=0)
        weights = np.divide(joint, mu, out=np.eye(3), where=mu > 0.0)
        x = weights.T @ self._x
        apart = self._x[:, None] - x
        known = self._p + self._unknown[:, :, None] * np.eye(len(x[0]))
        p = np.einsum("ij,ikl->jkl", weights, known)
        p += np.einsum("ij,ijk,ijl->jkl", weights, apart, apart)
        f, q = self._moves(dt)
        return mu, np.einsum("jkl,jl->jk", f, x), f @ p @ f.swapaxes(1, 2) + q

    def _scored(self, z: Array, r: Array) -> Array:
        """Logarithm of the density (3,), px^-2, of a detection under each model."""
        h = self._shown[:2]
        y, s = z - self._x @ h.T, h @ self._p @ h.T + r
        distance = np.einsum("jk,jk->j", y, np.linalg.solve(s, y[..., None])[..., 0])
        return -0.5 * (distance + np.linalg.slogdet(s)[1]) - math.log(2.0 * math.pi)

    def _learn(self, white: Array, mu: Array, y: Array, prior: Array, c: Array) -> None:
        """Adapt to a whitened innovation (2,); the others are as `_match` takes them."""
        surprise, before = float(white @ white), float(self._last @ self._last)
        agreement = float(white @ self._last)
        self._last = white
        if agreement > AGREE:
            if self.adapt_motion:
                self._step = min(self._step + 1, len(NOISE_STEPS) - 1)
            return
        if surprise < CALM:
            self._step = max(self._step - 1, 0)
        if self.adapt_noise and not (surprise > OUTLIER and before < CALM):
            self._match(mu, y, prior, c)

    def _match(self, mu: Array, y: Array, prior: Array, c: Array) -> None:
        """Let the noise factor follow innovations (3, 2) by covariance matching.

        Each model's innovation squared, less the variance (3, 2, 2) that its prediction has,
        leaves that of the detection, of covariance `c` as stated (Mehra, Approaches to adaptive
        filtering, IEEE Transactions on Automatic Control 17, 1972). Models count by the probability
        (3,) they had before, since noise is readily taken for motion, and by the share of the
        detection in the variance.
        """
        relative = np.linalg.solve(c, prior)
        squared = np.einsum("jk,jk->j", y, np.linalg.solve(c, y.T).T)
        left = (squared - np.trace(relative, axis1=1, axis2=2)) / 2.0
        left = np.minimum(left, OUTLIER * self._noise)
        whole = relative + self._noise * np.eye(2)
        weights = mu * self._noise * np.trace(np.linalg.inv(whole), axis1=1, axis2=2) / 2.0
        self._weight += weights.sum() - self._weight / MEMORY
        factor = self._noise + float(weights @ (left - self._noise)) / self._weight
        self._noise = min(max(factor, LEAST_NOISE), MOST_NOISE)
