"""Rounding to one grid of K levels with linear feedback and greedy passes, as QuIP does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Matrix, as_dtype, beside, empty_like, put_columns, row_blocks, set_columns, take_columns
from rdtools.ops import coordinate_descent, sic_sweep


@dataclass(frozen=True, eq=False)
class GridRounding:
    """Decides the integers of weights at a given step.

    Attributes
    ----------
    levels : K
    order : (r,) columns of the weights in the order of those of the feedback, the last decided first
    feedback : (r, r) lower triangular, by which errors of later columns are fed back; None for rounding to nearest before greedy passes
    moment : (r, r) of the loss that greedy passes lower, its columns from the last of `order` to the first; None for no passes
    passes : greedy ones, at most
    clips_first : clip weights to the grid before they are rounded, so that the rest is not fed back
    seed : of stochastic rounding; None for rounding to nearest
    backend : None, "numba" or "reference"
    """

    levels: int
    order: NDArray[np.intp]
    feedback: Matrix | None
    moment: Matrix | None
    passes: int
    clips_first: bool
    seed: int | None
    backend: str | None

    @property
    def offset(self) -> float:
        """½ for an even number of levels, which has none at zero; else 0."""
        return 0.5 if self.levels % 2 == 0 else 0.0

    def __call__(self, weight: Matrix, step: float) -> Matrix:
        """(m, r) integers, some rows after others, unless rounding is stochastic, whose generator counts rows from the first."""
        if self.seed is not None:
            return put_columns(self._decided(take_columns(weight, self.order), step), self.order)
        integers = empty_like(weight, "int32")
        # a greedy pass takes more memory for a row than feedback does
        for rows in row_blocks(weight, parts=1 if self.moment is None else 2):
            set_columns(integers[rows], self.order, self._decided(take_columns(weight[rows], self.order), step))
        return integers

    def _decided(self, weight: Matrix, step: float) -> Matrix:
        """Integers of weights whose columns are in the order of the feedback."""
        offset, lowest = self.offset, -(self.levels // 2)
        highest = lowest + self.levels - 1
        scaled = weight / (step or 1.0)
        if self.clips_first:
            scaled = scaled.clip(lowest + offset, highest + offset)
        ones = beside(np.ones(len(self.order)), weight)
        grid: dict[str, Any] = {"offset": offset, "integer_min": lowest, "integer_max": highest, "backend": self.backend}
        if self.feedback is None:
            integers = as_dtype((scaled - offset).round().clip(lowest, highest), "int32")
        else:
            integers, _ = sic_sweep(scaled, self.feedback, ones, seed=self.seed, residual=False, **grid)
        if self.moment is not None:
            backward = np.arange(len(self.order))[::-1]
            first, start = take_columns(scaled, backward), take_columns(integers, backward)
            del weight, scaled, integers
            better, _ = coordinate_descent(first, self.moment, start, ones, passes=self.passes, order=backward[::-1], **grid)
            integers = take_columns(better, backward)
        return integers
