"""The learned detector as trackers use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmdtwin.frame import Frame
from mmdtwin.perception.detector import Detection, Detector, Region
from mmdtwin.perception.learned.finds import Find, apart, read_finds
from mmdtwin.perception.learned.model import Model, shipped_model
from mmdtwin.perception.learned.seen import COARSEST, REACH, brightness, checked, even, seen

TILE, OVERLAP = 1024, 128  # px; larger images are looked at in pieces
GRAIN = 32  # px: sides of regions are multiples, so that few shapes are met
BORDER = 2 * REACH  # px around a region that is looked at too
ODDS = float(np.log(512 * 512 / 16))  # log of the places of an image where a device may be


class LearnedDetector(Detector):
    """Finds devices by a network, in whole frames, regions or tiles.

    Parameters
    ----------
    folder : Path, optional
        Of the model; by default the one that ships.
    threshold : float, optional
        Score from which a find counts; by default the model's.
    threads : int
        Of the CPU.

    Raises
    ------
    UserError
        If the model is missing or broken, or onnxruntime and torch are missing.
    """

    def __init__(
        self, folder: str | Path | None = None, threshold: float | None = None, threads: int = 2
    ) -> None:
        self.model = Model(shipped_model() if folder is None else Path(folder), threads)
        self.threshold = self.model.record.threshold if threshold is None else threshold

    def find(
        self, image: NDArray, region: Region | None = None, least: float | None = None
    ) -> list[Find]:
        """Return what is found in an image (h, w), best first.

        Parameters
        ----------
        image : (h, w) array
            Grey levels of any depth; what attenuates is dark.
        region : ((2,) array, float), optional
            Centre (u, v) and radius, px, of where to look.
        least : float, optional
            Score from which to return finds; by default the threshold.

        Raises
        ------
        UserError
            If the image is not grey, too small, or has values that are no numbers.
        """
        image = checked(image)
        least = self.threshold if least is None else least
        bright = brightness(image)
        found: list[Find] = []
        for rows, columns in _pieces(image.shape, region):
            found += self._piece(image, bright, rows, columns, least)
        found.sort(key=lambda find: -find.score)
        return _unique(found, region)

    def detect(self, frame: Frame, region: Region | None = None) -> list[Detection]:
        """See `Detector.detect`; scores are those of signals whose odds are as good."""
        return [
            Detection(
                position=find.centre,
                covariance=find.sigma**2 * np.eye(2),
                score=_as_noise(find.score),
                angle=find.angle,
                length=find.length,
            )
            for find in self.find(frame.image, region)
        ]

    def reset(self) -> None:
        """Forget nothing: each frame is looked at by itself."""

    def _piece(
        self, image: NDArray, bright: float, rows: slice, columns: slice, least: float
    ) -> list[Find]:
        """Return the finds of a part of an image, which is looked at with what lies around."""
        top, left = max(rows.start - BORDER, 0), max(columns.start - BORDER, 0)
        part = image[top : rows.stop + BORDER, left : columns.stop + BORDER]
        inside = seen(part, bright)[
            :,
            rows.start - top : rows.stop - top,
            columns.start - left : columns.stop - left,
        ]
        grid, mask = self.model(even(inside))
        return [_moved(find, columns.start, rows.start) for find in read_finds(grid, mask, least)]


def _as_noise(score: float) -> float:
    """Return the signal-to-noise ratio at which a place among all others is as likely."""
    inside = min(max(score, 1e-9), 1.0 - 1e-9)
    return float(np.sqrt(2.0 * max(np.log(inside / (1.0 - inside)) + ODDS, 0.0)))


def _pieces(shape: tuple[int, ...], region: Region | None) -> list[tuple[slice, slice]]:
    """Return rows and columns of the parts of an image to be looked at."""
    height, width = shape
    if region is None:
        return [(r, c) for r in _tiles(height) for c in _tiles(width)]
    (u, v), radius = np.asarray(region[0], float), float(region[1])
    side = int(-(-(2 * radius + GRAIN + COARSEST) // GRAIN) * GRAIN)
    if side > TILE:
        return [(r, c) for r in _tiles(height) for c in _tiles(width)]
    return [(_window(v, side, height), _window(u, side, width))]


def _window(middle: float, side: int, length: int) -> slice:
    side = min(side, length)
    start = int(np.clip(round(middle - side / 2), 0, length - side)) // COARSEST * COARSEST
    return slice(start, start + side)


def _tiles(length: int) -> list[slice]:
    if length <= TILE + OVERLAP:
        return [slice(0, length)]
    count = -(-(length - OVERLAP) // (TILE - OVERLAP))
    starts = np.linspace(0, length - TILE, count).astype(int) // COARSEST * COARSEST
    return [slice(int(s), min(int(s) + TILE + COARSEST, length)) for s in starts]


def _moved(find: Find, u: int, v: int) -> Find:
    r0, r1, c0, c1 = find.box
    return replace(
        find, centre=find.centre + np.array([u, v]), box=(r0 + v, r1 + v, c0 + u, c1 + u)
    )


def _unique(found: Sequence[Find], region: Region | None) -> list[Find]:
    """Return finds, best first, without those of overlapping tiles, and outside of a region."""
    if region is not None:
        middle, radius = np.asarray(region[0], float), region[1]
        found = [find for find in found if np.hypot(*(find.centre - middle)) <= radius]
    return [found[i] for i in apart([find.centre for find in found])]
