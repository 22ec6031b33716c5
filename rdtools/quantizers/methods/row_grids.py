"""Methods whose fixed-rate form has a choice of grids: per row, or per row and group of neighbouring columns."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial

import numpy as np

from rdtools.errors import RateUnreachable, UsageError
from rdtools.quantizers.grids.absmax import levels_for
from rdtools.quantizers.grids.row import MAX_SHIFTED_LEVELS, GridRule, row_grid
from rdtools.quantizers.methods.scalar import ScalarQuantizer, stored_grid
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.groups import Fit, GroupedCodes
from rdtools.quantizers.search.rate import Candidate
from rdtools.records import RowScales, ScalarCodes, Uniform, UniformGrid
from rdtools.records.error_models import ErrorModel


@dataclass(frozen=True, kw_only=True)
class RowGridQuantizer(ScalarQuantizer):
    """A scalar quantizer whose fixed-rate form has a choice of grids; without one it is `rdtools.quantizers.grids.absmax.fixed_rate`.

    Attributes
    ----------
    group_size : columns in a group that has scales of its own, the last group holding what is left; None for one scale a row
    symmetric : False for a grid from the least to the largest weight, zero included, with a zero point of one byte for each scale
    grid : "absmax", the full range of the weights, or "mse", shrunk to what gives the least error; see `rdtools.quantizers.grids.row`
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
        """Refuse a rate that the method cannot have on any layer; see `Quantizer.check_reachable`."""
        super().check_reachable(name)
        if not self.symmetric and levels_for(self.rate_bits, name) > MAX_SHIFTED_LEVELS:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: a zero point has one byte, and so a grid with one at most "
                f"{MAX_SHIFTED_LEVELS} levels; ask for at most {math.log2(MAX_SHIFTED_LEVELS):g} bits"
            )

    def _candidate(self, problem: Problem, name: str) -> tuple[Candidate[ScalarCodes], ErrorModel]:
        if not self._grid_settings:
            return super()._candidate(problem, name)
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
        rows = RowScales(
            np.stack([grid.scales for grid in grids], axis=1), np.stack(zero_points, axis=1) if zero_points else None, group_size
        )
        codes = ScalarCodes(integers, UniformGrid(1.0, offset=grids[0].offset, levels=levels, rows=rows), Uniform())
        return Candidate(math.log2(levels), codes), stored_grid(codes)
