"""The classical baseline detector: oriented matched filters on frame minus background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdtwin.errors import UserError
from mmdtwin.frame import Frame
from mmdtwin.geometry import Array
from mmdtwin.perception.background import MAD_TO_SIGMA, BackgroundEstimate, Image
from mmdtwin.perception.departure import PairFilter, places
from mmdtwin.perception.detector import Detection, Detector, Region
from mmdtwin.perception.filters import FilterBank
from mmdtwin.perception.residual import ResidualModel

MAX_FINE_RADIUS = 60.0  # px; beyond it the half-resolution search is faster
COARSE_ERROR = 4.0  # px; a half-resolution peak is this close to the full-resolution one; assumed
COARSE_STEP = np.pi / 6  # rad
SIZE_STEP = 32  # px; transform sizes are multiples of it, so that few template spectra are kept
MODEL_ERROR = 0.35  # px, each axis; left by the finite set of templates, set on sequences
GUARD = 4.0  # px around the device that never enter the background: blur and bending; assumed
SINGLE_SCORE = 6.0  # in one frame without a background, anatomy passes for less than this; assumed
PAIR_SCORE = 6.5  # at which a pair's error doubles, set on sequences
PAIR_THRESHOLD = 5.0  # reported, with a wide error; assumed
PAIR_ERROR = 0.8  # px, each axis, of a clear pair; doubled at PAIR_SCORE, set on sequences
CLUTTER_ERROR = 2.0  # px, each axis; pull of unknown anatomy on an unconfirmed detection, assumed
EXCESS_SCORE = 4.0  # score at which the variance is twice its bound; set on sequences
TURN = np.radians(20.0)  # spread of the direction about that of the last frames; assumed
SHAPE_COST = 1.0  # of changing shape, as a squared deviation; assumed
MAX_COST = 9.0  # a device may flip; assumed
TYPICAL_SCORE = 5.0  # at which a squared deviation turns into a score: d(s^2) = 2 s ds
FORGET = 0.7  # per frame, so that one bad match does no harm; assumed
CONFIRMED_SHARE = 0.9  # of the device that must have a known background: parts mislead; assumed


@dataclass(frozen=True, eq=False)
class _Crop:
    """A square cut out of the image, px: its side, its first pixel (u, v) in the image (may lie
    outside), the rows and columns of the image it covers, and where these lie in the square."""

    size: int
    origin: Array
    window: tuple[slice, slice]
    inside: tuple[slice, slice]


class MatchedFilterDetector(Detector):
    """Oriented matched filters on the frame minus the background of past frames.

    Each template is correlated with the weighted residual of the log image. The weight of a pixel
    is the inverse of its noise variance: signal (quantum noise) times n / (n + 1) for a
    background of n frames. Where no background exists, the frame itself is searched with
    prewhitened filters, in which anatomy counts as noise. Every response is divided by its own
    standard deviation in the measured noise spectrum, so the score is a signal-to-noise ratio
    whatever the imager's blur and gain.

    Parameters
    ----------
    length, width : float
        Full size of the device's shadow, px.
    blur : float, default 0.7
        Standard deviation of the imaging blur, px; assumed.
    threshold : float, default 3.0
        Smallest score reported. Noise alone passes it now and then in a search window of a few
        device areas; the tracker's gate deals with that.
    max_detections : int, default 8
        Largest number reported.
    background : BackgroundEstimate, optional
        Default settings if omitted.

    Raises
    ------
    UserError
        If the device is smaller than a pixel or wider than long.
    """

    def __init__(
        self,
        length: float,
        width: float,
        blur: float = 0.7,
        threshold: float = 3.0,
        max_detections: int = 8,
        background: BackgroundEstimate | None = None,
    ) -> None:
        if not 1.0 <= width <= length:
            raise UserError(
                f"detector: device of {length:g} x {width:g} px; allowed: length >= width >= 1 px"
            )
        self.length, self.width = float(length), float(width)
        self.threshold = threshold
        self.max_detections = max_detections
        self.background = background or BackgroundEstimate()
        self._bank = FilterBank(self.length, self.width, blur)
        # Half resolution and half the orientations: this only ranks places for the fine search.
        self._coarse = FilterBank(self.length / 2, self.width / 2, max(blur / 2, 0.5), COARSE_STEP)
        self._model = ResidualModel(self.background, self._bank.tile, self.length)
        # A Gaussian of about the area of the device.
        self._device_sigma = float(np.sqrt(self.length * self.width / (4 * np.pi)))
        self._pairs = PairFilter(self._bank)
        self._found: list[tuple[Detection, int]] = []  # last detections and their templates
        self._handicap = np.zeros(len(self._bank.bars), np.float32)
        self._first: tuple[Array, float] = (np.zeros(2), 0.0)  # where it was when learning began
        self._matched: tuple[Frame, Image, float] | None = None

    def reset(self) -> None:
        """Forget the background and the noise."""
        self.background.reset()
        self._model.forget_noise()
        self._matched = None
        self._found = []
        self._handicap[:] = 0.0

    def detect(self, frame: Frame, region: Region | None = None) -> list[Detection]:
        """Return detections, best first; see `Detector.detect`."""
        log, gain = self._match(frame)
        self._model.measure(log, gain)
        self._found = []
        if region is not None and float(region[1]) <= MAX_FINE_RADIUS:
            found = self._fine(log, gain, np.asarray(region[0], float), float(region[1]))
        else:
            centres = self._coarse_peaks(log, gain, region)
            found = [d for c in centres for d in self._fine(log, gain, c, COARSE_ERROR)]
        found += self._departure(log, gain, region)
        return self._suppress(found)

    def learn(self, frame: Frame, position: ArrayLike, uncertainty: float) -> None:
        """Take the frame into the background, except a disc that must hold the device."""
        log, gain = self._match(frame)
        self._remember(np.asarray(position, float))
        if not self.background.frames:
            self._first = (np.asarray(position, float), uncertainty)
        radius = self.length / 2 + GUARD + uncertainty
        height, width = log.shape
        u, v = np.asarray(position, float)
        left, top = int(np.clip(u - radius, 0, width)), int(np.clip(v - radius, 0, height))
        right = int(np.clip(u + radius + 1, left, width))
        bottom = int(np.clip(v + radius + 1, top, height))
        du, dv = np.arange(left, right) - u, np.arange(top, bottom) - v
        excluded = du[None, :] ** 2 + dv[:, None] ** 2 <= radius**2
        self.background.update(log, gain, excluded, (top, left))

    def _remember(self, position: Array) -> None:
        """Handicap templates unlike the one that fitted best where the device turned out to be."""
        gaps = [float(np.hypot(*(d.position - position))) for d, _ in self._found]
        if not gaps or min(gaps) > self.width:
            self._handicap *= FORGET
            return
        last = self._bank.bars[self._found[int(np.argmin(gaps))][1]]
        angles = np.array([bar.angle for bar in self._bank.bars])
        shapes = np.array([bar.shape for bar in self._bank.bars])
        turn = np.abs((angles - last.angle + np.pi / 2) % np.pi - np.pi / 2)
        cost = (turn / TURN) ** 2 + SHAPE_COST * (shapes != last.shape)
        fresh = np.minimum(cost, MAX_COST) / (2.0 * TYPICAL_SCORE)
        self._handicap += ((fresh - self._handicap) * (1.0 - FORGET)).astype(np.float32)

    def _match(self, frame: Frame) -> tuple[Image, float]:
        # `detect` and `learn` are given the same frame one after the other.
        if self._matched is None or self._matched[0] is not frame:
            log = BackgroundEstimate.log(frame.image)
            known = self.background.frames
            gain = self.background.match(log)
            if known and not self.background.frames:
                self._model.forget_noise()
            self._matched = (frame, log, gain)
        return self._matched[1], self._matched[2]

    def _fine(self, log: Image, gain: float, centre: Array, radius: float) -> list[Detection]:
        """Search a disc at full resolution."""
        crop = self._crop(log.shape, centre, radius)
        if crop is None:
            return []
        if not self.background.frames:
            return self._single_frame(log, crop, centre, radius)
        if not self._model.noise.size:
            return []
        return self._against_background(log, gain, crop, centre, radius)

    def _crop(self, shape: tuple[int, ...], centre: Array, radius: float) -> _Crop | None:
        half = int(np.ceil(radius)) + self._bank.reach
        size = SIZE_STEP * int(np.ceil((2 * half + 1) / SIZE_STEP))
        column, row = (int(c) - size // 2 for c in np.rint(centre))
        top, left = max(row, 0), max(column, 0)
        bottom, right = min(row + size, shape[0]), min(column + size, shape[1])
        if bottom - top < self.width or right - left < self.width:
            return None  # the disc lies outside the image
        inside = np.s_[top - row : bottom - row, left - column : right - column]
        return _Crop(size, np.array([column, row], float), np.s_[top:bottom, left:right], inside)

    def _against_background(
        self, log: Image, gain: float, crop: _Crop, centre: Array, radius: float
    ) -> list[Detection]:
        snr, weight = self._snr(log, gain, crop)
        known = (weight > 0).astype(np.float32)
        confirmed = cv2.GaussianBlur(known, (0, 0), self._device_sigma) > CONFIRMED_SHARE
        snr -= self._handicap[:, None, None]
        best = np.where(confirmed, snr.max(axis=0), np.float32(0.0))

        def unit(index: int) -> Array:
            return self._bank.position_covariance(index, self._model.noise)

        return self._detections(snr, best, unit, MODEL_ERROR, crop, centre, radius)

    def _departure(self, log: Image, gain: float, region: Region | None) -> list[Detection]:
        """See the device move off the place where it hides its own background."""
        start, spread = self._first
        # Further away it stands on a known background, and needs no pair.
        reach = spread + GUARD + self.length
        crop = self._crop(log.shape, start, reach)
        if crop is None or not self.background.frames or not self._model.noise.size:
            return []
        if self.background.count[crop.window].all():
            return []
        before = places(start - crop.origin, spread, crop.size)
        after = places(start - crop.origin, reach, crop.size)
        if region is not None:
            offsets = after + crop.origin - np.asarray(region[0], float)
            after = after[np.hypot(*offsets.T) <= float(region[1])]
        if not len(after):
            return []
        snr, _ = self._snr(log, gain, crop, change=True)
        pair = self._pairs.find(snr, self._model.noise, before, after)
        if pair is None or pair[1] < PAIR_THRESHOLD:
            return []
        place, score, template = pair
        bar = self._bank.bars[template]
        error = PAIR_ERROR * (1.0 + (PAIR_SCORE / score) ** 6)
        detection = Detection(
            position=crop.origin + place,
            covariance=error**2 * np.eye(2),
            score=score,
            angle=bar.angle,
            length=bar.length,
        )
        return [detection]

    def _single_frame(
        self, log: Image, crop: _Crop, centre: Array, radius: float
    ) -> list[Detection]:
        single = np.zeros((crop.size, crop.size), np.float32)
        single[crop.inside] = self._model.high_pass(log[crop.window])
        snr = -self._bank.whitened_snr(single * self._taper(crop.size), self._model.clutter)
        best = snr.max(axis=0)
        best[best < SINGLE_SCORE] = 0.0

        def unit(index: int) -> Array:
            return self._bank.whitened_covariance(index, self._model.clutter)

        return self._detections(snr, best, unit, CLUTTER_ERROR, crop, centre, radius, False)

    def _detections(
        self,
        snr: Image,
        best: Image,
        unit: Callable[[int], Array],
        error: float,
        crop: _Crop,
        centre: Array,
        radius: float,
        confirmed: bool = True,
    ) -> list[Detection]:
        """Turn the peaks of `best` (n, n) into detections, with `snr` (k, n, n) behind them."""
        detections = []
        for v, u in self._peaks(best, self.width, centre - crop.origin, radius):
            index = int(snr[:, v, u].argmax())
            score = float(snr[index, v, u])
            bar = self._bank.bars[index]
            axis = np.array([np.cos(bar.angle), np.sin(bar.angle)])
            # A part of the device fits a shorter bar as well as a device seen short does.
            part = np.outer(axis, axis) * ((self.length - bar.length) / 4) ** 2
            covariance = unit(index) * (_excess(score) / score**2) + error**2 * np.eye(2)
            offset = _peak_offset(snr[index, v - 2 : v + 3, u - 2 : u + 3])
            detection = Detection(
                position=crop.origin + np.array([u, v]) + offset,
                covariance=covariance + part,
                score=score,
                angle=self._angle(snr[:, v, u], index),
                length=bar.length,
                confirmed=confirmed,
            )
            detections.append(detection)
            self._found.append((detection, index))
        return detections

    def _taper(self, size: int) -> Image:
        # Fades the border, which no template centred in the disc needs but the transform wraps.
        edge = np.minimum(np.arange(size), np.arange(size)[::-1]) / (self._bank.reach / 2)
        ramp = np.minimum(edge, 1.0)
        return np.outer(ramp, ramp).astype(np.float32)

    def _snr(
        self, log: Image, gain: float, crop: _Crop, change: bool = False
    ) -> tuple[Image, Image]:
        """SNR (k, n, n) of a dark bar of every template at every place, and the weight (n, n)."""
        weighted, weight = np.zeros((2, crop.size, crop.size), np.float32)
        weighted[crop.inside], weight[crop.inside] = self._model.residual(
            log, gain, crop.window, change
        )
        sigma = self._bank.response_sigma(self._model.noise).astype(np.float32)
        # The weight is smooth on the scale of a device, so its template-weighted mean is nearly
        # its Gaussian mean: one blur in place of one more correlation per template.
        mean_weight = cv2.GaussianBlur(weight, (0, 0), self._device_sigma)
        floor = np.float32(1e-3) * mean_weight.max()
        scale = 1.0 / np.sqrt(np.maximum(mean_weight, floor))
        snr = self._bank.correlate(weighted) * scale * (-1.0 / sigma)[:, None, None]
        return snr, weight

    def _angle(self, snr: NDArray[np.float32], index: int) -> float:
        before, after, step = self._bank.neighbours[index]
        a, b, c = float(snr[before]), float(snr[index]), float(snr[after])
        bend = a - 2 * b + c
        shift = 0.5 * (a - c) / bend * step if bend < 0 else 0.0
        angle = self._bank.bars[index].angle + shift
        return float((angle + np.pi / 2) % np.pi - np.pi / 2)

    def _coarse_peaks(self, log: Image, gain: float, region: Region | None) -> list[Array]:
        """Centres (u, v) of the best places in the frame, from half resolution."""
        if self.background.frames:
            full = self._model.residual(log, gain, np.s_[:, :])
        else:
            full = (self._model.high_pass(log), np.ones_like(log))
        width, height = log.shape[1] // 2, log.shape[0] // 2
        weighted, weight = (
            cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA) for x in full
        )
        side = max(width, height) + self._coarse.reach
        size = SIZE_STEP * int(np.ceil(side / SIZE_STEP))
        padded = np.zeros((size, size), np.float32)
        padded[:height, :width] = weighted
        mean_weight = cv2.GaussianBlur(weight, (0, 0), self._device_sigma / 2)
        scale = 1.0 / np.sqrt(np.maximum(mean_weight, np.float32(1e-3) * mean_weight.max()))
        best = np.full((height, width), -np.inf, np.float32)
        for response in self._coarse.correlate_each(padded):
            score = response[:height, :width] * scale
            # A whole frame holds enough samples to take the noise from the responses themselves.
            sigma = MAD_TO_SIGMA * np.median(np.abs(score[::4, ::4]))
            np.maximum(best, score * (-1.0 / max(float(sigma), 1e-12)), out=best)
        centre, radius = (np.zeros(2), np.inf) if region is None else region
        half_centre = (np.asarray(centre, float) - 0.5) / 2
        peaks = self._peaks(best, self.length / 2, half_centre, float(radius) / 2)
        return [2.0 * np.array([u, v], float) + 0.5 for v, u in peaks]

    def _peaks(
        self, score: Image, distance: float, centre: Array, radius: float
    ) -> NDArray[np.intp]:
        """Rows and columns (n, 2) of the highest local maxima within a disc, best first."""
        side = 2 * max(int(distance / 2), 1) + 1
        found = score >= cv2.dilate(score, np.ones((side, side), np.uint8))
        found &= score > self.threshold
        for edge in (found[:2], found[-2:], found[:, :2], found[:, -2:]):
            edge[...] = False  # no room for the 5 x 5 patch of the subpixel fit
        places = np.argwhere(found)
        places = places[np.hypot(places[:, 1] - centre[0], places[:, 0] - centre[1]) <= radius]
        order = np.argsort(-score[places[:, 0], places[:, 1]], kind="stable")
        return places[order[: self.max_detections]]

    def _suppress(self, found: list[Detection]) -> list[Detection]:
        """Keep the best of those closer together than a device's width."""
        kept: list[Detection] = []
        for candidate in sorted(found, key=lambda d: -d.score):
            if all(np.hypot(*(candidate.position - k.position)) > self.width for k in kept):
                kept.append(candidate)
        return kept[: self.max_detections]


def _excess(score: float) -> float:
    """By how much the variance exceeds its bound: faint peaks jump to noise (threshold effect)."""
    return 1.0 + (EXCESS_SCORE / score) ** 4


def _paraboloid() -> Array:
    v, u = (g.ravel().astype(float) for g in np.mgrid[-2:3, -2:3])
    return np.linalg.pinv(np.stack([np.ones(25), u, v, u * u, u * v, v * v], axis=1))


_PARABOLOID = _paraboloid()


def _peak_offset(patch: NDArray[np.float32]) -> Array:
    """Maximum (u, v) of the paraboloid fitted to a 5 x 5 patch, px from its centre."""
    c = _PARABOLOID @ patch.ravel().astype(float)
    hessian = np.array([[2 * c[3], c[4]], [c[4], 2 * c[5]]])
    if hessian[0, 0] >= 0 or np.linalg.det(hessian) <= 0:
        return np.zeros(2)
    return np.clip(-np.linalg.solve(hessian, c[1:3]), -1.0, 1.0)
