"""Histogram of each column of a matrix of integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def column_histogram(
    integers: NDArray[np.int32],  # (m, n)
    *,
    low: int,
    width: int,
) -> NDArray[np.int64]:
    """``counts[j, k] = #{i : integers[i, j] = low + k}`` for 0 ≤ k < width; what lies outside the window is not counted.

    Parameters
    ----------
    integers : (m, n) int32
    low, width : the window

    Returns
    -------
    counts : (n, width) int64
    """
    counts = np.zeros((integers.shape[1], width), dtype=np.int64)
    for j, column in enumerate(integers.T):
        index = column.astype(np.int64) - low
        counts[j] = np.bincount(index[(index >= 0) & (index < width)], minlength=width)
    return counts
