"""Grids of methods that decide whole columns, one after another: column steps but for their scale, and what is decided at a scale."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, empty_like, put_columns, take_columns, take_rows
from rdtools.quantizers.grids.levels import grid_of_step
from rdtools.quantizers.search.rate import Candidate
from rdtools.records import CosetSymbols, LatticePoints, UniformGrid

Walks = TypeVar("Walks", CosetSymbols, LatticePoints)
RowExponents = NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class ColumnWalks(ABC, Generic[Walks]):
    """Column steps but for their scale, and the integers that they give, whose rows depend on each other.

    Attributes
    ----------
    target : (m, r) float64, what is quantized
    factor : (r, r) float64, of the moment, columns in `order`
    order : (r,) columns of the target in the order of the factor's
    exponents : (r,) steps in eighths of an octave above the finest
    row_exponents : (m,) standard deviations of rows in eighths of an octave; None where they do not pay
    name : of the layer and method, for messages
    """

    target: Matrix
    factor: Matrix
    order: NDArray[np.intp]
    exponents: NDArray[np.uint8]
    row_exponents: RowExponents
    name: str

    def row_parts(self, rows: int) -> list[slice]:
        """Rows that are decided one after another, for the memory that they take; all together unless a class says otherwise."""
        return [slice(0, rows)]

    @abstractmethod
    def decide(self, ordered: Matrix, steps: Float64Array) -> Matrix:
        """(m, r) int32 integers of a target whose columns and steps are in the order of the factor's."""

    @abstractmethod
    def fitted(self, integers: Matrix, grid: UniformGrid, row_exponents: RowExponents) -> tuple[Walks, float]:
        """The integers with the model under which they are shortest, and their length, bits in all."""

    def at(self, log2_step: float, rows: NDArray[np.intp] | None = None) -> Candidate[Walks]:
        """Integers of some rows, or of all, where the finest step is so wide, and their rate.

        Raises
        ------
        ScaleOutOfRange
            If the step is outside the normal range of float32.
        """
        part, known = self.target, self.row_exponents
        if rows is not None:
            part, known = take_rows(part, rows), None if known is None else known[rows]
        grid = grid_of_step(log2_step, self.exponents, self.name)
        steps = grid.column_steps(part.shape[1])[self.order]
        parts = self.row_parts(len(part))
        if len(parts) == 1:
            integers = put_columns(self.decide(take_columns(part, self.order), steps), self.order)
        else:
            integers = empty_like(part, "int32")
            for some in parts:
                integers[some] = put_columns(self.decide(take_columns(part[some], self.order), steps), self.order)
        symbols, bits = self.fitted(integers, grid, known)
        return Candidate(bits / max(math.prod(part.shape), 1), symbols)
