"""Composites by number: views, devices for the cells of a grid, and sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.seeding import stream
from mmdtwin.synth.compositor.compose import (
    DISPLACES,
    Asked,
    Composite,
    compose,
    hidden_share,
    reach_of,
)
from mmdtwin.synth.compositor.cutouts import draw_cutout
from mmdtwin.synth.compositor.devices import Device, draw_device, turned
from mmdtwin.synth.compositor.distractors import DEPTH
from mmdtwin.synth.compositor.draw import Cell, cell_of, draw_cell, from_choice, log_uniform
from mmdtwin.synth.compositor.labels import footprint
from mmdtwin.synth.compositor.sequence import draw_sequence
from mmdtwin.synth.compositor.simulated import SCENARIOS, draw_simulated
from mmdtwin.synth.compositor.view import MakeBackground, View, draw_view
from mmdtwin.synth.xray.background import make_background

TRIES = 12  # of a device for its cell
PLACES, ROUGH = 40, 36  # tried for a shape, and those of them that are first looked at roughly


class Compositor:
    """Draws composites: view by view, each of which several images share.

    They follow from the randomisation, the seed and the number of the view alone.

    Parameters
    ----------
    config : RandomisationConfig
    seed : int
    background : callable, optional
        Makes the background of an imager's configuration; by default what its kind says.
    """

    def __init__(
        self,
        config: RandomisationConfig,
        seed: int = 0,
        background: MakeBackground = make_background,
    ) -> None:
        self.config, self.seed = config, seed
        self._background = background

    def view(self, number: int) -> Iterator[Composite]:
        """Yield the composites of a view."""
        view_rng = stream(self.seed, "compositor-view", number)
        noise = stream(self.seed, "compositor-noise", number)
        view = draw_view(self._of_view(number), view_rng, noise, self._background)
        for i in range(self.config.images_per_background):
            index = number * self.config.images_per_background + i
            rng = stream(self.seed, "compositor-image", index)
            count = int(from_choice(rng, self.config.devices))
            view.imager.begin()
            found = compose(view, self.draw_devices(view, rng, count), float(i))
            found.about["view"] = number
            yield found

    def sequence(self, number: int, frames: int) -> Iterator[tuple[Composite, NDArray[np.float32]]]:
        """Yield the frames of a sequence, each with the flow to the next; see `draw_sequence`."""
        view_rng = stream(self.seed, "compositor-sequence-view", number)
        noise = stream(self.seed, "compositor-sequence-noise", number)
        view = draw_view(self._of_view(number), view_rng, noise, self._background)
        rng = stream(self.seed, "compositor-sequence", number)
        count = max(1, int(from_choice(rng, self.config.devices)))
        asked = self.draw_devices(view, rng, count)
        for composite, flow in draw_sequence(self.config, view, asked, rng, frames):
            composite.about["view"] = number
            yield composite, flow

    def _of_view(self, number: int) -> RandomisationConfig:
        """Return the randomisation with the range of dose that a view's turn has."""
        edges = self.config.cells.dose
        if edges is None:
            return self.config
        k = number % (len(edges) - 1)
        within = {"low": edges[k], "high": edges[k + 1], "log": True}
        return self.config.model_copy(update={"dose": self.config.dose.model_copy(update=within)})

    def draw_devices(self, view: View, rng: np.random.Generator, count: int) -> list[Asked]:
        """Return so many devices, less those that fit nowhere."""
        drawn = [self._device(view, rng) for _ in range(count)]
        return [each for each in drawn if each is not None]

    def _device(self, view: View, rng: np.random.Generator) -> Asked | None:
        """Return a device of a cell of the grid, as near to it as tries have found."""
        cells = self.config.cells
        cell = draw_cell(rng, cells)
        best: tuple[float, Asked] | None = None
        for _ in range(TRIES):
            kind = from_choice(rng, self.config.device)
            size = log_uniform(rng, *cells.size[cell[1] : cell[1] + 2])
            found = self._placed(view, rng, self._shape(rng, kind, size), size, cell)
            if found is None:
                continue
            asked, hidden = found
            reach = reach_of(view, asked)
            least, most = reach.limits
            low, high = cells.contrast[cell[0] : cell[0] + 2]
            off = max(least - high, low - most, 0.0) + 10.0 * (hidden != cell[2])
            wanted = np.clip(log_uniform(rng, low, high), max(least, low), min(most, high))
            if off > 0.0:
                wanted = np.clip(wanted, least, most)
            if wanted <= 0.0:
                continue  # nothing of the family is darker than blood there
            material = reach.material(float(wanted))
            asked = replace(
                asked,
                device=asked.device.made_of(material, DISPLACES),
                contrast=float(wanted),
                size=size,
            )
            if off == 0.0:
                return asked
            if best is None or off < best[0]:
                best = off, asked
        return None if best is None else best[1]

    def _shape(self, rng: np.random.Generator, kind: str, size: float) -> Device:
        """Return a device of an origin; what physics lacks is drawn."""
        origin = from_choice(rng, self.config.origin)
        if origin == "cut-out" and self.config.cutouts is not None:
            return draw_cutout(rng, self.config.cutouts, size)
        if origin == "simulated" and kind in SCENARIOS:
            return draw_simulated(rng, kind, size)
        return draw_device(rng, kind, size)

    def _placed(
        self, view: View, rng: np.random.Generator, device: Device, size: float, cell: Cell
    ) -> tuple[Asked, int] | None:
        """Return a device where it is hidden as asked for, and how hidden it is (its cell)."""
        edges, projection = self.config.cells.occluded, view.imager.projection
        height, width = projection.shape
        reach = max(round(size / 2 / projection.pixel_size), 1)
        best: tuple[int, Asked, int] | None = None
        for i in range(PLACES):
            pixel = rng.uniform(0.0, 1.0, 2) * (width - 1, height - 1)
            u, v = int(pixel[0]), int(pixel[1])
            if not view.open[v, u]:
                continue
            around = view.hiding[
                max(v - reach, 0) : v + reach + 1, max(u - reach, 0) : u + reach + 1
            ]
            if i < ROUGH and cell_of(edges, float(around.mean())) != cell[2]:
                continue  # not worth casting its shadow
            depth = projection.sod + rng.uniform(-DEPTH, DEPTH)
            there = device.placed(turned(rng, projection.back_project(pixel, depth)))
            seen = footprint(there, projection)
            if seen is None:
                continue
            hidden = cell_of(edges, hidden_share(view, seen))
            asked = Asked(there, seen, 0.0, 0.0)
            off = abs(hidden - cell[2])
            if off == 0:
                return asked, hidden
            if best is None or off < best[0]:
                best = off, asked, hidden
        return None if best is None else best[1:]
