"""Fluoroscopy sequences made with numpy alone, independent of the project's renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mmdtwin.frame import Frame, Projection

Array = NDArray[np.float64]

GREY_PER_QUANTUM = 3.0
PERIOD = 1.0 / 15.0  # s
OVERSAMPLING = 8  # samples per pixel and axis when a bar is drawn


@dataclass
class Sequence:
    """A static textured background, one moving bar, quantum noise.

    Lengths in px. `quanta` is the mean absorbed per pixel and `blur` the light spread in the
    detector, which acts on signal and noise alike; so noise is Poisson first and blurred after.
    """

    seed: int
    frames: int = 150
    size: int = 512
    contrast: float = 0.035
    length: float = 18.0
    width: float = 7.0
    quanta: float = 400.0
    blur: float = 0.5
    texture: float = 0.2  # rms over mean
    slope: float = -3.3  # of the background's power spectrum, log-log
    max_speed: float = 20.0  # px/s
    hold: tuple[int, int] = (0, 0)  # frames in which the device rests
    gain: Callable[[int], float] = lambda _: 1.0
    shift: Callable[[int], tuple[int, int]] = lambda _: (0, 0)  # of the whole scene, rows, columns
    distractor: Array | None = None  # (h, w) transmission of something static
    truth: Array = field(init=False)  # (frames, 2)
    angles: Array = field(init=False)  # (frames,)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.background = self._texture()
        if self.distractor is not None:
            self.background = self.background * self.distractor
        self.truth, self.angles = self._path()
        intrinsics = np.array([[4e3, 0, 255.5, 0], [0, 4e3, 255.5, 0], [0, 0, 1, 0.75]])
        self.projection = Projection(
            intrinsics, np.zeros(3), np.eye(3), 1.1, 0.75, 3e-4, (self.size, self.size)
        )

    def __iter__(self) -> Iterator[Frame]:
        for i in range(self.frames):
            yield self.frame(i)

    def frame(self, i: int) -> Frame:
        """Frame number `i`, with fresh noise."""
        signal = self.background.copy()
        self._draw(signal, self.truth[i], self.angles[i])
        signal = np.roll(signal, self.shift(i), axis=(0, 1)) * (self.quanta * self.gain(i))
        caught = self.rng.poisson(signal).astype(np.float32)
        seen = cv2.GaussianBlur(caught, (0, 0), self.blur)
        image = np.clip(np.rint(seen * GREY_PER_QUANTUM), 0, 4095).astype(np.uint16)
        t = i * PERIOD
        return Frame(image, i, t, t + 0.1, self.projection)

    def start(self, spread: float = 2.5) -> Array:
        """A guess of the first position, never further than 5 px off along an axis."""
        return self.truth[0] + np.clip(self.rng.normal(0, spread, 2), -5, 5)

    def _texture(self) -> Array:
        f = np.hypot(np.fft.fftfreq(self.size)[:, None], np.fft.rfftfreq(self.size)[None, :])
        f[0, 0] = np.inf
        white = np.fft.rfft2(self.rng.normal(size=(self.size, self.size)))
        image = np.fft.irfft2(white * f ** (self.slope / 2), s=(self.size, self.size))
        image *= self.texture / image.std()
        return np.clip(1.0 + image, 0.2, None)

    def _path(self) -> tuple[Array, Array]:
        position = self.rng.uniform(0.3, 0.7, 2) * self.size
        heading, angle = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(0, np.pi)
        speed, turn, spin = self.rng.uniform(0, self.max_speed), 0.0, 0.0
        places, angles = [], []
        for i in range(self.frames):
            places.append(position.copy())
            angles.append(angle)
            if self.hold[0] <= i < self.hold[1]:
                continue
            speed += self.rng.normal(0, 1.5)
            speed = self.max_speed - abs(self.max_speed - abs(speed))
            turn = 0.95 * turn + self.rng.normal(0, 0.15)
            spin = 0.95 * spin + self.rng.normal(0, 0.15)
            inward = self.size / 2 - position
            pull = np.hypot(*inward) > 0.35 * self.size
            if pull:
                away = np.arctan2(inward[1], inward[0]) - heading
                turn = 1.5 * np.sin(away)
            heading += turn * PERIOD
            angle += spin * PERIOD
            position += speed * PERIOD * np.array([np.cos(heading), np.sin(heading)])
        return np.array(places), np.array(angles)

    def _draw(self, signal: Array, centre: Array, angle: float) -> None:
        half = int(self.length) + 2
        u0, v0 = (int(c) - half for c in np.rint(centre))
        n = 2 * half + 1
        fine = (np.arange(n * OVERSAMPLING) + 0.5) / OVERSAMPLING - 0.5
        du, dv = fine[None, :] + u0 - centre[0], fine[:, None] + v0 - centre[1]
        c, s = np.cos(angle), np.sin(angle)
        inside = (np.abs(du * c + dv * s) <= self.length / 2) & (
            np.abs(-du * s + dv * c) <= self.width / 2
        )
        cover = inside.reshape(n, OVERSAMPLING, n, OVERSAMPLING).mean(axis=(1, 3))
        signal[v0 : v0 + n, u0 : u0 + n] *= 1.0 - self.contrast * cover


@pytest.fixture(scope="session")
def sequence() -> type[Sequence]:
    """The class itself: tests choose the scene."""
    return Sequence
