"""Rounding to nearest."""

from __future__ import annotations

from rdtools.arrays import Float64Array, Matrix, as_dtype, beside, empty_like, row_blocks


def nearest(weight: Matrix, steps: Float64Array, gains: Float64Array, offset: float, integer_min: int, integer_max: int) -> Matrix:
    """Integers nearest to ``w/Δ``, as a `rdtools.quantizers.grids.levels.RoundColumns`."""
    integers = empty_like(weight, "int32")
    for rows in row_blocks(weight):
        integers[rows] = as_dtype((weight[rows] / beside(steps, weight) - offset).round().clip(integer_min, integer_max), "int32")
    return integers
