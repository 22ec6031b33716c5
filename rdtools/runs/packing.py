"""A symmetric matrix as its lower triangle by rows, the form in which Hessians are stored."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import panels
from rdtools.errors import CorruptFile


def pack(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangle by rows, shape (n(n+1)/2,)."""
    n = len(matrix)
    packed = np.empty(n * (n + 1) // 2)
    for i, row in enumerate(matrix):
        first = i * (i + 1) // 2
        packed[first : first + i + 1] = row[: i + 1]
    return packed


def unpack(packed: NDArray[np.float64], *, name: str) -> NDArray[np.float64]:
    """The symmetric matrix behind a packed triangle.

    Raises
    ------
    CorruptFile
        If the length is not n(n+1)/2 for a whole n.
    """
    n = (math.isqrt(8 * packed.size + 1) - 1) // 2
    if packed.ndim != 1 or n * (n + 1) // 2 != packed.size:
        raise CorruptFile(f"{name}: packed triangle of shape {packed.shape}, expected n(n+1)/2 numbers; not a file of rdtools")
    matrix = np.empty((n, n))
    for i in range(n):
        first = i * (i + 1) // 2
        np.add(packed[first : first + i + 1], 0.0, out=matrix[i, : i + 1])  # a sum, so that no zero has a sign
    for rows in panels(n, n):
        block = matrix[rows, rows]
        block[...] = np.tril(block) + np.tril(block, -1).T
        matrix[rows, rows.stop :] = matrix[rows.stop :, rows].T
    return matrix
