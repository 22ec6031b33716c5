"""The SIC sweep as a rounding rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.ops import sic_sweep
from rdtools.quantizers.grid import Rounding
from rdtools.quantizers.problem import Problem

Float64Array = NDArray[np.float64]


def sic_rounding(problem: Problem, backend: str | None) -> Rounding:
    """Codes by successive cancellation under the problem's ``H = L Lᵀ``."""
    factor = problem.factor
    assert factor is not None  # `prepare` factors for every method that uses the Hessian

    def rounding(
        weight: Float64Array, steps: Float64Array, gains: Float64Array, offset: float, code_min: int, code_max: int
    ) -> NDArray[np.int32]:
        codes, _ = sic_sweep(
            weight, factor, steps, gains, offset=offset, code_min=code_min, code_max=code_max, residual=False, backend=backend
        )
        return codes

    return rounding
