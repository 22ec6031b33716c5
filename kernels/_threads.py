"""Blocks of rows on threads of our own, with a BLAS that stays on the thread that calls it.

Two pools of threads that take turns, BLAS's and another, wait for their turn by spinning, which costs several times the work itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from numba import get_num_threads
from threadpoolctl import ThreadpoolController

_busy = threading.Lock()


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def thread_count() -> int:
    """Threads that a kernel may use: Numba's number, which NUMBA_NUM_THREADS and `numba.set_num_threads` set."""
    return int(get_num_threads())


def for_each(work: Callable[[int], None], items: range, threads: int) -> None:
    """Call `work` for every item on so many threads, each with BLAS to itself.

    With one thread, or while another call has the threads, the items are done one after another in this thread. So only one call at a
    time changes the limit of BLAS, and it sets back what it found.
    """
    count = min(threads, len(items))
    if count <= 1 or not _busy.acquire(blocking=False):
        for item in items:
            work(item)
        return
    try:
        with _controller().limit(limits=1, user_api="blas"), ThreadPoolExecutor(count) as pool:
            for _ in pool.map(work, items):
                pass
    finally:
        _busy.release()
