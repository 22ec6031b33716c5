"""Unbounded uniform grids with column steps, whose scale is searched until the codes have the rate that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import (
    count_codes,
    fit_column_laws,
    octave_exponents,
    paying_row_exponents,
    reconstruction_gains,
    round_to_float32,
    scalar_code_length,
)
from rdtools.errors import RateUnreachable
from rdtools.ops import CODE_MAX
from rdtools.quantizers.column_gains import column_scales, with_column_gains
from rdtools.quantizers.grid import Rounding, check_step
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rate_search import (
    RATE_TOLERANCE_BITS,
    SEARCH_TOLERANCE_BITS,
    Candidate,
    octaves_of_rate,
    search_step,
)
from rdtools.quantizers.sample_gains import GainFit
from rdtools.records import CodeModel, CodeModelKind, ScalarCodes

Float64Array = NDArray[np.float64]

#: Weights up to which the rate is searched on all rows, and about how many the sample has beyond that.
SAMPLED_FROM, SAMPLE = 2**20, 2**19
#: Trials on the sample at most, and on all rows before a search on all rows begins.
SAMPLE_TRIALS, WHOLE_TRIALS = 6, 3


def sample_rows(weight: Float64Array) -> NDArray[np.intp] | None:
    """(k,) rows on which the rate of a large matrix is searched, in ascending order; None for all rows.

    Evenly spaced among the rows in order of energy, so that the sample has large and small rows as the matrix has them: evenly spaced in
    the matrix they would miss its rate by more than the search is allowed to.
    """
    if weight.size <= SAMPLED_FROM:
        return None
    every = max(1, weight.size // SAMPLE)
    by_energy = np.argsort(np.einsum("ij,ij->i", weight, weight), kind="stable")
    return np.sort(by_energy[every // 2 :: every])


def _secants(
    evaluate: Callable[[float], Candidate[ScalarCodes]],
    *,
    rate_bits: float,
    start: float,
    slope: float,
    trials: int,
    tolerance: float,
) -> tuple[Candidate[ScalarCodes] | None, float, float]:
    """So many secants at most on log2(step), in the coordinate of `octaves_of_rate`.

    Returns
    -------
    the candidate within the tolerance, or None; where it is, or where the next trial would have been; and the last slope
    """
    x = start
    before: tuple[float, float] | None = None
    for _ in range(trials):
        candidate = evaluate(x)
        if abs(candidate.rate_bits - rate_bits) <= tolerance:
            return candidate, x, slope
        error = octaves_of_rate(candidate.rate_bits) - octaves_of_rate(rate_bits)
        if before is not None and abs(x - before[0]) > 1e-6:
            # within reason, whatever a jump of the rate makes of it
            slope = min(max((error - before[1]) / (x - before[0]), -2.0), -0.25)
        before = (x, error)
        x += min(max(-error / slope, -4.0), 4.0)
    return None, x, slope


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
        none = np.empty((0, part.shape[1]), dtype=np.int32)
        codes = ScalarCodes(none, round_to_float32(step), CodeModel(self.coding), self.exponents, gain_std=self.gain_std)
        steps = codes.column_steps
        if self.gain_fit is None:
            integers = self.rounding(part, steps, reconstruction_gains(steps, self.gain_std), 0.0, -CODE_MAX, CODE_MAX)
        else:
            integers, gains = self.gain_fit(part, steps)
            codes = with_column_gains(codes, gains)
            if rows is None:
                # on the grid that the stored scales make of the fitted gains: at high rate, the points of the decoder
                integers = self.rounding(part, column_scales(codes) / gains, gains, 0.0, -CODE_MAX, CODE_MAX)
        counts = count_codes(integers)
        codes = replace(codes, integers=integers)
        if self.coding == "column":
            known = self.row_exponents
            codes = fit_column_laws(codes, row_exponents=known if known is None or rows is None else known[rows], counts=counts)
        symbols, histograms = scalar_code_length(codes, counts)
        return Candidate(symbols / max(part.size, 1) + histograms / max(self.target.size, 1), codes)


def _search_by_sample(grid: EntropyGrid, rows: NDArray[np.intp], rate_bits: float, start: float) -> Candidate[ScalarCodes]:
    """Where the sample has the rate, on all rows; from there on all rows until they have it."""
    _, x, slope = _secants(
        lambda x: grid.at(x, rows),
        rate_bits=rate_bits,
        start=start,
        slope=-1.0,
        trials=SAMPLE_TRIALS,
        tolerance=SEARCH_TOLERANCE_BITS,
    )
    found, x, _ = _secants(grid.at, rate_bits=rate_bits, start=x, slope=slope, trials=WHOLE_TRIALS, tolerance=RATE_TOLERANCE_BITS)
    return found or search_step(grid.at, rate_bits=rate_bits, start=x, name=grid.name, tolerance=RATE_TOLERANCE_BITS)


def entropy_grid(
    problem: Problem,
    rounding: Rounding,
    *,
    coding: CodeModelKind,
    relative_steps: Float64Array | None,
    name: str,
    shrink: bool = False,
    gain_fit: GainFit | None = None,
) -> EntropyGrid:
    """The grid of `entropy_coded`, with reconstruction gains on top.

    Parameters
    ----------
    shrink : reconstruct with the LMMSE gain of each column's step over the weights' standard deviation
    gain_fit : fits gains to the integers
    """
    exponents = None if relative_steps is None else octave_exponents(relative_steps)
    gain_std = round_to_float32(problem.weight_std) if shrink else 0.0
    target = problem.target
    row_exponents = paying_row_exponents(target) if coding == "column" else None
    return EntropyGrid(target, rounding, coding, exponents, row_exponents, gain_std, gain_fit, name)


def search_rate(grid: EntropyGrid, weight_std: float, rate_bits: float) -> Candidate[ScalarCodes]:
    """The codes that have the rate.

    Parameters
    ----------
    grid : what is scaled
    weight_std : root mean square of the weights, where the search starts
    rate_bits : bits per live weight

    Raises
    ------
    RateUnreachable, ScaleOutOfRange
    """
    W = grid.target
    if not W.any():  # nothing to code: zeros at rate 0, whatever was asked for
        return grid.at(0.0)
    weight_std = weight_std or float(np.sqrt(np.mean(W**2)))
    # entropy of a finely quantized normal: ½ log2(2πe σ²) − mean log2(step)
    spread = 0.0 if grid.exponents is None else float(np.mean(grid.exponents)) / 8
    start = math.log2(weight_std) - spread - octaves_of_rate(rate_bits)
    rows = sample_rows(W)
    if rows is None:
        found = search_step(grid.at, rate_bits=rate_bits, start=start, name=grid.name)
    else:
        found = _search_by_sample(grid, rows, rate_bits, start)
    if np.abs(found.result.integers).max(initial=0) >= CODE_MAX:
        raise RateUnreachable(
            f"{grid.name}: {rate_bits:g} bits per weight cannot be reached: a weight (largest {np.abs(W).max():.3g}, rms {weight_std:.3g}) "
            "would need a code of more than 32 bits; remove the outlier or ask for less"
        )
    return found


def entropy_coded(
    problem: Problem,
    rounding: Rounding,
    *,
    rate_bits: float,
    coding: CodeModelKind,
    relative_steps: Float64Array | None,
    name: str,
) -> Candidate[ScalarCodes]:
    """Quantize on an unbounded uniform grid whose scale is searched until the codes have the rate.

    Large matrices are searched on a sample of rows, and then quantized once: again only where that misses the rate by more than
    RATE_TOLERANCE_BITS.

    Parameters
    ----------
    relative_steps : (r,) steps up to a common factor, stored in eighths of an octave; None for one common step
    coding : "shared", "column" or "histogram"

    Raises
    ------
    RateUnreachable
        If no step has the rate, or one weight is so far out that its code needs more than 32 bits.
    ScaleOutOfRange
        If the step is outside the normal range of float32.
    """
    grid = entropy_grid(problem, rounding, coding=coding, relative_steps=relative_steps, name=name)
    return search_rate(grid, problem.weight_std, rate_bits)
