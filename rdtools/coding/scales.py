"""Stored scales: bfloat16 for a row, eighths of an octave for a column, float32 for a single one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.coding import format_v2 as fmt
from rdtools.errors import UsageError
from rdtools.records.stored import bfloat16_patterns, bfloat16_values


def round_to_bfloat16(values: Float64Array) -> Float64Array:
    """Nearest bfloat16 (8 significant bits, ties to even), as float64. Range 1.2e-38 to 3.4e38; beyond it the nearest end.

    Examples
    --------
    >>> round_to_bfloat16(np.array([1.0, 1.003, 0.1])).tolist()
    [1.0, 1.0, 0.10009765625]
    """
    return bfloat16_values(np.minimum(bfloat16_patterns(values), 0x7F7F))


def stored_patterns(values: Float64Array) -> NDArray[np.uint32]:
    """Bits of scales as a container stores them.

    Raises
    ------
    UsageError
        For numbers that are negative or no finite ones of bfloat16.
    """
    patterns = np.minimum(bfloat16_patterns(values), 0x7F7F)
    wrong = bfloat16_values(patterns) != values
    if wrong.any():
        raise UsageError(f"encode: a scale of {values[wrong][0]!r}, expected finite numbers of bfloat16 of at least 0; round them before")
    return patterns


def bfloat16_bytes(values: Float64Array) -> bytes:
    """Scales as a container stores them; raises as `stored_patterns`."""
    return stored_patterns(values).astype(fmt.SCALES_DTYPE).tobytes()


def octave_exponents(steps: Float64Array) -> NDArray[np.uint8]:
    """Distance of each step above the finest in eighths of an octave, rounded; shape (r,).

    One byte per column. Rounding to eighths of an octave costs successive cancellation ½ log2 K = 0.0009 bit, against the 8 bits over
    the number of rows that a 16-bit scale would cost more. A step more than 2^31.875 times the finest is stored as that: of such a column
    every code is zero at any rate that the finest one has. A step of zero is stored as the finest.

    Examples
    --------
    >>> octave_exponents(np.array([1.0, 2.0, 2.2]))
    array([0, 8, 9], dtype=uint8)
    """
    positive = steps[steps > 0]
    if positive.size == 0:
        return np.zeros(len(steps), dtype=np.uint8)
    finest = positive.min()
    return np.asarray(np.minimum(np.rint(8.0 * np.log2(np.maximum(steps, finest) / finest)), 255), dtype=np.uint8)


def round_to_float32(value: float) -> float:
    """Nearest float32, as a Python float."""
    return float(np.float32(value))
