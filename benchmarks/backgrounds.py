"""What backgrounds are worth: a detector trained on each kind, tested on anatomy none has seen.

    python -m benchmarks.backgrounds --bank DIR

The network, its steps and the devices are the same for all; only what lies behind the devices in
the training frames differs. Test frames show the slab of the CT that nothing is trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from mmdtwin.config.base import load
from mmdtwin.config.imager import ImagerConfig
from mmdtwin.errors import UserError
from mmdtwin.files import write_json
from mmdtwin.frame import Projection
from mmdtwin.seeding import stream
from mmdtwin.sim.anatomy import Anatomy
from mmdtwin.sim.scene import Scene
from mmdtwin.sim.shapes import Body, Solids
from mmdtwin.synth.background.evaluate.segmenter import build_network
from mmdtwin.synth.background.evaluate.sets import SLAB_BOX, slab_anatomy
from mmdtwin.synth.xray.background import Background, Pose, flat_background
from mmdtwin.synth.xray.background_generated import generated_background
from mmdtwin.synth.xray.checks.thorax import draw_backgrounds
from mmdtwin.synth.xray.drr import material_maps, truncation
from mmdtwin.synth.xray.imager import Imager
from mmdtwin.synth.xray.measure import shadow
from mmdtwin.synth.xray.volume import load_volume, make_volume

KINDS = ("diffusion", "ct", "flat")
FRAMES = 6  # of a background, each with a device of its own
REACH = 0.04  # m from the isocentre to devices
SIDE = 96  # px of the patches that are trained on
COARSE = 16.0  # px, Gaussian sigma of what is taken off log images
SPREAD = 0.05  # of what is left, to which images are scaled
DEVICE = 3  # the network's output that is trained: its layer for metal
NEAR = 5  # px from the device's shadow that counts as found
ALARMS = 0.1  # false alarms per frame without a device, at the threshold of "sure" finds
RATE, BATCH = 2e-3, 12


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame as a detector sees it, (h, w), and where the device's shadow is."""

    image: NDArray[np.float32]
    mask: NDArray[np.bool_]


def draw_device(rng: np.random.Generator) -> tuple[Body, ...]:
    """Return a bent sheet, a bead or a droplet of random size at a random place and attitude."""
    kind = rng.choice(["sheet", "bead", "droplet"])
    place = np.append(rng.uniform(-REACH, REACH, 2), rng.uniform(-0.02, 0.02))
    turn = Rotation.random(random_state=rng).as_matrix()
    if kind == "bead":
        return (Solids.balls(place[None], np.array([rng.uniform(0.25e-3, 0.6e-3)]), "ndfeb"),)
    if kind == "droplet":
        half = rng.uniform(0.5e-3, 1.5e-3) * np.array([[1.0, 1.0, rng.uniform(1.0, 2.0)]])
        return (Solids(place[None], turn[None], half, "ferrofluid:0.079", "ellipsoid"),)
    count, scale, bend = 8, rng.uniform(0.5, 1.3), rng.uniform(-0.4, 0.4)
    half = scale * np.array([3.7e-3 / count, 1.5e-3, 0.185e-3]) / 2
    angles = bend * (np.arange(count) - (count - 1) / 2)
    axes = np.stack([Rotation.from_rotvec([0.0, a, 0.0]).as_matrix() for a in angles])
    steps = 2 * half[0] * axes[:, :, 0]
    centres = np.cumsum(steps, axis=0) - steps / 2
    centres -= centres.mean(axis=0)
    return (
        Solids.chain(
            place + centres @ turn.T, turn @ axes, np.tile(half, (count, 1)), "ndfeb-silicone"
        ),
    )


