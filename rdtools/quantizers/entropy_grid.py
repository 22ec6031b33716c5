"""Unbounded uniform grids with column steps, whose scale is searched until the codes have the rate that was asked for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import count_codes, fit_column_model, octave_exponents, reconstruction_gains, round_to_float32, scalar_code_length
from rdtools.errors import RateUnreachable
from rdtools.ops import CODE_MAX
from rdtools.quantizers.grid import Rounding, check_step
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rate_search import RATE_TOLERANCE_BITS, SEARCH_TOLERANCE_BITS, Candidate, octaves_of_rate, search_step
from rdtools.records import CodeModel, CodeModelKind, QuantizedWeight, ScalarCodes

Float64Array = NDArray[np.float64]

#: Weights up to which the rate is searched on all rows, and about how many the sample has beyond that.
SAMPLED_FROM, SAMPLE = 2**20, 2**19


def sample_rows(rows: int, columns: int) -> slice:
    """Evenly spaced rows on which the rate of a large matrix is searched."""
    return slice(0, rows, 1 if rows * columns <= SAMPLED_FROM else max(1, rows * columns // SAMPLE))


def entropy_coded(
    problem: Problem,
    rounding: Rounding,
    *,
    rate_bits: float,
    coding: CodeModelKind,
    relative_steps: Float64Array | None,
    shrink: bool,
    name: str,
) -> Candidate[QuantizedWeight]:
    """Quantize on an unbounded uniform grid whose scale is searched until the codes have the rate.

    Parameters
    ----------
    relative_steps : (r,) steps up to a common factor, stored in eighths of an octave; None for one common step
    shrink : reconstruct with the LMMSE gain of each column's step over the weights' deviation
    coding : "shared" or "column"

    Raises
    ------
    RateUnreachable
        If no step has the rate, or one weight is so far out that its code needs more than 32 bits.
    ScaleOutOfRange
        If the step is outside the normal range of float32.
    """
    W = problem.target
    std = problem.weight_std
    gain_std = round_to_float32(std) if shrink else 0.0
    exponents = None if relative_steps is None else octave_exponents(relative_steps)
    size = max(W.size, 1)

    def quantize(log2_step: float, rows: slice) -> Candidate[ScalarCodes]:
        step = math.exp2(log2_step)
        check_step(step, name)
        part = W[rows]
        empty = ScalarCodes(
            np.empty((0, W.shape[1]), dtype=np.int32), round_to_float32(step), CodeModel(coding), exponents, gain_std=gain_std
        )
        steps = empty.column_steps
        integers = rounding(part, steps, reconstruction_gains(steps, gain_std), 0.0, -CODE_MAX, CODE_MAX)
        counts = count_codes(integers)
        model = fit_column_model(counts, steps) if coding == "column" else CodeModel(coding)
        codes = replace(empty, integers=integers, model=model)
        symbols, histograms = scalar_code_length(codes, counts)
        return Candidate(symbols / max(part.size, 1) + histograms / size, codes)

    everything, sample = slice(0, len(W), 1), sample_rows(*W.shape)
    if std == 0:  # nothing to code: zeros at rate 0, whatever the target
        found = quantize(0.0, everything)
    else:
        # entropy of a finely quantized normal: ½ log2(2πe σ²) − mean log2(step)
        spread = 0.0 if exponents is None else float(np.mean(exponents)) / 8
        start = math.log2(std) - spread - octaves_of_rate(rate_bits)
        tolerance = SEARCH_TOLERANCE_BITS
        if sample.step > 1:
            found = search_step(lambda x: quantize(x, sample), rate_bits=rate_bits, start=start, name=name)
            start, tolerance = math.log2(found.result.step), RATE_TOLERANCE_BITS / 2
        found = search_step(lambda x: quantize(x, everything), rate_bits=rate_bits, start=start, name=name, tolerance=tolerance)
    if np.abs(found.result.integers).max(initial=0) >= CODE_MAX:
        raise RateUnreachable(
            f"{name}: {rate_bits:g} bits per weight cannot be reached: a weight (largest {np.abs(W).max():.3g}, rms {std:.3g}) "
            "would need a code of more than 32 bits; remove the outlier or ask for less"
        )
    return Candidate(found.rate_bits, QuantizedWeight(problem.basis, found.result))
