"""Two threads for loops over pixels in compiled code that lets go of Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

THREADS = 2


def in_parallel(n: int, work: Callable[[int, int, int], None]) -> None:
    """Call ``work(part, first, end)`` for both halves of ``range(n)``, at the same time.

    Results must not depend on which is done first.
    """
    other = _pool(os.getpid()).submit(work, 1, n // THREADS, n)
    work(0, 0, n // THREADS)
    other.result()


@lru_cache(maxsize=1)
def _pool(_process: int) -> ThreadPoolExecutor:
    # By process: a fork copies the pool, but not its threads.
    return ThreadPoolExecutor(THREADS - 1, thread_name_prefix="xray")
