"""Stored scales: bfloat16 for a row, eighths of an octave for a column, float32 for a single one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.coding import format_v2 as fmt


def round_to_bfloat16(values: Float64Array) -> Float64Array:
    """Nearest bfloat16 (8 significant bits, ties to even), as float64. Range 1.2e-38 to 3.4e38; beyond it the nearest end.

    Examples
    --------
    >>> round_to_bfloat16(np.array([1.0, 1.003, 0.1])).tolist()
    [1.0, 1.0, 0.10009765625]
    """
    return unpack_bfloat16(pack_bfloat16(values))


def pack_bfloat16(values: Float64Array) -> NDArray[np.uint16]:
    """Bit patterns of the nearest bfloat16 of non-negative numbers; exact for values that are bfloat16 already."""
    with np.errstate(over="ignore"):
        bits = np.asarray(values, dtype=np.float64).astype("<f4").view("<u4").astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.asarray(np.minimum(rounded, 0x7F7F), dtype=np.uint16)


def bfloat16_bytes(values: Float64Array) -> bytes:
    """Scales as a container stores them."""
    return pack_bfloat16(values).astype(fmt.SCALES_DTYPE).tobytes()


def unpack_bfloat16(patterns: NDArray[np.uint16]) -> Float64Array:
    """The numbers behind bit patterns, as float64."""
    return (patterns.astype("<u4") << 16).view("<f4").astype(np.float64)


def octave_exponents(steps: Float64Array) -> NDArray[np.uint8]:
    """Distance of each step above the finest in eighths of an octave, rounded; shape (r,).

    One byte a column. Rounding to eighths of an octave costs successive cancellation ½ log2 K = 0.0009 bit, against the 8 bits over
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
