"""Moments of successive cancellation at a finite rate."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.ops.arrays import check_arrays
from rdtools.ops.dispatch import choose_backend
from rdtools.ops.registry import kernel


def cancellation_moments(
    factor: Float64Array,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    gains: Float64Array,  # (n,)
    start: Float64Array,  # (n, n), lower triangle
    variance: float,
    channel: Float64Array | None = None,  # (K, 4)
    *,
    backend: str | None = None,
) -> tuple[Float64Array, ...]:
    """Moments of each column's scalar quantizer when columns are decided from the last to the first and Gaussian inputs are assumed.

    See `rdtools.kernels.cancellation_moments_reference` for the recursion and the arguments. (2/3) n³ multiplications.

    Returns
    -------
    v, bits, gains, g, p : (n,) float64 each: input variance, entropy, gain γ, ``γ E[y Δz]/v`` and ``γ² E[(Δz)²]/v``

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, BackendUnavailable
    """
    vectors = {name: (x, "(n,)", ("float64",)) for name, x in (("steps", steps), ("gains", gains))}
    matrices = {name: (x, "(n, n)", ("float64",)) for name, x in (("factor", factor), ("start", start))}
    table = np.empty((0, 4)) if channel is None else channel
    check_arrays("cancellation_moments", **matrices, **vectors, channel=(table, "(k, 4)", ("float64",)))
    run = kernel("cancellation_moments", choose_backend(backend))
    moments: tuple[Float64Array, ...] = run(factor, steps, gains, start, variance, table)
    return moments
