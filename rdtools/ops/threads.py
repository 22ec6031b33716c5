"""Pieces of work on the threads that kernels have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import TypeVar

from rdtools.ops.dispatch import available_backends

T = TypeVar("T")
R = TypeVar("R")


def map_on_threads(work: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
    """Results of each item in order, like `map`, on as many threads as Numba has; one after another where that is one, or without Numba.

    Examples
    --------
    >>> list(map_on_threads(abs, [-1, 2]))
    [1, 2]
    """
    if "numba" not in available_backends() or len(items) < 2:
        return map(work, items)
    threads = import_module("rdtools.kernels._threads")
    if threads.thread_count() == 1:
        return map(work, items)
    results: dict[int, R] = {}

    def put(k: int) -> None:
        results[k] = work(items[k])

    threads.for_each(put, range(len(items)), threads.thread_count())
    return (results.pop(k) for k in range(len(items)))
