"""The SIC sweep that fits the gain of each column to its integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.ops import INTEGER_MAX, sic_sweep_sample_gains
from rdtools.quantizers.rounding.sic import Precision, is_natural

#: Fits gains: (target (m, r), steps (r,)) → (integers (m, r), gains (r,)).
GainFit = Callable[[Float64Array, Float64Array], tuple[NDArray[np.int32], Float64Array]]


def sample_gain_fit(
    factor: Float64Array, order: NDArray[np.intp], backend: str | None, precision: Precision = "float64", *, normal: bool = False
) -> GainFit:
    """Integers by successive cancellation under ``H = L Lᵀ`` on an unbounded grid, each column fed back with the gain of least squares for
    its integers, or, if `normal`, with that of a normal variable whose integers have their mean square; see
    `rdtools.kernels.sic_sweep_reference.sic_sweep_sample_gains`.

    A code is zero where its target is less than half a step, so that no gain is below one half.
    """
    natural = is_natural(order)

    def fit(target: Float64Array, steps: Float64Array) -> tuple[NDArray[np.int32], Float64Array]:
        ordered = (target if natural else target[:, order]).astype(precision, copy=False)
        found, fitted, _ = sic_sweep_sample_gains(
            ordered, factor, steps[order], integer_min=-INTEGER_MAX, integer_max=INTEGER_MAX, residual=False, normal=normal, backend=backend
        )
        if natural:
            return found, fitted
        integers, gains = np.empty_like(found), np.empty_like(fitted)
        integers[:, order], gains[order] = found, fitted
        return integers, gains

    return fit
