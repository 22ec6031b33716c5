"""Successive cancellation on fixed-rate grids that differ from column to column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Matrix, as_dtype, beside, dtype_name, put_columns, take_columns, zeros
from rdtools.quantizers.rounding.block_ldlq import block_ldlq
from rdtools.records import UniformGrid


def sweep_columns(
    weight: Matrix,  # (m, r)
    factor: Matrix,  # (r, r), lower triangular
    order: NDArray[np.intp],  # (r,)
    grid: UniformGrid,
    *,
    keep: bool = True,
) -> tuple[Matrix, Matrix]:
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
    dtype = dtype_name(weight)
    divisors = beside(np.where(scales > 0, scales, 1.0).astype(dtype), weight)
    scales = beside(scales, weight)
    integers = as_dtype(zeros(tuple(weight.shape), weight), "int32")

    def round_column(targets: Matrix, first_column: int) -> Matrix:
        column = int(order[first_column])
        if levels[column] == 1:
            return targets * 0
        half = int(levels[column]) // 2
        scaled = targets[:, 0] / divisors / steps[column].astype(dtype)
        nearest = (scaled - grid.offset).round().clip(-half, half - 1)
        integers[:, column] = as_dtype(nearest, "int32")
        return as_dtype((as_dtype(nearest, "float64") + grid.offset) * steps[column] * scales, dtype)[:, None]

    rounded = block_ldlq(take_columns(weight, order), factor, 1, round_column, keep=keep)
    return integers, put_columns(rounded, order) if keep else rounded
