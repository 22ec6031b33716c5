"""Unbounded uniform grids with column steps, whose integers are entropy-coded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, take_rows
from rdtools.coding import (
    column_scales,
    count_integers,
    fit_column_gaussians,
    octave_exponents,
    row_exponents_if_shorter,
    scalar_code_length,
)
from rdtools.ops import INTEGER_MAX
from rdtools.quantizers.grids.column_gains import with_column_gains
from rdtools.quantizers.grids.levels import RoundColumns, grid_of_step
from rdtools.quantizers.rounding.sample_gains import GainFit
from rdtools.quantizers.search.rate import Candidate
from rdtools.records import ENTROPY_MODELS, CodeModelKind, Gains, ScalarSymbols


@dataclass(frozen=True, eq=False)
class EntropyGrid:
    """An unbounded uniform grid but for its scale.

    Attributes
    ----------
    target : (m, r) what is quantized
    rounding : decides integers at given steps and gains
    coding : how integers are coded
    exponents : (r,) steps in eighths of an octave above the finest, or None
    row_exponents : (m,) standard deviations of the target's rows in eighths of an octave, for Gaussian models; None where they do not pay
    gain_fit : fits gains to integers, or None
    gains_stored : the fitted gains are stored in bfloat16; else they are those of the integers, which the decoder knows
    name : of the layer and method, for messages
    """

    target: Matrix
    rounding: RoundColumns
    coding: CodeModelKind
    exponents: NDArray[np.uint8] | None
    row_exponents: NDArray[np.uint8] | None
    gain_fit: GainFit | None
    gains_stored: bool
    name: str

    def at(self, log2_step: float, rows: NDArray[np.intp] | None = None) -> Candidate[ScalarSymbols]:
        """Integers of some rows, or of all, where the finest step is so wide, and their rate, a histogram being charged to all rows.

        Fitted gains are stored in bfloat16. On all rows integers are then decided anew with the gains as stored; on some it is the rate
        that is wanted, which hardly changes.

        Raises
        ------
        ScaleOutOfRange
            If the step is outside the normal range of float32.
        """
        part = self.target if rows is None else take_rows(self.target, rows)
        grid = grid_of_step(log2_step, self.exponents, self.name)
        steps = grid.column_steps(part.shape[1])
        model = ENTROPY_MODELS[self.coding]()
        if self.gain_fit is None:
            symbols = ScalarSymbols(self.rounding(part, steps, np.ones_like(steps), 0.0, -INTEGER_MAX, INTEGER_MAX), grid, model)
        else:
            integers, gains = self.gain_fit(part, steps)
            symbols = ScalarSymbols(integers, grid, model, Gains(of_integers=not self.gains_stored))
            if self.gains_stored:
                symbols = with_column_gains(symbols, gains)
            if self.gains_stored and rows is None:
                # on the grid that the stored scales make of the fitted gains: at high rate, the points of the decoder
                integers = self.rounding(part, column_scales(symbols) / gains, gains, 0.0, -INTEGER_MAX, INTEGER_MAX)
                symbols = replace(symbols, integers=integers)
        counts = count_integers(symbols.integers)
        if self.coding == "column":
            known = self.row_exponents
            symbols = fit_column_gaussians(symbols, row_exponents=known if known is None or rows is None else known[rows], counts=counts)
        bits, histograms = scalar_code_length(symbols, counts)
        return Candidate(bits / max(math.prod(part.shape), 1) + histograms / max(math.prod(self.target.shape), 1), symbols)


def entropy_grid(
    target: Matrix,  # (m, r)
    rounding: RoundColumns,
    *,
    coding: CodeModelKind,
    relative_steps: Float64Array | None,
    name: str,
    gain_fit: GainFit | None = None,
    gains_stored: bool = False,
) -> EntropyGrid:
    """The grid of a target, whose scale `rdtools.quantizers.search.step.search_rate` finds.

    Parameters
    ----------
    target : what is quantized
    rounding : decides integers at given steps and gains
    coding : "shared", "column" or "histogram"
    relative_steps : (r,) steps up to a common factor, stored in eighths of an octave; None for one common step
    name : of the layer and method, for messages
    gain_fit : fits gains to the integers; None for no gains
    gains_stored : store them; else the decoder computes them from the integers
    """
    exponents = None if relative_steps is None else octave_exponents(relative_steps)
    row_exponents = row_exponents_if_shorter(target) if coding == "column" else None
    return EntropyGrid(target, rounding, coding, exponents, row_exponents, gain_fit, gains_stored, name)
