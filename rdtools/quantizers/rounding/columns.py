"""Successive cancellation on fixed-rate grids that differ from column to column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, FloatArray
from rdtools.quantizers.rounding.block_ldlq import block_ldlq
from rdtools.quantizers.rounding.sic import is_natural
from rdtools.records import UniformGrid


def sweep_columns(
    weight: FloatArray,  # (m, r)
    factor: Float64Array,  # (r, r), lower triangular
    order: NDArray[np.intp],  # (r,)
    grid: UniformGrid,
    *,
    keep: bool = True,
) -> tuple[NDArray[np.int32], FloatArray]:
    """Successive cancellation with levels and a step of its own for each column, one column after another.

    Parameters
    ----------
    weight : (m, r) float64 or float32, which everything is computed in
    factor : (r, r), L, columns in `order`
    order : (r,) columns of the weights in the order of the factor's, the last decided first
    grid : steps, levels and row scales of (m, 1)
    keep : False if only the integers are wanted

    Returns
    -------
    (m, r) int32 integers, and (m, r) what they stand for, or (m, 0)
    """
    levels, steps = grid.column_levels(weight.shape[1]), grid.column_steps(weight.shape[1])
    assert grid.rows is not None
    scales = grid.rows.scales[:, 0]
    divisors = np.where(scales > 0, scales, 1.0).astype(weight.dtype)
    integers = np.zeros(weight.shape, dtype=np.int32)

    def round_column(targets: FloatArray, first_column: int) -> FloatArray:
        column = order[first_column]
        if levels[column] == 1:
            return np.zeros_like(targets)
        half = int(levels[column]) // 2
        scaled = targets[:, 0] / divisors / steps[column].astype(weight.dtype)
        nearest = np.clip(np.rint(scaled - grid.offset), -half, half - 1)
        integers[:, column] = nearest
        return np.asarray((nearest + grid.offset) * steps[column] * scales, dtype=weight.dtype)[:, None]

    ordered = weight if is_natural(order) else weight[:, order]
    rounded = block_ldlq(ordered, factor, 1, round_column, keep=keep)
    if not keep:
        return integers, rounded
    values = np.empty_like(rounded)
    values[:, order] = rounded
    return integers, values
