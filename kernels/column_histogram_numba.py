"""Histogram of each column on the CPU: strips of columns whose counts stay in the nearest cache."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count

#: Counts of a strip, in elements; and its columns at most and at least, so that a row of it fills cache lines.
TABLE, WIDEST, NARROWEST = 2**13, 512, 16
#: Fewer integers than this are not worth starting threads for.
THREADS_FROM = 2**18


@jit(nogil=True, error_model="numpy")
def _count(integers, low, counts):  # type: ignore[no-untyped-def]
    (m, p), width = integers.shape, np.uint64(counts.shape[1])
    for i in range(m):
        row = integers[i]
        for j in range(p):
            k = np.uint64(np.int64(row[j]) - low)  # below the window it wraps to a number above it
            if k < width:
                counts[j, k] += 1


def column_histogram(
    integers: NDArray[np.int32],  # (m, n)
    *,
    low: int,
    width: int,
) -> NDArray[np.int64]:
    """Same as `rdtools.kernels.column_histogram_reference.column_histogram`, faster."""
    n = integers.shape[1]
    counts = np.zeros((n, width), dtype=np.int64)
    integers = np.require(integers, requirements=["C", "W", "A"])  # a layout or read-only flag of its own would be compiled anew
    strip = min(WIDEST, max(NARROWEST, TABLE // max(width, 1)))

    def count(start: int) -> None:
        _count(integers[:, start : start + strip], np.int64(low), counts[start : start + strip])

    for_each(count, range(0, n, strip), thread_count() if integers.size >= THREADS_FROM else 1)
    return counts
