"""Numbers of levels, and steps that can be stored."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix
from rdtools.coding import round_to_float32
from rdtools.errors import RateUnreachable, ScaleOutOfRange
from rdtools.quantizers.search.rate import RATE_TOLERANCE_BITS
from rdtools.records import UniformGrid

#: Decides integers: (weight (m, r), steps (r,), gains (r,), offset, integer_min, integer_max) → integers (m, r).
RoundColumns = Callable[[Matrix, Float64Array, Float64Array, float, int, int], Matrix]

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


def grid_of_step(log2_step: float, exponents: NDArray[np.uint8] | None, name: str) -> UniformGrid:
    """The grid without end whose finest step is the float32 nearest to ``2^log2_step``.

    Raises
    ------
    ScaleOutOfRange
    """
    step = math.exp2(log2_step)
    check_step(step, name)
    return UniformGrid(round_to_float32(step), exponents)
