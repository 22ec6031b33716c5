"""The SIC sweep as a rounding rule."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, as_dtype, beside, empty_like, row_blocks, set_columns, take_columns
from rdtools.ops import sic_sweep
from rdtools.quantizers.grids.levels import RoundColumns

Precision = Literal["float64", "float32"]


def sic_rounding(factor: Matrix, order: NDArray[np.intp], backend: str | None, precision: Precision = "float64") -> RoundColumns:
    """Integers by successive cancellation under ``H = L Lᵀ``, columns of the weights in the order of those of the factor L, some rows after
    others.
    """

    def rounding(target: Matrix, steps: Float64Array, gains: Float64Array, offset: float, integer_min: int, integer_max: int) -> Matrix:
        integers = empty_like(target, "int32")
        for rows in row_blocks(target):
            decided, _ = sic_sweep(
                as_dtype(take_columns(target[rows], order), precision),
                factor,
                *(beside(vector[order], target) for vector in (steps, gains)),
                offset=offset,
                integer_min=integer_min,
                integer_max=integer_max,
                residual=False,
                backend=backend,
            )
            set_columns(integers[rows], order, decided)
        return integers

    return rounding
