"""Methods of a fixed rate: a grid of K levels for each row, or for each row and group of neighbouring columns."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import get_args

import numpy as np

from rdtools.errors import RateUnreachable, UsageError
from rdtools.quantizers.base import Solution
from rdtools.quantizers.grids.column_gains import widest_steps
from rdtools.quantizers.grids.levels import levels_for
from rdtools.quantizers.grids.row import MAX_SHIFTED_LEVELS, Grid, RangeRule, row_grid
from rdtools.quantizers.methods.scalar import ScalarQuantizer, stored_grid
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.groups import Fit, GroupedIntegers
from rdtools.quantizers.settings import check_choice
from rdtools.records import RowScales, ScalarSymbols, Uniform, UniformGrid
from rdtools.records.error_models import AbsmaxRows, ErrorModel


@dataclass(frozen=True, kw_only=True)
class RowGridQuantizer(ScalarQuantizer):
    """A scalar quantizer on grids of K = 2^rate levels; see `rdtools.quantizers.grids.row.row_grid`.

    Attributes
    ----------
    grid : "symmetric", with a level at zero; "asymmetric", from the least to the largest weight, with a zero point of one byte for each
        scale; or "midrise", symmetric with levels half a step from zero
    range_rule : "absmax", the full range of the weights, or "mse", shrunk to what gives the least error
    group_size : columns in a group that has scales of its own, the last group holding what is left; None for one scale a row
    """

    grid: Grid = "symmetric"
    range_rule: RangeRule = "absmax"
    group_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("grid", self.grid, get_args(Grid))
        check_choice("range_rule", self.range_rule, get_args(RangeRule))
        if self.group_size is not None and self.group_size < 1:
            raise UsageError(f"group_size {self.group_size}: expected None or at least one column")

    @abstractmethod
    def _group_integers(self, problem: Problem, group_size: int, fit: Fit) -> GroupedIntegers:
        """Integers on grids of groups."""

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer; see `Quantizer.check_reachable`."""
        levels = levels_for(self.rate_bits, name)
        if self.grid == "asymmetric" and levels > MAX_SHIFTED_LEVELS:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: a zero point has one byte, and so a grid with one at most "
                f"{MAX_SHIFTED_LEVELS} levels; ask for at most {math.log2(MAX_SHIFTED_LEVELS):g} bits"
            )
        if self.grid == "symmetric" and levels == 2:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: of two levels, one of them at zero, none is positive; "
                "ask for grid='midrise' (the methods rtn-midrise and gptq-midrise), or for more bits"
            )

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        name = f"{problem.key.name}: {type(self).__name__}"
        levels = levels_for(self.rate_bits, name)
        group_size = min(self.group_size or 0, max(problem.target.shape[1], 1))
        fit = partial(row_grid, levels=levels, grid=self.grid, range_rule=self.range_rule, name=name)
        if group_size == 0:
            grids = [fit(problem.target)]
            ones = np.ones(problem.target.shape[1])
            scaled = grids[0].in_steps(problem.target)
            integers = self._rounding(problem)(scaled, ones, ones, grids[0].offset, grids[0].integer_min, grids[0].integer_max)
        else:
            solution = self._group_integers(problem, group_size, fit)
            integers, grids = solution.integers, solution.grids
        zero_points = [grid.zero_points for grid in grids if grid.zero_points is not None]
        rows = RowScales(
            np.stack([grid.scales for grid in grids], axis=1), np.stack(zero_points, axis=1) if zero_points else None, group_size
        )
        symbols = ScalarSymbols(integers, UniformGrid(1.0, offset=grids[0].offset, levels=levels, rows=rows), Uniform())
        return Solution(symbols, math.log2(levels), self._error_model(symbols))

    def _error_model(self, symbols: ScalarSymbols) -> ErrorModel:
        if (self.grid, self.range_rule, self.group_size) == ("midrise", "absmax", None):
            return AbsmaxRows(widest_steps=widest_steps(symbols), levels=symbols.grid.levels)
        return stored_grid(symbols)
