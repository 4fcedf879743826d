"""Shards made by a Ray cluster: each task sends its files back, so nothing needs to be shared."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdtwin.errors import UserError
from mmdtwin.files import replacing
from mmdtwin.synth.dataset.shards import FOLDERS, record_path

if TYPE_CHECKING:
    from mmdtwin.synth.dataset.write import Order

RETRIES = 5  # of a task whose worker, or machine, was lost
TIMEOUT = 5.0  # s, for a cluster to answer
AHEAD = 2  # tasks for each CPU that are handed out


def made_by_cluster(
    order: Order,
    folder: Path,
    names: Sequence[str],
    address: str,
    make: Callable[[Order, str, Path], str],
) -> Iterator[str]:
    """Yield names of shards as a cluster has made them; their files are in `folder` by then.

    Parameters
    ----------
    order : Order
    folder : Path
        Of this machine alone.
    names : sequence of str
        Of shards to make.
    address : str
        Of a Ray cluster whose machines have mmdtwin installed, or "local": one of this machine.
    make : callable
        Makes a shard in a folder.

    Raises
    ------
    UserError
        If Ray is not installed, the cluster cannot be reached, or a task is lost again and again.
    """
    ray = _require_ray()
    try:
        _knock(address)
        ray.init(address=address, include_dashboard=False if address == "local" else None)
    except (OSError, ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--ray {address}: cannot be reached ({first})") from None
    task = ray.remote(max_retries=RETRIES, num_cpus=1)(files_of)
    room = AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
    queue = list(reversed(names))
    waiting: list[Any] = []
    try:
        while queue or waiting:
            while queue and len(waiting) < room:
                waiting.append(task.remote(order, queue.pop(), make))
            ready, waiting = ray.wait(waiting)
            for name, files in ray.get(ready):
                _keep(folder, name, files)
                yield name
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except ray.exceptions.RayError as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"--ray {address}: a task was lost ({first}); run the same command again"
        ) from None
    finally:
        ray.shutdown()


def files_of(
    order: Order, name: str, make: Callable[[Order, str, Path], str]
) -> tuple[str, dict[str, bytes]]:
    """Make a shard in a folder of its own; return its name, and its files' contents by path."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for each in FOLDERS:
            (folder / each).mkdir()
        make(order, name, folder)
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        return name, {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _keep(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """Write a shard's files, its record last: that makes it one."""
    record = record_path(folder, name).relative_to(folder).as_posix()
    for path in sorted(files, key=lambda path: path == record):
        with replacing(folder / path) as part:
            part.write_bytes(files[path])


def _knock(address: str) -> None:
    """Raise an `OSError` if nobody listens at an address; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), TIMEOUT).close()


def _require_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray needs Ray: pip install 'mmdtwin[ray]'") from error
    return ray
