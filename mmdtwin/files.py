"""Outputs that are whole or absent: written beside their place, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from mmdtwin.errors import UserError


def cache_dir(room: str) -> Path:
    """Return (and make) the user's cache folder of a room; MMDTWIN_CACHE overrides the root."""
    root = os.environ.get("MMDTWIN_CACHE")
    base = Path(root) if root else Path(platformdirs.user_cache_dir("mmdtwin"))
    path = base / room
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(value: Any) -> str:
    """Return a short stable hash of a JSON-able value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); rename it into place on success."""
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        os.chmod(part, 0o644)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_dir(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; put it in the place of `path` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=path.parent))
    try:
        yield part
        os.chmod(part, 0o755)
        if path.exists():
            old = part.with_name(f".old-{part.name}")
            os.replace(path, old)
            os.replace(part, path)
            shutil.rmtree(old)
        else:
            os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def making(path: Path, option: str = "--out") -> Iterator[Path]:
    """Make a folder for results; take it, and its parents, away again if they stay empty.

    Raises
    ------
    UserError
        If it cannot be made or written.
    """
    new = [p for p in (path, *path.parents) if not p.exists()]
    try:
        yield writable_dir(path, option)
    finally:
        for folder in new:
            with suppress(OSError):  # not empty, or never made
                folder.rmdir()


def writable_file(path: Path, option: str) -> Path:
    """Check that the file which an option names can be written, and make its folder.

    Raises
    ------
    UserError
        If it is a folder, or its folder cannot be made or written.
    """
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; name a file")
    writable_dir(path.parent, option)
    return path


def writable_dir(path: Path, option: str = "--out") -> Path:
    """Make the folder that an option names, and check that it can be written.

    Raises
    ------
    UserError
        If it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{option} {path}: cannot write there ({error.strerror}); name a folder you can write"
        ) from error
    return path
