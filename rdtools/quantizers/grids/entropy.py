"""Unbounded uniform grids with column steps, whose integers are entropy-coded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.coding import (
    column_scales,
    count_codes,
    fit_column_laws,
    octave_exponents,
    paying_row_exponents,
    reconstruction_gains,
    round_to_float32,
    scalar_code_length,
)
from rdtools.ops import CODE_MAX
from rdtools.quantizers.grids.column_gains import with_column_gains
from rdtools.quantizers.grids.levels import Rounding, check_step
from rdtools.quantizers.rounding.sample_gains import GainFit
from rdtools.quantizers.search.rate import Candidate
from rdtools.records import ENTROPY_MODELS, CodeModelKind, Gains, ScalarCodes, UniformGrid


@dataclass(frozen=True, eq=False)
class EntropyGrid:
    """An unbounded uniform grid but for its scale.

    Attributes
    ----------
    target : (m, r) what is quantized
    rounding : decides codes at given steps and gains
    coding : how codes are coded
    exponents : (r,) steps in eighths of an octave above the finest, or None
    row_exponents : (m,) deviations of the rows of the target in eighths of an octave, for normal laws; None where they do not pay
    gain_std : deviation that LMMSE gains are for, 0 for none
    gain_fit : fits gains to codes instead, or None
    name : of the layer and method, for messages
    """

    target: Float64Array
    rounding: Rounding
    coding: CodeModelKind
    exponents: NDArray[np.uint8] | None
    row_exponents: NDArray[np.uint8] | None
    gain_std: float
    gain_fit: GainFit | None
    name: str

    def at(self, log2_step: float, rows: NDArray[np.intp] | None = None) -> Candidate[ScalarCodes]:
        """Codes of some rows, or of all, where the finest step is so wide, and their rate, a histogram being charged to all rows.

        Fitted gains are stored in bfloat16. On all rows codes are then decided anew with the gains as stored; on some it is the rate that
        is wanted, which hardly changes.

        Raises
        ------
        ScaleOutOfRange
            If the step is outside the normal range of float32.
        """
        part = self.target if rows is None else self.target[rows]
        step = math.exp2(log2_step)
        check_step(step, self.name)
        grid = UniformGrid(round_to_float32(step), self.exponents)
        steps = grid.column_steps(part.shape[1])
        model = ENTROPY_MODELS[self.coding]()
        if self.gain_fit is None:
            integers = self.rounding(part, steps, reconstruction_gains(steps, self.gain_std), 0.0, -CODE_MAX, CODE_MAX)
            codes = ScalarCodes(integers, grid, model, Gains(self.gain_std))
        else:
            integers, gains = self.gain_fit(part, steps)
            codes = with_column_gains(ScalarCodes(integers, grid, model, Gains(self.gain_std)), gains)
            if rows is None:
                # on the grid that the stored scales make of the fitted gains: at high rate, the points of the decoder
                integers = self.rounding(part, column_scales(codes) / gains, gains, 0.0, -CODE_MAX, CODE_MAX)
                codes = replace(codes, integers=integers)
        counts = count_codes(integers)
        if self.coding == "column":
            known = self.row_exponents
            codes = fit_column_laws(codes, row_exponents=known if known is None or rows is None else known[rows], counts=counts)
        symbols, histograms = scalar_code_length(codes, counts)
        return Candidate(symbols / max(part.size, 1) + histograms / max(self.target.size, 1), codes)


def entropy_grid(
    target: Float64Array,  # (m, r)
    rounding: Rounding,
    *,
    coding: CodeModelKind,
    relative_steps: Float64Array | None,
    name: str,
    shrunk_std: float = 0.0,
    gain_fit: GainFit | None = None,
) -> EntropyGrid:
    """The grid of a target, whose scale `rdtools.quantizers.search.step.search_rate` finds.

    Parameters
    ----------
    target : what is quantized
    rounding : decides integers at given steps and gains
    coding : "shared", "column" or "histogram"
    relative_steps : (r,) steps up to a common factor, stored in eighths of an octave; None for one common step
    name : of the layer and method, for messages
    shrunk_std : standard deviation of weights for whose ratio to each column's step the LMMSE gain reconstructs; 0 for no gain
    gain_fit : fits gains to the integers
    """
    exponents = None if relative_steps is None else octave_exponents(relative_steps)
    row_exponents = paying_row_exponents(target) if coding == "column" else None
    return EntropyGrid(target, rounding, coding, exponents, row_exponents, round_to_float32(shrunk_std), gain_fit, name)
