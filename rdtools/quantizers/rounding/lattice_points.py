"""Nearest points of D4 and E8, which are all integer vectors whose parities are a word of a binary code."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.coding import codewords
from rdtools.records import LatticeName


def equal_rate_step(lattice: LatticeName) -> float:
    """Step of a scalar quantizer of the same rate at high rate, in pairs of integers: half the N-th root of the cell's volume.

    Examples
    --------
    >>> round(equal_rate_step("E8") ** 2, 12)
    0.5
    """
    words = codewords(lattice)
    checks = words.shape[1] - round(math.log2(len(words)))
    return float(0.5 * 2.0 ** (checks / words.shape[1]))


def nearest_points(
    x: Float64Array,  # (m,)
    lattice: LatticeName,
    integer_max: int,
) -> NDArray[np.int32]:
    """(m,) integers nearest to x, four or eight at a time; rows that make no whole vector are rounded to even integers.

    For each codeword c the nearest integers of its parities are at ``Σ_i d_i(c_i)``, d_i(b) the squared distance of x_i from the nearest
    integer of parity b: the least sum of all codewords is that of the nearest point.

    Examples
    --------
    The last integer is rounded the wrong way, because the sum of a vector of D4 is even.

    >>> nearest_points(np.array([1.0, 0.1, -2.1, 0.4]), "D4", 9).tolist()
    [1, 0, -2, 1]
    """
    words = codewords(lattice).astype(np.float64)
    size = words.shape[1]
    even, odd = 2.0 * np.rint(0.5 * x), 2.0 * np.floor(0.5 * x) + 1.0
    covered = len(x) // size * size
    extra = ((x - odd) ** 2 - (x - even) ** 2)[:covered].reshape(-1, size)
    parities = np.zeros(len(x), dtype=bool)
    parities[:covered] = words[np.argmin(extra @ words.T, axis=1)].ravel() > 0
    most = float(integer_max // 2 * 2)
    return np.where(parities, np.clip(odd, 1.0 - most, most - 1.0), np.clip(even, -most, most)).astype(np.int32)
