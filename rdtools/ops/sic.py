"""Successive interference cancellation."""

from __future__ import annotations

from typing import Any

import numpy as np

from rdtools.arrays import beside
from rdtools.errors import UsageError
from rdtools.normal import gain_table
from rdtools.ops.arrays import FLOATS, Array, check_arrays
from rdtools.ops.dispatch import ON_DEVICE, dispatch
from rdtools.ops.registry import kernel

INTEGER_MIN, INTEGER_MAX = -(2**31) + 1, 2**31 - 1


def _check(op: str, weight: Any, factor: Any, seed: int | None, **columns: Any) -> None:
    vectors = {name: (column, "(n,)", ()) for name, column in columns.items()}
    check_arrays(op, weight=(weight, "(m, n)", FLOATS), factor=(factor, "(n, n)", FLOATS), **vectors)
    if seed is not None and not 0 <= seed < 2**64:
        raise UsageError(f"{op}: seed {seed}, expected None or an integer of at most 64 bits")


def sic_sweep(
    weight: Array,  # (m, n)
    factor: Array,  # (n, n), lower triangular
    steps: Array,  # (n,)
    gains: Array | None = None,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int = INTEGER_MIN,
    integer_max: int = INTEGER_MAX,
    seed: int | None = None,
    residual: bool = True,
    backend: str | None = None,
) -> tuple[Array, Any]:
    """Successive interference cancellation: quantize columns from the last to the first, each against what those before it left over.

    With ``Y = W L``, ``z_i = clamp(rint(Y_:i / (α_i ℓ_ii) − offset))`` and then ``Y ← Y − γ_i α_i (z_i + offset) L_i,:`` for i = n … 1;
    α are the steps, γ the gains.

    Parameters
    ----------
    weight : (m, n) float64 or float32, which it computes in; W, or a target in its place as of `rdtools.quantizers.problem.cross_target`
    factor : (n, n) float64 or float32, lower triangular with a positive diagonal
    steps : (n,) float64, positive
    gains : (n,) float64, reconstruction gains; None for 1
    offset : 0, or ½ for a mid-rise grid
    integer_min, integer_max : range of the integers
    seed : None to round to nearest; else rounding is stochastic and unbiased, by a generator that counts in seed, row and column
    residual : False if the residual is not wanted, which saves its memory
    backend : None, "numba", "reference", "triton" or "torch"

    Returns
    -------
    integers : (m, n) int32
    residual : (m, n), ``(W − Ŵ) L`` in W's dtype; None if not wanted

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> integers, residual = sic_sweep(np.array([[0.6, 1.4]]), np.array([[1.0, 0.0], [0.5, 1.0]]), np.ones(2))
    >>> integers.tolist(), residual.round(9).tolist()
    ([[1, 1]], [[-0.2, 0.4]])
    """
    if gains is None:
        gains = np.ones(weight.shape[-1]) if isinstance(steps, np.ndarray) else steps.new_ones(weight.shape[-1])
    _check("sic_sweep", weight, factor, seed, steps=steps, gains=gains)
    chosen, data, convert = dispatch("sic_sweep", backend, weight, factor, steps, gains)
    integers, final = kernel("sic_sweep", chosen)(
        *data, offset=offset, integer_min=integer_min, integer_max=integer_max, seed=seed, residual=residual
    )
    return convert(integers), convert(final)


def sic_sweep_sample_gains(
    weight: Array,  # (m, n)
    factor: Array,  # (n, n), lower triangular
    steps: Array,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int = INTEGER_MIN,
    integer_max: int = INTEGER_MAX,
    seed: int | None = None,
    residual: bool = True,
    normal: bool = False,
    overwrite: bool = False,
    backend: str | None = None,
) -> tuple[Array, Array, Any]:
    """`sic_sweep` with the gain of each column fitted to its integers, ``γ_i = ⟨p, Y_:i⟩ / (α_i ℓ_ii ‖p‖²)``, ``p = z_i + offset``.

    1 where p ≡ 0. If `normal` it is `rdtools.normal.gain_of_mean_square` of ``‖p‖²/m`` instead, which looks at integers alone. The gain is
    a mean over rows, which waits for all of them: a gain computed from the step beforehand is faster. With `overwrite` the weights may be
    overwritten, which saves a backend that can use it their memory.

    Returns
    -------
    integers : (m, n) int32
    gains : (n,) float64
    residual : (m, n), ``(W − Ŵ) L`` in W's dtype; None if not wanted

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable
    """
    _check("sic_sweep_sample_gains", weight, factor, seed, steps=steps)
    chosen, data, convert = dispatch("sic_sweep_sample_gains", backend, weight, factor, steps)
    gain_curve: Any = gain_table() if normal else None
    if normal and chosen in ON_DEVICE:
        gain_curve = beside(gain_curve, weight)
    integers, gains, final = kernel("sic_sweep_sample_gains", chosen)(
        *data, offset=offset, integer_min=integer_min, integer_max=integer_max, seed=seed, residual=residual, gain_curve=gain_curve,
        overwrite=overwrite,
    )  # fmt: skip
    return convert(integers), convert(gains), convert(final)
