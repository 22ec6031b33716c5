"""Blocks of rows on threads of our own, with a BLAS that stays on the thread that calls it.

Two pools of threads that take turns, BLAS's and another, wait for their turn by spinning, which costs several times the work itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from numba import get_num_threads

from rdtools.threads import one_blas_thread

_busy = threading.Lock()


def thread_count() -> int:
    """Threads that a kernel may use: Numba's number, which NUMBA_NUM_THREADS and `numba.set_num_threads` set."""
    return int(get_num_threads())


def for_each(work: Callable[[int], None], items: range, threads: int) -> None:
    """Call `work` for every item on so many threads, each with BLAS to itself.

    With one thread, or while another call has the threads, the items are done one after another in this thread, and BLAS is left alone.
    """
    count = min(threads, len(items))
    if count <= 1 or not _busy.acquire(blocking=False):
        for item in items:
            work(item)
        return

    def work_alone(item: int) -> None:
        with one_blas_thread():
            work(item)

    try:
        with one_blas_thread(), ThreadPoolExecutor(count) as pool:
            for _ in pool.map(work_alone, items):
                pass
    finally:
        _busy.release()
