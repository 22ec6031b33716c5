"""Fixed-rate codes on grids that belong to rows, or to rows and groups of neighbouring columns."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import RateUnreachable, UsageError
from rdtools.ops import sic_sweep
from rdtools.quantizers.base import ScalarQuantizer
from rdtools.quantizers.block_ldlq import block_ldlq
from rdtools.quantizers.grid import levels_for
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rate_search import Candidate
from rdtools.quantizers.row_grid import MAX_SHIFTED_LEVELS, FloatArray, GridRule, RowGrid, row_grid
from rdtools.quantizers.vector import pad_problem
from rdtools.records import CodeModel, QuantizedWeight, ScalarCodes

Float64Array = NDArray[np.float64]

#: Makes the grids of the rows of some columns.
Fit = Callable[[FloatArray], RowGrid]


@dataclass(frozen=True, eq=False)
class GroupedCodes:
    """Codes of all columns, and the grids of each group.

    Attributes
    ----------
    integers : (m, r) int32
    values : (m, r), what they stand for, and what was fed back
    grids : of the groups, in the order of their columns
    """

    integers: NDArray[np.int32]
    values: FloatArray
    grids: list[RowGrid]


def _groups(columns: int, group_size: int) -> list[slice]:
    """Columns of each group, of which there is one at least; the last one holds what is left."""
    return [slice(first, min(first + group_size, columns)) for first in range(0, max(columns, 1), group_size)]


def round_groups(weight: Float64Array, group_size: int, fit: Fit) -> GroupedCodes:
    """Round each group of columns to nearest on a grid of its own.

    Parameters
    ----------
    weight : (m, r)
    group_size : columns in a group, the last group holding what is left
    fit : makes the grids
    """
    parts = _groups(weight.shape[1], group_size)
    grids = [fit(weight[:, part]) for part in parts]
    integers = [grid.nearest(weight[:, part]) for grid, part in zip(grids, parts, strict=True)]
    values = [grid.values(codes) for grid, codes in zip(grids, integers, strict=True)]
    return GroupedCodes(np.concatenate(integers, axis=1), np.concatenate(values, axis=1), grids)


def sweep_groups(
    weight: FloatArray,  # (m, r)
    factor: Float64Array,  # (r, r), lower triangular
    order: NDArray[np.intp],  # (r,)
    group_size: int,
    fit: Fit,
    *,
    dynamic: bool = False,
    backend: str | None = None,
) -> GroupedCodes:
    """Successive cancellation on grids of groups: clamped codes, whose whole error is fed back.

    Where columns are decided from one end to the other a group is a block of `block_ldlq`, inside of which the scales of a row are equal
    and one sweep decides. In other orders each column is a block of its own, which takes up to twice as long.

    Parameters
    ----------
    weight : (m, r) float64 or float32, which everything but the grids is computed in
    factor : (r, r), L, columns in `order`
    order : (r,) columns of the weights in the order of the factor's, the last decided first
    group_size : columns in a group, counted from the first; the last group holds what is left
    fit : makes the grids
    dynamic : from the targets of a group when its first column is decided, instead of from the weights; the columns of each group must
        be decided together, first to last or last to first
    backend : None, "numba" or "reference"

    References
    ----------
    Frantar et al., GPTQ, arXiv 2210.17323 (grouping; static groups in the reference implementation).
    """
    r = weight.shape[1]
    parts = _groups(r, group_size)
    natural = np.arange(r)
    ascending = np.array_equal(order, natural)
    whole = ascending or np.array_equal(order, natural[::-1])
    assert whole or not dynamic  # `GPTQ` refuses that
    # without any column the one group there is never starts
    grids = {} if dynamic and r else {group: fit(weight[:, part]) for group, part in enumerate(parts)}
    integers = np.empty(weight.shape, dtype=np.int32)
    ordered, L = weight[:, order], factor
    if ascending:  # blocks count from the last column, groups from the first
        ordered, L = pad_problem(ordered, factor, 1, group_size)
        ordered = ordered.astype(weight.dtype, copy=False)

    def round_group(targets: FloatArray, first_column: int) -> FloatArray:
        columns = order[first_column : first_column + targets.shape[1]]
        width = len(columns)
        own, inner = targets[:, :width], slice(first_column, first_column + width)
        group = int(columns.min()) // group_size
        if dynamic:
            grids[group] = fit(own)
        grid = grids[group]
        codes, _ = sic_sweep(
            grid.in_steps(own),
            np.ascontiguousarray(factor[inner, inner]),
            np.ones(width),
            offset=grid.offset,
            code_min=grid.code_min,
            code_max=grid.code_max,
            residual=False,
            backend=backend,
        )
        integers[:, columns] = codes
        rounded = np.zeros_like(targets)
        rounded[:, :width] = grid.values(codes)
        return rounded

    def round_column(targets: FloatArray, first_column: int) -> FloatArray:
        column = order[first_column]
        grid = grids[column // group_size]
        codes = grid.nearest(targets)
        integers[:, column] = codes[:, 0]
        return grid.values(codes).astype(targets.dtype, copy=False)

    block, rule = (group_size, round_group) if whole else (1, round_column)
    rounded = block_ldlq(ordered, L, block, rule)[:, :r]
    values = np.empty_like(rounded)
    values[:, order] = rounded
    return GroupedCodes(integers, values, [grids[group] for group in range(len(parts))])


@dataclass(frozen=True, kw_only=True)
class RowGridQuantizer(ScalarQuantizer):
    """A scalar quantizer whose fixed-rate form has a choice of grids; without one it is `rdtools.quantizers.grid.fixed_rate`.

    Attributes
    ----------
    group_size : columns in a group that has scales of its own, the last group holding what is left; None for one scale a row
    symmetric : False for a grid from the least to the largest weight, zero included, with a zero point of one byte for each scale
    grid : "absmax", the full range of the weights, or "mse", shrunk to what gives the least error; see `rdtools.quantizers.row_grid`
    """

    group_size: int | None = None
    symmetric: bool = True
    grid: GridRule = "absmax"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid not in ("absmax", "mse"):
            raise UsageError(f"grid {self.grid!r}: expected 'absmax' or 'mse'")
        if self.group_size is not None and self.group_size < 1:
            raise UsageError(f"group_size {self.group_size}: expected None or at least one column")
        for setting in self._grid_settings:
            if self.coding != "fixed":
                raise UsageError(f"{setting} with coding={self.coding!r}: entropy-coded grids have one scale; expected coding='fixed'")

    @property
    def _grid_settings(self) -> list[str]:
        """Settings that only a fixed rate has, as far as they are not the default."""
        return [
            *([] if self.group_size is None else [f"group_size={self.group_size}"]),
            *([] if self.symmetric else ["symmetric=False"]),
            *([] if self.grid == "absmax" else [f"grid={self.grid!r}"]),
        ]

    @property
    def absmax_rows(self) -> bool:
        """Whether a fixed rate means one grid a row from −max|row| to max|row|."""
        return not self._grid_settings

    @property
    def _group_suffix(self) -> str:
        return "" if self.group_size is None else f"-g{self.group_size}"

    @property
    def _grid_suffix(self) -> str:
        """What grids add to the name of the method."""
        return self._group_suffix + "-asym" * (not self.symmetric) + "-mse" * (self.grid == "mse")

    @abstractmethod
    def _group_codes(self, problem: Problem, group_size: int, fit: Fit) -> GroupedCodes:
        """Codes on grids of groups."""

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer; see `ScalarQuantizer.check_reachable`."""
        super().check_reachable(name)
        if not self.symmetric and levels_for(self.rate_bits, name) > MAX_SHIFTED_LEVELS:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: a zero point has one byte, and so a grid with one at most "
                f"{MAX_SHIFTED_LEVELS} levels; ask for at most {math.log2(MAX_SHIFTED_LEVELS):g} bits"
            )

    def solve(self, problem: Problem) -> Candidate[QuantizedWeight]:
        """Quantize a prepared layer; the rate is per live weight."""
        if not self._grid_settings:
            return super().solve(problem)
        name = f"{problem.key.name}: {self.method}"
        self.check_reachable(name)
        levels = levels_for(self.rate_bits, name)
        group_size = min(self.group_size or 0, max(problem.target.shape[1], 1))
        fit = partial(row_grid, levels=levels, symmetric=self.symmetric, rule=self.grid, name=name)
        if group_size == 0:
            grids = [fit(problem.target)]
            ones = np.ones(problem.target.shape[1])
            scaled = grids[0].in_steps(problem.target)
            integers = self._rounding(problem)(scaled, ones, ones, grids[0].offset, grids[0].code_min, grids[0].code_max)
        else:
            found = self._group_codes(problem, group_size, fit)
            integers, grids = found.integers, found.grids
        zero_points = [grid.zero_points for grid in grids if grid.zero_points is not None]
        codes = ScalarCodes(
            integers,
            1.0,
            CodeModel("fixed", levels=levels),
            row_scales=np.stack([grid.scales for grid in grids], axis=1),
            zero_points=np.stack(zero_points, axis=1) if zero_points else None,
            group_size=group_size,
            offset=grids[0].offset,
        )
        return Candidate(math.log2(levels), QuantizedWeight(problem.basis, codes))
