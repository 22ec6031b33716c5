"""Greedy coordinate descent on integers, written like the paper."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels.sic_sweep_reference import integer_range

from rdtools.arrays import Float64Array, FloatArray


def tie(dtype: np.dtype[Any]) -> Any:
    """The move, in integers, up to which an integer stays: half a step and a little, ½ + √eps.

    At a tie two integers are equally good, and with errors of rounding a row might go to and fro between them for ever.
    """
    return dtype.type(0.5 + np.sqrt(np.finfo(dtype).eps))


def coordinate_descent(
    weight: FloatArray,  # (m, n)
    moment: FloatArray,  # (n, n)
    integers: NDArray[np.int32],  # (m, n)
    steps: Float64Array,  # (n,)
    order: NDArray[np.int64],  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    passes: int,
) -> tuple[NDArray[np.int32], int]:
    """Move one integer of each row at a time to where the loss of its row is least, with everything else fixed.

    With ``Ŵ_:i = α_i (z_i + offset)`` and E = W − Ŵ, in each pass, for the columns i in the given order::

        z_i ← clamp(z_i + rint(δ), integer_min, integer_max),   δ = (E H)_:i / (H_ii α_i)

    The loss ``e H eᵀ`` of a row is a parabola in z_i with its minimum at z_i + δ, so that the nearest code in range is the best one, and
    the loss never rises. A code stays where |δ| is at most `tie`. Each code is clamped before the next column looks at it. Rows do not
    interact; a row is done when a pass leaves it as it was.

    Parameters
    ----------
    weight : (m, n) float64 or float32, W; everything is computed in its dtype
    moment : (n, n) float64 or float32, H, symmetric with a positive diagonal
    integers : (m, n) int32, z to start from, within their range; not changed
    steps : (n,) float64, α, positive
    order : (n,) int64, a permutation of the columns
    offset : 0, or ½ for a mid-rise grid
    integer_min, integer_max : range of the integers, within int32
    passes : at most so many

    Returns
    -------
    integers : (m, n) int32
    used : passes over the row that needed most, counting the one that left it as it was

    References
    ----------
    QuIP, arXiv 2307.13304, greedy updates, which clamp after a whole pass only and so can raise the loss.
    """
    moment, steps = (x.astype(weight.dtype, copy=False) for x in (moment, steps))
    lowest, highest = integer_range(integer_min, integer_max, weight.dtype)
    integers = integers.copy()
    for used in range(1, passes + 1):
        before = integers.copy()
        for i in order:
            error = weight - steps * (integers.astype(weight.dtype) + weight.dtype.type(offset))
            move = error @ moment[:, i] / (moment[i, i] * steps[i])
            z = integers[:, i].astype(weight.dtype)
            integers[:, i] = np.where(np.abs(move) > tie(weight.dtype), np.clip(z + np.rint(move), lowest, highest), z)
        if (integers == before).all():
            return integers, used
    return integers, passes
