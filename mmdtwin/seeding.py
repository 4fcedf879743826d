"""One random stream per purpose, so that drawing from one never shifts another."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Return the generator of a purpose ("physics", "imaging", "randomisation", "task", ...).

    The same (seed, purpose, index) always gives the same stream.
    """
    key = (zlib.crc32(purpose.encode()), index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
