"""The two kinds of grid that scalar quantizers share: fixed rate with row scales, and entropy-coded with column steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import (
    column_code_length,
    count_codes,
    fit_weight_std,
    octave_exponents,
    reconstruction_gains,
    round_to_bfloat16,
    round_to_float32,
    shared_code_length,
)
from rdtools.errors import RateUnreachable
from rdtools.ops import CODE_MAX
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rate_search import RATE_TOLERANCE_BITS, Candidate, search_step
from rdtools.records import CodeModel, CodeModelKind, QuantizedWeight

Float64Array = NDArray[np.float64]

#: Decides codes: (weight (m, r), steps (r,), gains (r,), offset, code_min, code_max) → codes (m, r).
Rounding = Callable[[Float64Array, Float64Array, Float64Array, float, int, int], NDArray[np.int32]]


def _levels_for(rate_bits: float, name: str) -> int:
    """The number of levels whose logarithm is the rate.

    Raises
    ------
    RateUnreachable
    """
    levels = max(2, round(math.exp2(rate_bits)))
    if abs(math.log2(levels) - rate_bits) > RATE_TOLERANCE_BITS:
        low, high = max(2, math.floor(math.exp2(rate_bits))), max(2, math.ceil(math.exp2(rate_bits)))
        choices = " and ".join(f"{math.log2(k):.4f} ({k} levels)" for k in sorted({low, high}))
        raise RateUnreachable(
            f"{name}: {rate_bits:g} bits per weight cannot be reached by a whole number of levels; the nearest rates are "
            f"{choices}; ask for one of these or use entropy coding"
        )
    return levels


def fixed_rate(problem: Problem, rounding: Rounding, *, rate_bits: float, name: str) -> Candidate[QuantizedWeight]:
    """Quantize on K = 2^rate uniform levels a row, spanning ±max|row|: a mid-rise grid of step ``2 max|row| / K`` for even K.

    The row scales are bfloat16 and count as side information.
    """
    levels = _levels_for(rate_bits, name)
    W = problem.weight
    row_scales = round_to_bfloat16(2.0 * np.abs(W).max(axis=1, initial=0.0) / levels)
    divisor = np.where(row_scales > 0, row_scales, 1.0)
    ones = np.ones(W.shape[1])
    offset = 0.5 if levels % 2 == 0 else 0.0
    lowest = -(levels // 2)
    codes = rounding(W / divisor[:, None], ones, ones, offset, lowest, lowest + levels - 1)
    weight = QuantizedWeight(
        codes=codes,
        step=1.0,
        step_exponents=None,
        row_scales=row_scales,
        live=problem.live,
        code_model=CodeModel("fixed", levels=levels),
        offset=offset,
        rotation=problem.rotation,
    )
    return Candidate(math.log2(levels), weight)


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
    """
    W = problem.weight
    std = problem.weight_std
    gain_std = round_to_float32(std) if shrink else 0.0

    finest, exponents = (1.0, None) if relative_steps is None else octave_exponents(relative_steps)
    scale_free = QuantizedWeight(
        codes=np.zeros(W.shape, dtype=np.int32),
        step=1.0,
        step_exponents=exponents,
        row_scales=None,
        live=problem.live,
        code_model=CodeModel(coding),
        gain_std=gain_std,
        rotation=problem.rotation,
    )

    def quantize(log2_scale: float) -> Candidate[QuantizedWeight]:
        trial = replace(scale_free, step=round_to_float32(2.0**log2_scale * finest))
        steps = trial.column_steps
        codes = rounding(W, steps, reconstruction_gains(steps, gain_std), 0.0, -CODE_MAX, CODE_MAX)
        counts = count_codes(codes)
        if coding == "column":
            weight_std = fit_weight_std(counts, steps, start=std)
            length = column_code_length(counts, weight_std / steps)
            model = CodeModel("column", weight_std=weight_std)
        else:
            length = shared_code_length(counts)
            model = CodeModel("shared")
        return Candidate(length / max(W.size, 1), replace(trial, codes=codes, code_model=model))

    if std == 0:  # nothing to code: zeros at rate 0, whatever the target
        return quantize(0.0)
    # entropy of a finely quantized normal: ½ log2(2πe σ²) − mean log2(step)
    shape = 0.0 if relative_steps is None else float(np.mean(np.log2(relative_steps)))
    start = 0.5 * math.log2(2 * math.pi * math.e) + math.log2(std) - shape - rate_bits
    return search_step(quantize, rate_bits=rate_bits, start=start, name=name)
