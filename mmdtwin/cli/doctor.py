"""`mmdtwin doctor`: what this machine has and lacks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import tempfile

from rich.console import Console
from rich.table import Table

from mmdtwin.files import cache_dir

REQUIRED = (
    "numpy", "scipy", "numba", "pybullet", "magpylib", "gymnasium", "xraylib",
    "opencv-python-headless", "scikit-image", "nibabel", "h5py", "av", "matplotlib",
)  # fmt: skip
OPTIONAL = {"stable-baselines3": "rl: trains policies", "torch": "rl: trains policies"}


def report() -> bool:
    """Print the findings; return True if everything required is there."""
    table = Table("what", "found", "ok")
    healthy = True

    def row(what: str, found: str, ok: bool, needed: bool = True) -> None:
        nonlocal healthy
        healthy &= ok or not needed
        table.add_row(what, found, "yes" if ok else ("NO" if needed else "not installed"))

    row("Python", platform.python_version(), sys.version_info[:2] == (3, 11))
    row("machine", f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}", True)
    for name in REQUIRED:
        found = _version(name)
        row(name, found or "missing: pip install mmdtwin", bool(found))
    for name, why in OPTIONAL.items():
        found = _version(name)
        row(name, found or f"optional ({why}): pip install 'mmdtwin[rl]'", bool(found), False)
    cache = _cache()
    row("cache", cache, not cache.startswith("cannot"))
    anatomy = cache_dir("anatomy") if not cache.startswith("cannot") else None
    full = bool(anatomy and any(anatomy.rglob("*.nii.gz")))
    row("full CT", "cached" if full else "not fetched; the shipped sample is used", full, False)
    row("video encoder", _encoder(), _encoder() != "none")
    Console().print(table)
    return healthy


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cache() -> str:
    try:
        path = cache_dir("doctor")
        with tempfile.TemporaryFile(dir=path):
            return str(path.parent)
    except OSError as error:
        return f"cannot write: {error}; set MMDTWIN_CACHE to a folder you can write"


def _encoder() -> str:
    from mmdtwin.cli.navigation.video import encoder

    return encoder() or "none"
