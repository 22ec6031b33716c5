"""Uniform grids, whose points are numbered by integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, dtype_name

#: 2^(j/8), rounded to float64; literals, because a library's power function may differ between machines in the last bit.
_OCTAVE_EIGHTHS = np.array(
    [
        1.0,
        1.0905077326652577,
        1.189207115002721,
        1.2968395546510096,
        1.4142135623730951,
        1.5422108254079407,
        1.681792830507429,
        1.8340080864093424,
    ]
)

#: Levels of a grid; a forged number beyond is refused before its table is made.
MAX_LEVELS = 2**16


def power_of_eighths(exponents: NDArray[np.integer]) -> Float64Array:
    """``2^(e/8)``, the same bits on every machine."""
    octaves, eighths = np.divmod(exponents.astype(np.int32), 8)
    return np.asarray(np.ldexp(_OCTAVE_EIGHTHS[eighths], octaves), dtype=np.float64)


def check_array(name: str, array: Matrix | None, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Refuse another dtype or shape of an array or tensor; None stands for any length, and for no array."""
    if array is None:
        return
    fits = array.ndim == len(shape) and all(want is None or length == want for length, want in zip(array.shape, shape, strict=True))
    if dtype_name(array) != np.dtype(dtype).name or not fits:
        expected = tuple("any" if length is None else length for length in shape)
        raise ValueError(f"{name} of {array.dtype} and shape {tuple(array.shape)}, expected {np.dtype(dtype)} and {expected}")


@dataclass(frozen=True, eq=False)
class RowScales:
    """Scales, and perhaps zero points, for each row and group of columns.

    Attributes
    ----------
    scales : (m, G) float64 holding bfloat16 values, s
    zero_points : (m, G) int8, p; None for 0
    group_size : columns in a group, the last group holding what is left; 0 for a single group
    """

    scales: Float64Array
    zero_points: NDArray[np.int8] | None = None
    group_size: int = 0

    def __post_init__(self) -> None:
        check_array("row scales", self.scales, np.float64, (None, None))
        check_array("zero points", self.zero_points, np.int8, self.scales.shape)
        if not 0 <= self.group_size <= 2**31 or int(self.group_size) != self.group_size:
            raise ValueError(f"group_size {self.group_size}, expected a whole number from 0 to 2^31")

    def check(self, rows: int, columns: int) -> None:
        """Refuse scales that are not of so many rows and columns."""
        groups = None if columns == 0 else -(-columns // self.group_size) if self.group_size else 1
        check_array("row scales", self.scales, np.float64, (rows, groups))


@dataclass(frozen=True, eq=False)
class UniformGrid:
    """Points ``s_kg step_i (z + offset − p_kg)`` for an integer z in row k and column i of group g, s and p those of `rows`.

    Attributes
    ----------
    step : float32 value; the step of every column, or the finest one
    exponents : (r,) uint8, column i has step ``step · 2^(exponent/8)``; None for equal steps
    offset : 0, or ½ for a mid-rise grid
    levels : number of levels K, integers lying in [−⌊K/2⌋, K−1−⌊K/2⌋]; 0 for a grid without end. With unequal steps it is that of the
        finest, halved with every octave of step begun; a single level is at zero
    rows : scales of rows; None for 1
    """

    step: float
    exponents: NDArray[np.uint8] | None = None
    offset: float = 0.0
    levels: int = 0
    rows: RowScales | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.step) and self.step >= 0):
            raise ValueError(f"step {self.step}, expected a finite number of at least 0")
        if self.offset not in (0.0, 0.5):
            raise ValueError(f"offset {self.offset}, expected 0 or 0.5")
        if not 0 <= self.levels <= MAX_LEVELS:
            raise ValueError(f"{self.levels} levels of a grid, expected 1 to {MAX_LEVELS}, or 0 for one without end")
        check_array("step exponents", self.exponents, np.uint8, (None,))

    def check(self, rows: int, columns: int) -> None:
        """Refuse a grid that is not of so many rows and columns."""
        check_array("step exponents", self.exponents, np.uint8, (columns,))
        if self.rows is not None:
            self.rows.check(rows, columns)

    def column_steps(self, columns: int) -> Float64Array:
        """(r,) step of each column."""
        return np.full(columns, self.step) if self.exponents is None else self.step * power_of_eighths(self.exponents)

    def column_levels(self, columns: int) -> NDArray[np.int64]:
        """(r,) levels of each column of a grid that has an end."""
        if self.exponents is None:
            return np.full(columns, self.levels)
        return np.asarray(np.maximum(self.levels >> -(-self.exponents.astype(np.int64) // 8), 1), dtype=np.int64)
