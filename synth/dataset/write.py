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
from typing import Any

from mmdtwin.config.base import parse
from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.errors import UserError
from mmdtwin.files import digest, writable_dir, write_json
from mmdtwin.synth.compositor.compositor import Compositor
from mmdtwin.synth.dataset.card import write_card
from mmdtwin.synth.dataset.coco import write_coco
from mmdtwin.synth.dataset.shards import (
    DISK_FULL,
    FORMAT,
    IMAGES,
    MASKS,
    RECORDS,
    read_records,
    whole,
    write_shard,
)
from mmdtwin.synth.dataset.yolo import write_yolo

GROUPS = 8  # views in a shard
BYTES = 1.05  # of an image's file, per pixel: noise of 12 bits at PNG's first level, measured
SETTINGS = "dataset.json"


@dataclass(frozen=True)
class Order:
    """A dataset that is asked for.

    Parameters
    ----------
    config : RandomisationConfig
    count : int
        Images; rounded up to whole views.
    seed : int
    """

    config: RandomisationConfig
    count: int
    seed: int = 0

    @property
    def groups(self) -> int:
        """Views in all."""
        return -(-self.count // self.config.images_per_background)

    @property
    def shards(self) -> int:
        """Shards in all."""
        return -(-self.groups // GROUPS)

    @property
    def key(self) -> str:
        """Hash of what decides images; their number does not."""
        return digest([FORMAT, self.config.model_dump(mode="json"), self.seed])

    @property
    def disk(self) -> float:
        """Bytes that it takes, about."""
        return BYTES * self.count * self.config.size**2


def write_dataset(
    order: Order,
    folder: str | Path,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
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

    Raises
    ------
    UserError
        If the folder holds something else or cannot be written, or the disk is full: what is
        written so far stays, and the same call goes on.
    """
    folder = Path(folder)
    _open(folder, order)
    there = [n for n in range(order.shards) if whole(folder, n, order.key, _images(order, n))]
    missing = sorted(set(range(order.shards)) - set(there))
    done = sum(_images(order, n) for n in there)
    report = progress or (lambda _: None)
    report(done)
    _check_room(order, folder, done)
    try:
        for number in _made(order, folder, missing, workers):
            done += _images(order, number)
            report(done)
    except OSError as error:
        if error.errno != DISK_FULL:
            raise
        raise UserError(
            f"--out {folder}: the disk is full; {done} images are written, make room and run the "
            "same command again"
        ) from error
    records = read_records(folder)
    write_coco(folder, records)
    write_yolo(folder, records)
    write_card(folder, order.config, order.seed, records)
    return folder


def make_shard(config: dict[str, Any], seed: int, number: int, folder: Path, count: int) -> int:
    """Make one shard, in a process of its own or in this one; return its number."""
    order = Order(parse(RandomisationConfig, config, "randomisation"), count, seed)
    compositor = Compositor(order.config, seed)
    first = number * GROUPS
    groups = range(first, min(first + GROUPS, order.groups))
    composites = [composite for group in groups for composite in compositor.group(group)]
    per_view = order.config.images_per_background
    write_shard(folder, number, first * per_view, composites, order.key)
    return number


def _made(order: Order, folder: Path, numbers: list[int], workers: int) -> Iterator[int]:
    config = order.config.model_dump(mode="json")
    if workers == 1:
        for number in numbers:
            yield make_shard(config, order.seed, number, folder, order.count)
        return
    # Fresh processes: threads and caches of this one are not inherited half-way.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: set[Future[int]] = set()
        queue = list(reversed(numbers))
        try:
            while queue or waiting:
                while queue and len(waiting) < 2 * workers:
                    number = queue.pop()
                    waiting.add(
                        pool.submit(make_shard, config, order.seed, number, folder, order.count)
                    )
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


def _images(order: Order, number: int) -> int:
    """Return the number of images of a shard."""
    groups = min(GROUPS, order.groups - number * GROUPS)
    return groups * order.config.images_per_background


def _open(folder: Path, order: Order) -> None:
    settings = folder / SETTINGS
    if folder.is_dir() and any(folder.iterdir()) and not settings.is_file():
        raise UserError(f"--out {folder}: is not empty and no dataset; name another folder")
    writable_dir(folder)
    for name in (IMAGES, MASKS, RECORDS):
        (folder / name).mkdir(exist_ok=True)
    wanted = {"key": order.key, "seed": order.seed, "count": order.count,
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
    needed = order.disk * max(order.count - done, 0) / order.count
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"--out {folder}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
        )
