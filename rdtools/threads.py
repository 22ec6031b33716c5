"""BLAS on one thread while it matters, whoever else is at work in the process.

How a product is cut into parts decides about its rounding, so that a decoder, and everything that must give the same bits on every machine,
calls BLAS with one thread. The limit belongs to the process, except where OpenBLAS is built on OpenMP, where it belongs to the thread.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import threadpoolctl

_lock = threading.Lock()
_local = threading.local()  # depth: how often the calling thread has entered and not left


class _Limits:
    """The limits now in force; only touched under the lock.

    Attributes
    ----------
    libraries : controllers of the BLAS libraries that were loaded when `modules` modules were
    modules : as many as `sys.modules` had then: a library is loaded by an import
    threads : how many threads are inside
    before : library → its number of threads before the first of them entered
    """

    def __init__(self) -> None:
        self.libraries: list[Any] = []
        self.modules = -1
        self.threads = 0
        self.before: dict[str, int] = {}

    @staticmethod
    def _take_control() -> None:
        # From 3.8 on threadpoolctl obeys only the first thread that sets a limit of OpenBLAS; here the last one to leave takes it back.
        if hasattr(threadpoolctl.OpenBLASController, "clear_controlling_thread"):
            threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)

    def set_one(self) -> None:
        """One thread for each library that is loaded by now; looking for libraries takes milliseconds."""
        if self.modules != len(sys.modules):
            self.libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
            self.modules = len(sys.modules)
        for library in self.libraries:
            count = library.get_num_threads()
            self.before.setdefault(library.filepath, count)
            if count != 1:
                self._take_control()
                library.set_num_threads(1)

    def restore(self) -> None:
        """Give back to this thread, if it is the last one inside to all, what was there before."""
        for library in self.libraries:
            count = self.before.get(library.filepath, 1)
            is_openmp = getattr(library, "threading_layer", None) == "openmp"
            if count != 1 and (is_openmp or self.threads == 0):
                self._take_control()
                library.set_num_threads(count)
        self._take_control()  # whoever sets a limit next may
        if self.threads == 0:
            self.before = {}


_limits = _Limits()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """While any thread is inside, BLAS and LAPACK work in one thread; the last one to leave restores what the first one found.

    Entering again is cheap. A library that is loaded while a thread is inside is limited when any thread enters the next time.
    """
    depth = getattr(_local, "depth", 0)
    if depth == 0 or _limits.modules != len(sys.modules):
        with _lock:
            _limits.threads += depth == 0
            _limits.set_one()
    _local.depth = depth + 1
    try:
        yield
    finally:
        _local.depth = depth
        if depth == 0:
            with _lock:
                _limits.threads -= 1
                _limits.restore()
