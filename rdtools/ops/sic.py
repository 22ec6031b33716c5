"""Successive interference cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import ShapeMismatch, UnsupportedDtype, UsageError
from rdtools.ops.dispatch import dispatch, dtype_name, kernel

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = NDArray[Any]  # float64 or float32
Float64Array = NDArray[np.float64]


CODE_MIN, CODE_MAX = -(2**31) + 1, 2**31 - 1


def _check_sweep(name: str, weight: Any, factor: Any, seed: int | None, **columns: Any) -> None:
    n = weight.shape[-1]
    if weight.ndim != 2 or factor.shape != (n, n) or any(c.shape != (n,) for c in columns.values()):
        got = ", ".join(f"{key} {tuple(c.shape)}" for key, c in columns.items())
        expected = ", ".join(["(m, n)", "(n, n)"] + ["(n,)"] * len(columns))
        raise ShapeMismatch(f"{name}: weight {tuple(weight.shape)}, factor {tuple(factor.shape)}, {got}; expected {expected}")
    for key, array in (("weight", weight), ("factor", factor)):
        if dtype_name(array) not in ("float64", "float32"):
            raise UnsupportedDtype(f"{name}: {key} of {dtype_name(array)}, expected float64 or float32; convert it")
    if seed is not None and not 0 <= seed < 2**64:
        raise UsageError(f"{name}: seed {seed}, expected None or an integer of at most 64 bits")


@overload
def sic_sweep(
    weight: FloatArray,
    factor: FloatArray,
    steps: Float64Array,
    gains: Float64Array | None = None,
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    seed: int | None = None,
    residual: Literal[True] = True,
    backend: str | None = None,
) -> tuple[NDArray[np.int32], FloatArray]: ...


@overload
def sic_sweep(
    weight: FloatArray,
    factor: FloatArray,
    steps: Float64Array,
    gains: Float64Array | None = None,
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    seed: int | None = None,
    residual: Literal[False],
    backend: str | None = None,
) -> tuple[NDArray[np.int32], None]: ...


@overload
def sic_sweep(
    weight: Tensor,
    factor: Tensor,
    steps: Tensor,
    gains: Tensor | None = None,
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    seed: int | None = None,
    residual: bool = True,
    backend: str | None = None,
) -> tuple[Tensor, Tensor | None]: ...


def sic_sweep(
    weight: FloatArray | Tensor,  # (m, n)
    factor: FloatArray | Tensor,  # (n, n), lower triangular
    steps: Float64Array | Tensor,  # (n,)
    gains: Float64Array | Tensor | None = None,  # (n,)
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    seed: int | None = None,
    residual: bool = True,
    backend: str | None = None,
) -> tuple[NDArray[np.int32] | Tensor, FloatArray | Tensor | None]:
    """Successive interference cancellation; see `rdtools.kernels.sic_sweep_reference.sic_sweep` for the formula.

    Parameters
    ----------
    weight : (m, n) float64 or float32, which it computes in; W, or a target in its place as of `rdtools.linalg.cross_target`
    factor : (n, n) float64 or float32, lower triangular with a positive diagonal
    steps : (n,) float64, positive
    gains : (n,) float64, reconstruction gains; None for 1
    offset : 0, or ½ for a mid-rise grid
    code_min, code_max : range of the codes
    seed : None to round to nearest; else rounding is stochastic and unbiased, by a generator that counts in seed, row and column
    residual : False if the residual is not wanted, which saves its memory
    backend : None, "numba", "reference" or "triton"

    Returns
    -------
    codes : (m, n) int32
    residual : (m, n), ``(W − Ŵ) L`` in W's dtype; None if not wanted

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> codes, residual = sic_sweep(np.array([[0.6, 1.4]]), np.array([[1.0, 0.0], [0.5, 1.0]]), np.ones(2))
    >>> codes.tolist(), residual.round(9).tolist()
    ([[1, 1]], [[-0.2, 0.4]])
    """
    if gains is None:
        gains = np.ones(weight.shape[-1]) if isinstance(steps, np.ndarray) else steps.new_ones(weight.shape[-1])
    _check_sweep("sic_sweep", weight, factor, seed, steps=steps, gains=gains)
    chosen, data, give = dispatch("sic_sweep", backend, weight, factor, steps, gains)
    codes, final = kernel("sic_sweep", "sic_sweep", chosen)(
        *data, offset=offset, code_min=code_min, code_max=code_max, seed=seed, residual=residual
    )
    return give(codes), give(final)


@overload
def sic_sweep_sample_gains(
    weight: FloatArray,
    factor: FloatArray,
    steps: Float64Array,
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    seed: int | None = None,
    residual: bool = True,
    backend: str | None = None,
) -> tuple[NDArray[np.int32], Float64Array, FloatArray | None]: ...


@overload
def sic_sweep_sample_gains(
    weight: Tensor,
    factor: Tensor,
    steps: Tensor,
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    seed: int | None = None,
    residual: bool = True,
    backend: str | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]: ...


def sic_sweep_sample_gains(
    weight: FloatArray | Tensor,  # (m, n)
    factor: FloatArray | Tensor,  # (n, n), lower triangular
    steps: Float64Array | Tensor,  # (n,)
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    seed: int | None = None,
    residual: bool = True,
    backend: str | None = None,
) -> tuple[NDArray[np.int32] | Tensor, Float64Array | Tensor, FloatArray | Tensor | None]:
    """`sic_sweep` with the gain of each column fitted to its codes; see `rdtools.kernels.sic_sweep_reference.sic_sweep_sample_gains`.

    The gain is a mean over rows, which waits for all of them: a gain computed from the step beforehand is faster.

    Returns
    -------
    codes : (m, n) int32
    gains : (n,) float64
    residual : (m, n), ``(W − Ŵ) L`` in W's dtype; None if not wanted

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable
    """
    _check_sweep("sic_sweep_sample_gains", weight, factor, seed, steps=steps)
    chosen, data, give = dispatch("sic_sweep_sample_gains", backend, weight, factor, steps)
    codes, gains, final = kernel("sic_sweep_sample_gains", "sic_sweep", chosen)(
        *data, offset=offset, code_min=code_min, code_max=code_max, seed=seed, residual=residual
    )
    return give(codes), give(gains), give(final)
