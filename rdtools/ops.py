"""The only door to the kernels: one function an operation, dispatched to a backend.

``backend=None`` takes the fastest that this machine has; a backend asked for by name and missing raises. Results carry the name
of the backend that ran.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import BackendUnavailable, ShapeMismatch

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


def sic_sweep(
    weight: Float64Array,  # (m, n)
    factor: Float64Array,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    gains: Float64Array | None = None,  # (n,)
    *,
    offset: float = 0.0,
    code_min: int = CODE_MIN,
    code_max: int = CODE_MAX,
    backend: str | None = None,
) -> tuple[NDArray[np.int32], Float64Array]:
    """Successive interference cancellation; see `rdtools.kernels.sic_sweep_reference.sic_sweep` for the formula.

    Parameters
    ----------
    weight : (m, n) float64
    factor : (n, n) float64, lower triangular with a positive diagonal
    steps : (n,) float64, positive
    gains : (n,) float64, reconstruction gains; None for 1
    offset : 0, or ½ for a mid-rise grid
    code_min, code_max : range of the codes
    backend : None, "numba" or "reference"

    Returns
    -------
    codes : (m, n) int32
    residual : (m, n) float64, ``(W − Ŵ) L``

    Raises
    ------
    ShapeMismatch, BackendUnavailable
    """
    n = weight.shape[-1]
    gains = np.ones(n) if gains is None else gains
    if weight.ndim != 2 or factor.shape != (n, n) or steps.shape != (n,) or gains.shape != (n,):
        raise ShapeMismatch(
            f"sic_sweep: weight {weight.shape}, factor {factor.shape}, steps {steps.shape}, gains {gains.shape}; "
            "expected (m, n), (n, n), (n,), (n,)"
        )
    kernel = import_module(f"rdtools.kernels.sic_sweep_{choose_backend(backend)}")
    codes, residual = kernel.sic_sweep(weight, factor, steps, gains, offset=offset, code_min=code_min, code_max=code_max)
    return codes, residual


def warm_up() -> None:
    """Compile the kernels that this machine will use, so that worker processes load them from the cache."""
    if choose_backend(None) == "numba":
        sic_sweep(np.zeros((1, 1)), np.ones((1, 1)), np.ones(1))
