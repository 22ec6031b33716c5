"""Uniform grids of a fixed number of levels with row scales."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import round_to_bfloat16
from rdtools.errors import RateUnreachable, ScaleOutOfRange
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.search.rate import RATE_TOLERANCE_BITS, Candidate
from rdtools.records import RowScales, ScalarCodes, Uniform, UniformGrid

Float64Array = NDArray[np.float64]

#: Decides codes: (weight (m, r), steps (r,), gains (r,), offset, code_min, code_max) → codes (m, r).
Rounding = Callable[[Float64Array, Float64Array, Float64Array, float, int, int], NDArray[np.int32]]

#: Smallest normal float32 and largest finite one: what a stored step may be.
_STEP_RANGE = (float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max))


def levels_for(rate_bits: float, name: str) -> int:
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


def check_step(step: float, name: str) -> None:
    """Refuse a step that a float32 cannot hold.

    Raises
    ------
    ScaleOutOfRange
    """
    if not _STEP_RANGE[0] <= step <= _STEP_RANGE[1]:
        raise ScaleOutOfRange(
            f"{name}: a step of {step:.3g} does not fit a stored float32 scale, expected {_STEP_RANGE[0]:.1e} to {_STEP_RANGE[1]:.1e}; "
            "rescale the weights"
        )


def fixed_rate(problem: Problem, rounding: Rounding, *, rate_bits: float, name: str) -> Candidate[ScalarCodes]:
    """Quantize on K = 2^rate uniform levels a row, spanning ±max|row|: a mid-rise grid of step ``2 max|row| / K`` for even K.

    The row scales are bfloat16 and count as side information.

    Raises
    ------
    RateUnreachable
        If no whole number of levels has the rate.
    ScaleOutOfRange
        If a row's step is outside the normal range of float32.
    """
    levels = levels_for(rate_bits, name)
    W = problem.target
    exact = 2.0 * np.abs(W).max(axis=1, initial=0.0) / levels
    for step in exact[exact > 0]:
        check_step(float(step), name)
    row_scales = round_to_bfloat16(exact)
    divisor = np.where(row_scales > 0, row_scales, 1.0)
    ones = np.ones(W.shape[1])
    offset = 0.5 if levels % 2 == 0 else 0.0
    lowest = -(levels // 2)
    integers = rounding(W / divisor[:, None], ones, ones, offset, lowest, lowest + levels - 1)
    grid = UniformGrid(1.0, offset=offset, levels=levels, rows=RowScales(row_scales[:, None]))
    return Candidate(math.log2(levels), ScalarCodes(integers, grid, Uniform()))
