"""What a detector's physicist measures: noise power and modulation transfer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from mmdtwin.config.base import load
from mmdtwin.config.imager import DisplayConfig, ExposureConfig, ImagerConfig
from mmdtwin.geometry import Array
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Body, Solids
from mmdtwin.synth.xray.background import Background
from mmdtwin.synth.xray.imager import Imager

SIZE = 256  # px, of the images
BIN = 0.125  # px, of the edge spread function: much finer than a pixel
REACH = 24.0  # px, on either side of the edge; light has fallen to 1e-7 by then
PLATE = 0.06  # m, sides of the plate: more than half the field


class Still:
    """A world in which nothing moves but time.

    Parameters
    ----------
    bodies : sequence of Body
        Its device.
    """

    def __init__(self, *bodies: Body) -> None:
        self._scene = Scene(0.0, bodies)

    def at(self, time: float) -> Still:
        """Set its time, s."""
        self._scene = replace(self._scene, time=time)
        return self

    def scene(self) -> Scene:
        """Return its bodies."""
        return self._scene


def make_imager(
    seed: int,
    detector: dict[str, Any] | None = None,
    background: Background | None = None,
    **changes: Any,
) -> Imager:
    """Return an imager of a uniform phantom that differs from `flat-phantom` as stated.

    Its detector has 256 x 256 pixels and 16 bits, so that nothing saturates. Exposure control
    settles on the first frame and is too slow to act on what follows.
    """
    plain = load(ImagerConfig, "imagers", "flat-phantom")
    own = {"rows": SIZE, "columns": SIZE, "bits": 16, "lag": (), **(detector or {})}
    settings: dict[str, Any] = {
        "heel": False,
        "display": DisplayConfig(),
        "exposure": ExposureConfig(detector_dose=200e-9, control_time=1e6),
        "detector": plain.detector.model_copy(update=own),
        **changes,
    }
    behind, noise = np.random.default_rng(seed).spawn(2)
    return Imager(plain.model_copy(update=settings), behind, noise, background=background)


def noise_power(imager: Imager, frames: int) -> Array:
    """Return the power of the noise of frames of the background, (h, w) quanta squared.

    On the grid of `numpy.fft.fft2`, such that its mean is the variance.
    """
    world = Still()
    images = [imager.render(world).image / imager.gain for _ in range(frames)]
    mean = np.mean(images, axis=0)
    power = np.sum([np.abs(np.fft.fft2(image - mean)) ** 2 for image in images], axis=0)
    return np.asarray(power / (mean.size * (frames - 1)))


def in_rings(values: Array, edges: Array) -> Array:
    """Return means of values on the grid of `numpy.fft.fft2` over rings of cycles/px."""
    f = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in values.shape), indexing="ij"))
    ring = np.digitize(f, edges)
    return np.array([values[ring == i].mean() for i in range(1, len(edges))])


def edge_plate(angle: float) -> Solids:
    """Return a lead plate at the isocentre whose edge crosses it, turned by `angle` from y.

    2 mm thick: it lets less than 1e-7 pass.
    """
    turn = np.array(
        [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    half = np.array([PLATE / 2, PLATE / 2, 1e-3])
    return Solids((turn @ [half[0], 0.0, 0.0])[None], turn[None], half[None], "lead")


def edge_transfer(imager: Imager, angle: float, frequency: Array) -> Array:
    """Return the modulation transfer of the imager at frequencies (n,) in cycles/px.

    From the noise-free image of a slanted edge: pixels sorted by their distance from it give the
    edge spread function in steps finer than a pixel; the Fourier transform of its derivative is the
    transfer function (IEC 62220-1; ISO 12233).
    """
    clear, image = imager.expected(), imager.expected([edge_plate(angle)])
    share = (image / clear).astype(float)
    v, u = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    # The image's v runs against the world's y.
    distance = -(u * math.cos(angle) - v * math.sin(angle))
    inside = (np.abs(distance) < REACH) & (np.abs(v) < SIZE / 2 - 2 * REACH)
    place = np.floor((distance[inside] + REACH) / BIN).astype(int)
    count = np.bincount(place)
    spread = np.bincount(place, share[inside]) / count
    line = np.diff(spread)
    x = (np.arange(len(line)) + 1) * BIN - REACH
    waves = np.abs(np.exp(-2j * np.pi * np.outer(frequency, x)) @ line) / line.sum()
    # Averages over bins, and differences of neighbouring ones, are blurs by a bin's width each.
    return waves / np.sinc(frequency * BIN) ** 2
