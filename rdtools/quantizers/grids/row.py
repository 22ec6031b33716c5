"""Uniform grids of rows: K levels to a row, their step stored in bfloat16, around zero or shifted by a zero point.

A grid fits the numbers that it is made from, which may be whole rows or the part of them that is in one group of columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, as_dtype, beside, dtype_name, is_tensor, on_host, row_absmax
from rdtools.coding import round_to_bfloat16
from rdtools.quantizers.grids.levels import check_step

Grid = Literal["symmetric", "asymmetric", "midrise"]
RangeRule = Literal["absmax", "mse"]

#: A zero point is stored in one byte, so that a shifted grid has at most so many levels.
MAX_SHIFTED_LEVELS = 256

#: The search tries ranges of 1, 0.99 … 0.21 times the full one, and sums errors to this power: less than a square makes of the few large
#: ones that clipping leaves, more than their magnitude. Both are those of GPTQ's reference implementation.
_SHRINKAGES = 1.0 - np.arange(80) / 100
_ERROR_POWER = 2.4
#: Numbers at a time in the search: what 80 passes over them read stays in the cache.
_SEARCH_CHUNK = 2**15
#: The same on a device, where more at a time are fewer launches.
_DEVICE_CHUNK = 2**26


@dataclass(frozen=True, eq=False)
class RowGrid:
    """K levels to a row at ``s_k (z + offset − p_k)``, z = −⌊K/2⌋ … K − 1 − ⌊K/2⌋, as `rdtools.records.ScalarSymbols` has them.

    Attributes
    ----------
    levels : K
    scales : (m,) float64, s ≥ 0; what is stored holds bfloat16 values
    zero_points : (m,) int8, p, which puts a level at zero; None for 0
    offset : ½ for a mid-rise grid of an even number of levels, which has none at zero; else 0
    """

    levels: int
    scales: Float64Array
    zero_points: NDArray[np.int8] | None = None
    offset: float = 0.0

    @property
    def integer_min(self) -> int:
        """The lowest z."""
        return -(self.levels // 2)

    @property
    def integer_max(self) -> int:
        """The highest z."""
        return self.integer_min + self.levels - 1

    def in_steps(self, values: Matrix) -> Matrix:
        """``x/s + p``, whose nearest ``z + offset`` is the code; (m, g), in the dtype of `values`. A row of scale 0 stays as it is."""
        steps = np.where(self.scales > 0, self.scales, 1.0).astype(dtype_name(values))
        scaled = values / beside(steps[:, None], values)
        if self.zero_points is not None:
            scaled += beside(self.zero_points[:, None], values)
        return scaled

    def nearest(self, values: Matrix) -> Matrix:
        """Code of the level nearest to each of (m, g) numbers, int32."""
        return as_dtype((self.in_steps(values) - self.offset).round().clip(self.integer_min, self.integer_max), "int32")

    def values(self, integers: Matrix) -> Matrix:
        """The values of integers, (m, g) float64, as `rdtools.coding.reconstruct` computes it."""
        levels = as_dtype(integers, "float64") + self.offset
        if self.zero_points is not None:
            levels -= beside(self.zero_points[:, None], levels)
        return levels * beside(self.scales[:, None], levels)


def _ends(values: Matrix) -> tuple[Float64Array, Float64Array]:
    """(m,) minimum and maximum of each row and zero."""
    if is_tensor(values):
        if values.shape[1] == 0:
            return np.zeros(len(values)), np.zeros(len(values))
        low, high = values.aminmax(dim=1)
        return on_host(low.double().clip(max=0.0)), on_host(high.double().clip(min=0.0))
    return np.min(values, axis=1, initial=0.0).astype(np.float64), np.max(values, axis=1, initial=0.0).astype(np.float64)


def _ranges(values: Matrix, levels: int, grid: Grid) -> tuple[Float64Array, Float64Array]:
    """Step of the full range of each row, and where the range starts."""
    if grid != "asymmetric":
        lowest = -row_absmax(values)
        return -2.0 * lowest / (levels if grid == "midrise" else levels - 1), lowest
    lowest, highest = _ends(values)
    return (highest - lowest) / (levels - 1), lowest


def _grid(steps: Float64Array, lowest: Float64Array, levels: int, grid: Grid) -> RowGrid:
    """The grid of ranges that start at `lowest`, with its steps as they are stored."""
    scales = round_to_bfloat16(steps)
    if grid != "asymmetric":
        return RowGrid(levels, scales, offset=0.5 if grid == "midrise" and levels % 2 == 0 else 0.0)
    zero = np.clip(np.rint(-lowest / np.where(scales > 0, scales, 1.0)), 0, levels - 1)
    return RowGrid(levels, scales, (zero - levels // 2).astype(np.int8))


def _search_errors(values: Matrix, grid: RowGrid) -> Float64Array:
    """``Σ |q − x|^2.4`` of each row."""
    error = grid.in_steps(values)
    integers = (error - grid.offset).round().clip(grid.integer_min, grid.integer_max)
    integers += grid.offset
    error -= integers
    # in the row's own steps, whose power comes last, so that no scale of the weights overflows
    return np.asarray(on_host((abs(error) ** _ERROR_POWER).sum(axis=1)) * grid.scales**_ERROR_POWER)


def _searched(values: Matrix, steps: Float64Array, lowest: Float64Array, levels: int, grid: Grid) -> RowGrid:
    """The range of least error among the shrunk ones of each row, the widest of equals."""
    unit = np.where(steps > 0, steps, 1.0)
    least = np.full(len(values), np.inf)
    chosen = np.ones(len(values))
    rows = max(1, (_DEVICE_CHUNK if is_tensor(values) else _SEARCH_CHUNK) // max(values.shape[1], 1))
    for top in range(0, len(values), rows):
        part = slice(top, top + rows)
        # a range of its own step 1: its errors compare as those of the row do
        relative = values[part] / beside(unit[part, None], values)
        for shrinkage in _SHRINKAGES:
            stored = _grid(shrinkage * steps[part], shrinkage * lowest[part], levels, grid)
            error = _search_errors(relative, replace(stored, scales=stored.scales / unit[part]))
            better = error < least[part]
            least[part] = np.where(better, error, least[part])
            chosen[part] = np.where(better, shrinkage, chosen[part])
    return _grid(chosen * steps, chosen * lowest, levels, grid)


def row_grid(
    values: Matrix,  # (m, g)
    levels: int,
    *,
    grid: Grid = "symmetric",
    range_rule: RangeRule = "absmax",
    name: str = "grid",
) -> RowGrid:
    """A grid for each row.

    Symmetric: ``s = 2 max|x|/(K − 1)`` and the levels ``s z``, zero among them; for even K there is one more below zero than above.
    Asymmetric: the range is that of the row and zero, ``s = (max(x, 0) − min(x, 0))/(K − 1)``, and ``round(−min(x, 0)/s)`` levels are
    below zero, which is one itself. Mid-rise: ``s = 2 max|x|/K``, for even K all levels half a step inside ±max. With "mse" both ends of
    the range shrink to the factor p = 1, 0.99 … 0.21 that gives the least ``Σ |q(x) − x|^2.4``. Rows of zeros have s = 0.

    The first two are those of GPTQ's reference implementation, but for the scales, which are rounded to bfloat16 as they are stored, and
    for rows of one sign, whose symmetric scale there is half of this one.

    Parameters
    ----------
    values : (m, g) float64 or float32
    levels : K ≥ 2, at most MAX_SHIFTED_LEVELS if asymmetric
    grid : "symmetric", "asymmetric" or "midrise"
    range_rule : "absmax", the full range, or "mse"
    name : of the layer and method, for messages

    Raises
    ------
    ScaleOutOfRange
        If the step of a row is outside the normal range of float32.

    References
    ----------
    Frantar et al., GPTQ, arXiv 2210.17323 (reference implementation: min-max grids and their search).

    Examples
    --------
    >>> grid = row_grid(np.array([[-1.0, 0.2, 2.0]]), 4, grid="asymmetric")
    >>> grid.scales.tolist(), grid.zero_points.tolist(), grid.values(grid.nearest(np.array([[-1.0, 0.2, 2.0]]))).tolist()
    ([1.0], [-1], [[-1.0, 0.0, 2.0]])
    >>> [row_grid(np.array([[-1.0, 0.2, 3.0]]), 4, grid=grid).scales.tolist() for grid in ("symmetric", "midrise")]
    [[2.0], [1.5]]
    """
    steps, lowest = _ranges(values, levels, grid)
    for step in (steps.min(where=steps > 0, initial=np.inf), steps.max(initial=0.0)):
        if 0 < step < np.inf:
            check_step(float(step), name)
    if range_rule == "absmax":
        return _grid(steps, lowest, levels, grid)
    return _searched(as_dtype(values, "float64"), steps, lowest, levels, grid)
