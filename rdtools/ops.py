"""The only door to the kernels: one function an operation, dispatched to a backend.

``backend=None`` takes the fastest that this machine has; a backend asked for by name and missing raises. Results carry the name
of the backend that ran.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype, UsageError

FloatArray = NDArray[Any]  # float64 or float32
Float64Array = NDArray[np.float64]

#: Fastest first.
BACKENDS = ("numba", "reference")

CODE_MIN, CODE_MAX = -(2**31) + 1, 2**31 - 1


def available_backends() -> tuple[str, ...]:
    """Backends that can run here, fastest first."""
    return tuple(name for name in BACKENDS if name == "reference" or find_spec("numba") is not None)


def choose_backend(backend: str | None) -> str:
    """The backend to use for a request.

    Raises
    ------
    BackendUnavailable
        If it was asked for by name and is unknown or missing.
    """
    available = available_backends()
    if backend is None:
        return available[0]
    if backend not in available:
        raise BackendUnavailable(f"backend {backend!r}: available here are {', '.join(available)}")
    return backend


def _check_sweep(name: str, weight: FloatArray, factor: FloatArray, seed: int | None, **columns: Float64Array) -> None:
    n = weight.shape[-1]
    if weight.ndim != 2 or factor.shape != (n, n) or any(c.shape != (n,) for c in columns.values()):
        got = ", ".join(f"{key} {c.shape}" for key, c in columns.items())
        expected = ", ".join(["(m, n)", "(n, n)"] + ["(n,)"] * len(columns))
        raise ShapeMismatch(f"{name}: weight {weight.shape}, factor {factor.shape}, {got}; expected {expected}")
    for key, array in (("weight", weight), ("factor", factor)):
        if array.dtype not in (np.float64, np.float32):
            raise UnsupportedDtype(f"{name}: {key} of {array.dtype}, expected float64 or float32; convert it")
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


def sic_sweep(
    weight: FloatArray,  # (m, n)
    factor: FloatArray,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    gains: Float64Array | None = None,  # (n,)
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    seed: int | None = None,
    residual: bool = True,
    backend: str | None = None,
) -> tuple[NDArray[np.int32], FloatArray | None]:
    """Successive interference cancellation; see `rdtools.kernels.sic_sweep_reference.sic_sweep` for the formula.

    Parameters
    ----------
    weight : (m, n) float64 or float32, which is what the sweep computes in; W, or a target in its place such as `cross_target` gives
    factor : (n, n) float64 or float32, lower triangular with a positive diagonal
    steps : (n,) float64, positive
    gains : (n,) float64, reconstruction gains; None for 1
    offset : 0, or ½ for a mid-rise grid
    code_min, code_max : range of the codes
    seed : None to round to nearest; else rounding is stochastic and unbiased, by a generator that counts in seed, row and column
    residual : False if the residual is not wanted, which saves its memory
    backend : None, "numba" or "reference"

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
    gains = np.ones(weight.shape[-1]) if gains is None else gains
    _check_sweep("sic_sweep", weight, factor, seed, steps=steps, gains=gains)
    kernel = import_module(f"rdtools.kernels.sic_sweep_{choose_backend(backend)}")
    codes, final = kernel.sic_sweep(
        weight, factor, steps, gains, offset=offset, code_min=code_min, code_max=code_max, seed=seed, residual=residual
    )
    return codes, final


def sic_sweep_sample_gains(
    weight: FloatArray,  # (m, n)
    factor: FloatArray,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    seed: int | None = None,
    residual: bool = True,
    backend: str | None = None,
) -> tuple[NDArray[np.int32], Float64Array, FloatArray | None]:
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
    kernel = import_module(f"rdtools.kernels.sic_sweep_{choose_backend(backend)}")
    codes, gains, final = kernel.sic_sweep_sample_gains(
        weight, factor, steps, offset=offset, code_min=code_min, code_max=code_max, seed=seed, residual=residual
    )
    return codes, gains, final


def cross_target(
    cross: Float64Array,  # (m, n)
    factor: Float64Array,  # (n, n), lower triangular
) -> Float64Array:
    """The target ``T = C (L Lᵀ)⁻¹`` that a sweep quantizes in place of W when the layer's input is not the one that W was made for.

    With inputs x̂ in place of x, ``E‖W x − Ŵ x̂‖² = tr (T − Ŵ) Σ_x̂ (T − Ŵ)ᵀ + constant`` for ``C = W E[x x̂ᵀ]`` and ``L Lᵀ = Σ_x̂``; a
    term that corrects a residual stream is added to C. The sweep of T starts at ``Y = T L = C L⁻ᵀ``. With x̂ = x, T = W.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4.
    """
    return np.asarray(cho_solve((factor, True), cross.T).T)


def hadamard_multiply(
    x: FloatArray,  # (..., n)
    core: NDArray[Any],  # (c, c), n = 2^k c
    *,
    backend: str | None = None,
) -> None:
    """``x ← x (S ⊗ C) / √n`` along the last axis and in place, S Sylvester's matrix of order 2^k; `rdtools.transforms` knows the cores.

    Parameters
    ----------
    x : (..., n) float64 or float32, overwritten; copied there and back if it is not contiguous
    core : (c, c), a Hadamard matrix, in any dtype
    backend : None, "numba" or "reference"

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, BackendUnavailable

    Examples
    --------
    >>> x = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> hadamard_multiply(x, np.ones((1, 1)))
    >>> x.tolist()
    [[5.0, -1.0, -2.0, 0.0]]
    """
    n, c = (x.shape[-1] if x.ndim else 0), len(core)
    if core.shape != (c, c) or c == 0 or n % c or (n // c).bit_count() != 1:
        raise ShapeMismatch(
            f"hadamard_multiply: x {x.shape}, core {core.shape}; expected (..., n) and (c, c) with n a power of two times c"
        )
    if x.dtype not in (np.float64, np.float32):
        raise UnsupportedDtype(f"hadamard_multiply: x of {x.dtype}, expected float64 or float32; convert it")
    kernel = import_module(f"rdtools.kernels.hadamard_{choose_backend(backend)}")
    rows = np.require(x, requirements=["C", "A"])
    kernel.hadamard_multiply(rows.reshape(-1, n), core)
    if rows is not x:
        x[...] = rows


def warm_up() -> None:
    """Compile the kernels that this machine will use, so that worker processes load them from the cache."""
    if choose_backend(None) == "numba":
        for order in (1, 2):
            hadamard_multiply(np.zeros((1, 2)), np.ones((order, order)))
        sic_sweep(np.zeros((1, 1)), np.ones((1, 1)), np.ones(1), residual=False)
