"""The SIC sweep that fits the gain of each column to its integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, as_dtype, beside, contiguous, on_host, put_columns, take_columns
from rdtools.ops import INTEGER_MAX, sic_sweep_sample_gains
from rdtools.quantizers.rounding.sic import Precision

#: Fits gains: (target (m, r), steps (r,)) → (integers (m, r), gains (r,)).
GainFit = Callable[[Matrix, Float64Array], tuple[Matrix, Float64Array]]


def sample_gain_fit(
    factor: Matrix, order: NDArray[np.intp], backend: str | None, precision: Precision = "float64", *, normal: bool = False
) -> GainFit:
    """Integers by successive cancellation under ``H = L Lᵀ`` on an unbounded grid, each column fed back with the gain of least squares for
    its integers, or, if `normal`, with that of a normal variable whose integers have their mean square; see
    `rdtools.kernels.sic_sweep_reference.sic_sweep_sample_gains`.

    A code is zero where its target is less than half a step, so that no gain is below one half.
    """

    def fit(target: Matrix, steps: Float64Array) -> tuple[Matrix, Float64Array]:
        ordered, widths = as_dtype(contiguous(take_columns(target, order)), precision), beside(steps[order], target)
        integers, fitted, _ = sic_sweep_sample_gains(
            ordered, factor, widths, integer_min=-INTEGER_MAX, integer_max=INTEGER_MAX, residual=False, normal=normal,
            overwrite=ordered is not target, backend=backend,
        )  # fmt: skip
        del ordered
        gains = np.empty(len(order))
        gains[order] = on_host(fitted)
        return put_columns(integers, order), gains

    return fit
