"""Writing a dataset: shards by several processes, resumed where it was stopped."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.errors import UserError
from mmdtwin.files import digest, writable_dir, write_json
from mmdtwin.synth.compositor.compositor import Compositor
from mmdtwin.synth.compositor.simulated import SCENARIOS, shapes
from mmdtwin.synth.dataset.card import write_card
from mmdtwin.synth.dataset.cluster import made_by_cluster
from mmdtwin.synth.dataset.coco import splits_of, write_coco
from mmdtwin.synth.dataset.shards import (
    DISK_FULL,
    FLOWS,
    FORMAT,
    IMAGES,
    MASKS,
    RECORDS,
    Entry,
    Form,
    read_shard,
    whole,
    write_shard,
)
from mmdtwin.synth.dataset.yolo import write_yolo

VIEWS = 8  # of still images in a shard
FIRST_SEQUENCE, SEQUENCE_ROOM = 50_000_000, 10_000  # numbers of sequences' frames
# Of an image and its labels, per pixel: noise of 12 bits at PNG's first level (measured), or raw.
BYTES: dict[Form, float] = {"png": 1.45, "dicom": 2.06}
SETTINGS = "dataset.json"


@dataclass(frozen=True)
class Order:
    """A dataset that is asked for.

    Parameters
    ----------
    config : RandomisationConfig
    count : int
        Still images; rounded up to whole views.
    seed : int
    sequences, frames : int
        Sequences besides, and frames in each.
    form : {"png", "dicom"}
        Of the images.
    """

    config: RandomisationConfig
    count: int
    seed: int = 0
    sequences: int = 0
    frames: int = 16
    form: Form = "png"

    @property
    def views(self) -> int:
        """Views of still images."""
        return -(-self.count // self.config.images_per_background)

    @property
    def shards(self) -> dict[str, int]:
        """Names of shards, with how many images they hold."""
        found = {}
        for number in range(-(-self.views // VIEWS)):
            views = min(VIEWS, self.views - number * VIEWS)
            found[f"still-{number:05d}"] = views * self.config.images_per_background
        return found | {f"sequence-{number:05d}": self.frames for number in range(self.sequences)}

    @property
    def images(self) -> int:
        """Images in all."""
        return sum(self.shards.values())

    @property
    def key(self) -> str:
        """Hash of what decides images; their number does not."""
        return digest([FORMAT, self.config.model_dump(mode="json"), self.seed, self.form])

    @property
    def disk(self) -> float:
        """Bytes that it takes, about."""
        return BYTES[self.form] * self.images * self.config.size**2


def write_dataset(
    order: Order,
    folder: str | Path,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    cluster: str | None = None,
) -> Path:
    """Write a dataset; shards that are there, and whole, are kept.

    What is written does not depend on the number of workers or on interruptions.

    Parameters
    ----------
    order : Order
    folder : path
    workers : int
        Processes.
    progress : callable, optional
        Called with the number of images that are there.
    cluster : str, optional
        Address of a Ray cluster that makes the shards, in place of processes here.

    Raises
    ------
    UserError
        If the folder holds something else or cannot be written, or the disk is full: what is
        written so far stays, and the same call goes on.
    """
    folder = Path(folder)
    _open(folder, order)
    missing = [n for n, count in order.shards.items() if not whole(folder, n, order.key, count)]
    done = order.images - sum(order.shards[name] for name in missing)
    report = progress or (lambda _: None)
    report(done)
    _check_room(order, folder, done)
    if missing and order.config.origin.weights.get("simulated"):
        for kind in SCENARIOS:
            shapes(kind)  # before there are workers, which would all make them
    try:
        made = (
            _made(order, folder, missing, workers)
            if cluster is None
            else made_by_cluster(order, folder, missing, cluster, make_shard)
        )
        for name in made if missing else ():
            done += order.shards[name]
            report(done)
    except OSError as error:
        if error.errno != DISK_FULL:
            raise
        raise UserError(
            f"--out {folder}: the disk is full; {done} images are written, make room and run the "
            "same command again"
        ) from error
    records = [r for name in order.shards for r in read_shard(folder, name)]
    splits = splits_of(records, order.config.split)
    write_coco(folder, splits)
    if order.form == "png":  # YOLO's loaders read no DICOM
        write_yolo(folder, splits)
    write_card(folder, order.config, order.seed, splits, order.form)
    return folder


def make_shard(order: Order, name: str, folder: Path) -> str:
    """Make one shard, in a process of its own or in this one; return its name."""
    compositor = Compositor(order.config, order.seed)
    kind, number = name.split("-")
    entries = _still if kind == "still" else _sequence
    write_shard(folder, name, entries(compositor, order, int(number)), order.key, order.form)
    return name


def _still(compositor: Compositor, order: Order, number: int) -> Iterator[Entry]:
    per_view = order.config.images_per_background
    for view in range(number * VIEWS, min((number + 1) * VIEWS, order.views)):
        for i, composite in enumerate(compositor.view(view)):
            yield Entry(view * per_view + i, composite)


def _sequence(compositor: Compositor, order: Order, number: int) -> Iterator[Entry]:
    for i, (composite, flow) in enumerate(compositor.sequence(number, order.frames)):
        yield Entry(FIRST_SEQUENCE + number * SEQUENCE_ROOM + i, composite, flow)


def _made(order: Order, folder: Path, names: list[str], workers: int) -> Iterator[str]:
    if workers == 1:
        for name in names:
            yield make_shard(order, name, folder)
        return
    # Fresh processes: threads and caches of this one are not inherited half-way.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: set[Future[str]] = set()
        queue = list(reversed(names))
        try:
            while queue or waiting:
                while queue and len(waiting) < 2 * workers:
                    waiting.add(pool.submit(make_shard, order, queue.pop(), folder))
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for each in ready:
                    yield each.result()
        except BrokenProcessPool as error:
            raise UserError(
                f"--out {folder}: a worker was killed (out of memory?); run the same command "
                "again, with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _open(folder: Path, order: Order) -> None:
    settings = folder / SETTINGS
    if folder.is_dir() and any(folder.iterdir()) and not settings.is_file():
        raise UserError(f"--out {folder}: is not empty and no dataset; name another folder")
    writable_dir(folder)
    for name in (IMAGES, MASKS, RECORDS, *([FLOWS] if order.sequences else [])):
        (folder / name).mkdir(exist_ok=True)
    wanted = {"key": order.key, "seed": order.seed, "count": order.count,
              "sequences": order.sequences, "frames": order.frames,
              "config": order.config.model_dump(mode="json")}  # fmt: skip
    if settings.is_file():
        try:
            before = json.loads(settings.read_text())["key"]
        except (OSError, ValueError, KeyError, TypeError):
            before = None
        if before != order.key:
            raise UserError(
                f"--out {folder}: holds a dataset of another configuration or seed; name another "
                "folder"
            )
    write_json(settings, wanted)


def _check_room(order: Order, folder: Path, done: int) -> None:
    needed = order.disk * (order.images - done) / order.images
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"--out {folder}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
        )
