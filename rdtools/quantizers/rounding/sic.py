"""The SIC sweep as a rounding rule."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, as_dtype, beside, put_columns, take_columns
from rdtools.ops import sic_sweep
from rdtools.quantizers.grids.levels import Rounding

Precision = Literal["float64", "float32"]


def sic_rounding(factor: Matrix, order: NDArray[np.intp], backend: str | None, precision: Precision = "float64") -> Rounding:
    """Integers by successive cancellation under ``H = L Lᵀ``, columns of the weights in the order of those of the factor L."""

    def rounding(target: Matrix, steps: Float64Array, gains: Float64Array, offset: float, integer_min: int, integer_max: int) -> Matrix:
        integers, _ = sic_sweep(
            as_dtype(take_columns(target, order), precision),
            factor,
            *(beside(vector[order], target) for vector in (steps, gains)),
            offset=offset,
            integer_min=integer_min,
            integer_max=integer_max,
            residual=False,
            backend=backend,
        )
        return put_columns(integers, order)

    return rounding
