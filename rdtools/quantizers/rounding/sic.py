"""The SIC sweep as a rounding rule."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.ops import sic_sweep
from rdtools.quantizers.grids.levels import Rounding

Precision = Literal["float64", "float32"]


def is_natural(order: NDArray[np.intp]) -> bool:
    """True for an order that leaves columns where they are, in which no copy of a matrix is needed."""
    return bool((order == np.arange(len(order))).all())


def sic_rounding(factor: Float64Array, order: NDArray[np.intp], backend: str | None, precision: Precision = "float64") -> Rounding:
    """Integers by successive cancellation under ``H = L Lᵀ``, columns of the weights in the order of those of the factor L."""
    natural = is_natural(order)

    def rounding(
        target: Float64Array, steps: Float64Array, gains: Float64Array, offset: float, integer_min: int, integer_max: int
    ) -> NDArray[np.int32]:
        ordered = (target, steps, gains) if natural else (target[:, order], steps[order], gains[order])
        integers, _ = sic_sweep(
            ordered[0].astype(precision, copy=False),
            factor,
            *ordered[1:],
            offset=offset,
            integer_min=integer_min,
            integer_max=integer_max,
            residual=False,
            backend=backend,
        )
        if natural:
            return integers
        placed = np.empty_like(integers)
        placed[:, order] = integers
        return placed

    return rounding
