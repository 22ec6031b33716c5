"""Histogram of each column of a matrix of integers by torch's own functions, on any device that torch has."""

from __future__ import annotations

import torch
from torch import Tensor

#: Integers that are counted at a time.
_ENTRIES = 2**24


def column_histogram(
    integers: Tensor,  # (m, n)
    *,
    low: int,
    width: int,
) -> Tensor:
    """Same as `rdtools.kernels.column_histogram_reference.column_histogram`."""
    m, n = integers.shape
    counts = torch.zeros((n, width), dtype=torch.int64, device=integers.device)
    stride = max(1, _ENTRIES // max(m, 1))
    for first in range(0, n, stride) if m * width else ():
        index = integers[:, first : first + stride].to(torch.int64) - low
        inside = (index >= 0) & (index < width)
        columns = index.shape[1]
        # what is outside is counted behind the last column
        keys = torch.where(inside, index + torch.arange(columns, device=index.device) * width, columns * width)
        counts[first : first + stride] = torch.bincount(keys.flatten(), minlength=columns * width + 1)[:-1].reshape(columns, width)
    return counts
