"""Detection in patches, as something that `mmdtwin.training.loop` trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdtwin.perception.learned.finds import Find, bounds, read_finds
from mmdtwin.perception.learned.seen import even, seen
from mmdtwin.perception.training.loss import detection_loss
from mmdtwin.perception.training.patches import Patch, anywhere, around, cut_patch
from mmdtwin.perception.training.samples import Sample

if TYPE_CHECKING:
    import torch

Strategy = Literal["mined", "plain", "whole"]
STRATEGIES: tuple[Strategy, ...] = ("mined", "plain", "whole")
DEVICES, HARD = 0.5, 0.25  # shares of patches with a device in them, and at hard places
WHOLE_SIDE = 256  # px that whole images are shrunk to, for comparison
MEMORY, EVERY, LOOKED_AT = 8192, 25, 4  # hard places kept; steps between looks; images looked at
ALARM = 0.02  # score from which a false alarm is hard
MINE_FROM = 200  # step; before, a network finds everything hard
CLOSE = 8.0  # px from a device's centre, or as far as it reaches: no false alarm
SIZES = (0.0, 6.0, 12.0, 1e9)  # px, edges of lengths of devices that are drawn alike
STRENGTHS = (2.0, 4.5, 7.0, 10.0, 20.0, 1e9)  # edges of their d'
SHARES = (1.0, 2.0, 2.0, 1.5, 1.0)  # of these: most of what can be learnt is in the middle
MATCH = 2.0  # px
ALARMS_ALLOWED = 0.05  # a frame
WATCHED, SHOWN = 150, 4  # images that are measured while training, and in pictures


class DetectorJob:
    """Detection in patches of labelled images.

    Parameters
    ----------
    network : torch.nn.Module
        Trained in place.
    samples, held_out : sequence of Sample
        To train on, and to measure on.
    strategy : {"mined", "plain", "whole"}
        Patches with hard places among them, patches, or whole images made smaller: what patches
        are compared with.
    """

    name = "detector"
    mixed = True

    def __init__(
        self,
        network: Any,
        samples: Sequence[Sample],
        held_out: Sequence[Sample],
        strategy: Strategy = "mined",
    ) -> None:
        import torch

        self.network, self.samples, self.held_out = network, samples, held_out
        self.strategy = strategy
        self.modules: Mapping[str, torch.nn.Module] = {"detector": network}
        # Number of an image and where in it (u, v); -1 where nothing is known yet.
        self._hard = torch.full((MEMORY, 3), -1.0)
        self._steps = torch.zeros(2, dtype=torch.int64)  # taken, and hard places written
        self.memory = {"hard": self._hard, "steps": self._steps}
        self._cells = _cells(samples)

    def size(self) -> int:
        """Return how many patches there are to draw from: each is a seed."""
        return 2**31

    def loss(self, indices: NDArray, generator: torch.Generator) -> torch.Tensor:
        """Loss of a batch of patches; an index is the seed of a patch."""
        import torch

        taken = int(self._steps[0])
        if self.strategy == "mined" and taken >= MINE_FROM and taken % EVERY == 0:
            self._mine(np.random.default_rng([taken, int(indices[0])]))
        self._steps[0] += 1
        drawn = [self._draw(np.random.default_rng(int(seed))) for seed in indices]
        batch = [
            torch.from_numpy(np.stack([getattr(patch, name) for patch in drawn])).to(
                generator.device
            )
            for name in ("image", "wanted", "counts", "asked", "mask", "mask_counts")
        ]
        image = batch[0].to(memory_format=torch.channels_last)
        return detection_loss(self.network(image), *batch[1:])

    def validate(self) -> tuple[dict[str, float], NDArray[np.float32] | None]:
        """Return recall in some held-out images at few false alarms, and pictures of a few."""
        watched = self.held_out[:: max(len(self.held_out) // WATCHED, 1)]
        finds = [self.find(sample) for sample in watched]
        shown = [_picture(s, f) for s, f in zip(watched[:SHOWN], finds, strict=False)]
        return recall_at(watched, finds), np.concatenate(shown, axis=1) if shown else None

    def measure(self) -> dict[str, float]:
        """Return `recall_at` of all held-out images."""
        return recall_at(self.held_out, [self.find(sample) for sample in self.held_out])

    def find(self, sample: Sample, least: float | None = None) -> list[Find]:
        """Return what the network finds in a whole image."""
        import torch

        least = ALARM if least is None else least
        device = next(self.network.parameters()).device
        image = torch.from_numpy(even(seen(sample.image, sample.bright)))[None].to(device)
        with torch.no_grad():
            grid, mask = self.network(image.to(memory_format=torch.channels_last))
        return read_finds(grid[0].float().cpu().numpy(), mask[0, 0].float().cpu().numpy(), least)

    def _draw(self, rng: np.random.Generator) -> Patch:
        if self.strategy == "whole":
            sample = self.samples[int(rng.integers(len(self.samples)))]
            return cut_patch(rng, _shrunk(sample), np.zeros(2, int), WHOLE_SIDE)
        chance = rng.random()
        if chance < DEVICES and self._cells:
            sizes, shares = self._cells
            cell = sizes[int(rng.choice(len(sizes), p=shares))]
            number, which = cell[int(rng.integers(len(cell)))]
            sample = self.samples[number]
            return cut_patch(rng, sample, around(rng, sample, sample.devices[which].centre))
        written = min(int(self._steps[1]), MEMORY)
        if self.strategy == "mined" and chance < DEVICES + HARD and written:
            number, u, v = self._hard[int(rng.integers(written))].tolist()
            sample = self.samples[int(number)]
            return cut_patch(rng, sample, around(rng, sample, np.array([u, v])))
        sample = self.samples[int(rng.integers(len(self.samples)))]
        return cut_patch(rng, sample, anywhere(rng, sample))

    def _mine(self, rng: np.random.Generator) -> None:
        """Look at some images, and remember where there are false alarms."""
        import torch

        self.network.eval()
        for number in rng.integers(len(self.samples), size=LOOKED_AT).tolist():
            sample = self.samples[number]
            for find in self.find(sample):
                if not _on_device(find, sample):
                    row = int(self._steps[1]) % MEMORY
                    self._hard[row] = torch.tensor([number, *find.centre.tolist()])
                    self._steps[1] += 1
        self.network.train()


def recall_at(
    samples: Sequence[Sample], finds: Sequence[Sequence[Find]], alarms: float = ALARMS_ALLOWED
) -> dict[str, float]:
    """Return recall within 2 px by d', at the threshold that lets few false alarms pass.

    Returns
    -------
    dict
        `threshold`; `recall_7`, of d' of 7 to 10, `recall_10`, of 10 and more; `recall`, the mean
        over devices of d' of 4.5 to 30; `centre_px`, the rms error of those of 10 and more.
    """
    false, hits, strengths, errors = [], [], [], []
    for sample, found in zip(samples, finds, strict=True):
        best = np.zeros(len(sample.devices))
        error = np.full(len(sample.devices), np.nan)
        for find in found:
            away = [float(np.hypot(*(find.centre - d.centre))) for d in sample.devices]
            nearest = int(np.argmin(away)) if away else -1
            if away and away[nearest] <= MATCH:
                if find.score > best[nearest]:
                    best[nearest], error[nearest] = find.score, away[nearest]
            elif not _on_device(find, sample):
                false.append(find.score)
        hits += best.tolist()
        errors += error.tolist()
        strengths += [d.d_prime for d in sample.devices]
    allowed = int(alarms * len(samples))
    ordered = np.sort(false)[::-1]
    threshold = float(ordered[allowed]) if len(ordered) > allowed else 0.0
    passed, d_prime, error = np.array(hits) > threshold, np.array(strengths), np.array(errors)

    def share(low: float, high: float) -> float:
        inside = (d_prime >= low) & (d_prime < high)
        return float(passed[inside].mean()) if inside.any() else float("nan")

    clear = passed & (d_prime >= 10.0)
    return {
        "threshold": threshold,
        "recall_4.5": share(4.5, 7.0),
        "recall_7": share(7.0, 10.0),
        "recall_10": share(10.0, np.inf),
        "recall": share(4.5, 30.0),
        "centre_px": float(np.sqrt(np.mean(error[clear] ** 2))) if clear.any() else float("nan"),
    }


def _on_device(find: Find, sample: Sample) -> bool:
    """Return whether a find lies on a device, or so near that it is no other thing."""
    for device in sample.devices:
        r0, r1, c0, c1 = device.box
        u, v = find.centre
        if c0 - CLOSE <= u <= c1 + CLOSE and r0 - CLOSE <= v <= r1 + CLOSE:
            return True
    return False


def _cells(
    samples: Sequence[Sample],
) -> tuple[list[list[tuple[int, int]]], NDArray[np.float64]] | None:
    """Return devices by size and strength, (image, device), and how often each cell is drawn."""
    cells: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for number, sample in enumerate(samples):
        for which, device in enumerate(sample.devices):
            if device.d_prime < STRENGTHS[0]:
                continue
            length = float(max(device.mask.shape))
            size = int(np.searchsorted(SIZES, length, side="right")) - 1
            strength = int(np.searchsorted(STRENGTHS[:-1], device.d_prime, side="right")) - 1
            cells.setdefault((size, strength), []).append((number, which))
    if not cells:
        return None
    shares = np.array([SHARES[strength] * np.sqrt(len(cells[size, strength]))
                       for size, strength in cells])  # fmt: skip
    return list(cells.values()), shares / shares.sum()


def _shrunk(sample: Sample) -> Sample:
    """Return a whole image with sides of WHOLE_SIDE, as detectors of everyday objects are fed."""
    height, width = sample.image.shape
    scale = np.array([WHOLE_SIDE / width, WHOLE_SIDE / height])
    size = (WHOLE_SIDE, WHOLE_SIDE)
    image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA).astype(np.uint16)
    devices = []
    for device in sample.devices:
        whole = np.zeros(sample.image.shape, np.uint8)
        r0, r1, c0, c1 = device.box
        whole[r0:r1, c0:c1] = device.mask
        small = cv2.resize(whole * np.float32(1.0), size, interpolation=cv2.INTER_AREA) > 0.3
        box = bounds(small) or (0, 0, 0, 0)
        devices.append(
            replace(
                device,
                centre=(device.centre + 0.5) * scale - 0.5,
                ends=(device.ends + 0.5) * scale - 0.5,
                box=box,
                mask=small[box[0] : box[1], box[2] : box[3]],
            )
        )
    return replace(sample, image=image, devices=tuple(devices))


def _picture(sample: Sample, finds: Sequence[Find]) -> NDArray[np.float32]:
    """Return an image with what is in it (squares) and what was found (crosses), 0..1."""
    grey = np.clip(sample.image.astype(np.float32) / sample.bright * 200.0, 0.0, 255.0)
    shown = cv2.cvtColor(grey.astype(np.uint8), cv2.COLOR_GRAY2RGB)
    for device in sample.devices:
        r0, r1, c0, c1 = device.box
        cv2.rectangle(shown, (c0 - 4, r0 - 4), (c1 + 3, r1 + 3), (0, 200, 0), 1)
    for find in finds:
        u, v = np.rint(find.centre).astype(int).tolist()
        level = int(255 * find.score)
        cv2.drawMarker(shown, (u, v), (255, 255 - level, 0), cv2.MARKER_CROSS, 9, 1)
    return shown.astype(np.float32) / 255.0