def seen(image: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return a frame as networks see it: logarithmic, without what is coarse."""
    dark = np.log1p(image.astype(np.float32))
    return np.asarray((dark - cv2.GaussianBlur(dark, (0, 0), COARSE)) / SPREAD, np.float32)


def shots(
    config: ImagerConfig, backgrounds: Iterator[Background], rng: np.random.Generator, devices: bool
) -> list[Shot]:
    """Return frames of backgrounds, with a device in each or in none."""
    found = []
    for background in backgrounds:
        imager = Imager(config, rng, rng, background=background)
        for i in range(FRAMES):
            bodies = draw_device(rng) if devices else ()
            frame = imager.expose([Scene(float(i), bodies)])
            found.append(Shot(seen(frame.image), shadow(bodies, imager.projection)))
    return found


def flat(config: ImagerConfig, count: int, rng: np.random.Generator) -> Iterator[Background]:
    """Yield uniform tissue of 5 to 30 cm."""
    for _ in range(count):
        thickness = {"thickness": float(rng.uniform(0.05, 0.30))}
        plain = config.background.model_copy(update=thickness)
        yield flat_background(config.model_copy(update={"background": plain}))


def diffusion(
    config: ImagerConfig, count: int, rng: np.random.Generator, bank: str | None
) -> Iterator[Background]:
    """Yield backgrounds of a bank."""
    named = config.background.model_copy(update={"kind": "diffusion", "path": bank})
    config = config.model_copy(update={"background": named})
    for _ in range(count):
        yield generated_background(config, rng)


def unseen(config: ImagerConfig, count: int, rng: np.random.Generator) -> Iterator[Background]:
    """Yield views of the test slab that the CT covers."""
    while count:
        primary, secondary = rng.uniform(-0.3, 0.3), rng.normal(0.0, 0.03)
        where = rng.uniform(*SLAB_BOX)
        projection = Projection.from_config(config, primary, secondary)
        try:
            maps = material_maps(_slab(), projection, where, below_test_slab=False)
        except UserError:
            continue
        if truncation(_slab(), projection, where) > 0.02:
            continue
        count -= 1
        x, y, z = where.tolist()
        yield Background(maps, Pose(primary, secondary, (x, y, z), "test slab"))


@lru_cache(maxsize=1)
def _slab() -> Anatomy:
    return make_volume(slab_anatomy(), 0)


def train(known: list[Shot], steps: int, seed: int, report: Callable[[str], None]) -> Any:
    """Train a network on patches, three of four with the device in them."""
    import torch

    rng = stream(seed, "ablation-train")
    torch.manual_seed(seed)
    network = build_network("grey").train()
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step in range(steps):
        patches = [
            _patch(known[k], rng, bool(rng.random() < 0.75))
            for k in rng.integers(len(known), size=BATCH)
        ]
        image, mask = (torch.from_numpy(np.stack(p)[:, None]) for p in zip(*patches, strict=True))
        logits = network(image)[0][:, DEVICE : DEVICE + 1]
        wanted = mask.float()
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        found = torch.sigmoid(logits)
        overlap = (2 * (found * wanted).sum() + 1) / ((found + wanted).sum() + 1)
        loss = 10 * each + 1 - overlap
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            report(f"step {step + 1}/{steps}, loss {float(loss.detach()):.3f}")
    return network.eval()


def _patch(shot: Shot, rng: np.random.Generator, around: bool) -> tuple[NDArray, NDArray]:
    limits = np.array(shot.image.shape) - SIDE
    corner = rng.integers(0, limits + 1)
    if around and shot.mask.any():
        places = np.argwhere(shot.mask)
        corner = places[rng.integers(len(places))] - rng.integers(8, SIDE - 8, 2)
        corner = np.clip(corner, 0, limits)
    rows, columns = (slice(c, c + SIDE) for c in corner)
    quarters, flip = int(rng.integers(4)), int(rng.choice([1, -1]))
    image, mask = (
        np.ascontiguousarray(np.rot90(a[rows, columns], quarters)[:, ::flip])
        for a in (shot.image, shot.mask)
    )
    return image, mask


def best_find(network: Any, shot: Shot) -> tuple[float, bool]:
    """Return the score of the strongest find in a frame, and whether it is the device."""
    import torch

    with torch.inference_mode():
        logits = network(torch.from_numpy(shot.image[None, None]))[0][0, DEVICE].numpy()
    score = cv2.blur(1.0 / (1.0 + np.exp(-logits)), (3, 3))
    place = np.unravel_index(int(score.argmax()), score.shape)
    kernel = np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)
    near = cv2.dilate(shot.mask.astype(np.uint8), kernel) > 0
    return float(score[place]), bool(near[place])


def main() -> None:
    """Run the ablation; print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--bank", help="folder of a bank; the shipped one by default")
    parser.add_argument("--backgrounds", type=int, default=60, help="to train on, of each kind")
    parser.add_argument("--tests", type=int, default=20, help="backgrounds of the test slab")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config = load(ImagerConfig, "imagers", "carm-fluoro")
    console = Console(stderr=True)
    rng = stream(options.seed, "ablation-tests")
    tested, empty = (
        shots(config, unseen(config, options.tests, rng), rng, devices) for devices in (True, False)
    )
    rows = {}
    for kind in options.kinds:
        rng = stream(options.seed, f"ablation-{kind}")
        count = options.backgrounds
        if kind == "flat":
            behind = flat(config, count, rng)
        elif kind == "ct":
            behind = draw_backgrounds(config, load_volume("full"), count, rng)
        else:
            behind = diffusion(config, count, rng, options.bank)
        with console.status(kind) as status:
            known = shots(config, behind, rng, True)
            network = train(
                known,
                options.steps,
                options.seed,
                lambda text, k=kind: status.update(f"{k}: {text}"),
            )
        finds = [best_find(network, shot) for shot in tested]
        level = float(np.quantile([best_find(network, s)[0] for s in empty], 1.0 - ALARMS))
        hits = np.array([hit for _, hit in finds])
        sure = np.array([hit and score > level for score, hit in finds])
        error = float(np.sqrt(hits.mean() * (1 - hits.mean()) / len(hits)))
        rows[kind] = {"found": float(hits.mean()), "error": error, "sure": float(sure.mean())}
    table = Table("trained before", "strongest find is the device", f"at {ALARMS} false alarms")
    for kind, row in rows.items():
        table.add_row(kind, f"{row['found']:.0%} +- {row['error']:.0%}", f"{row['sure']:.0%}")
    Console().print(table)
    if options.json is not None:
        write_json(options.json, {"frames": len(tested), "kinds": rows})


if __name__ == "__main__":
    main()
