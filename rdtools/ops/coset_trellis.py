"""Successive cancellation with a trellis of cosets down the rows of every column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import UsageError
from rdtools.ops.arrays import FLOATS, Array, check_arrays
from rdtools.ops.dispatch import dispatch
from rdtools.ops.registry import kernel
from rdtools.ops.sic import INTEGER_MAX

#: Numbers of states that there are codes for.
COSET_STATES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)


def check_states(op: str, states: int) -> None:
    """Refuse a number of states that there is no code for.

    Raises
    ------
    UsageError
    """
    if states not in COSET_STATES:
        raise UsageError(f"{op}: {states!r} states, expected one of {', '.join(map(str, COSET_STATES))}")


def coset_transitions(states: int) -> NDArray[np.int32]:
    """The state after each state s and each second bit of ``q mod 4``, (S, 2) int32; q is as odd as s, and a walk starts in state 0.

    Raises
    ------
    UsageError

    Examples
    --------
    >>> coset_transitions(4).tolist()
    [[0, 1], [2, 3], [1, 0], [3, 2]]
    """
    check_states("coset_transitions", states)
    answer: NDArray[np.int32] = kernel("coset_transitions")(states)
    return answer


def coset_trellis_sweep(
    weight: Array,  # (m, n)
    factor: Array,  # (n, n), lower triangular
    steps: Array,  # (n,)
    states: int,
    *,
    segment: int,
    integer_max: int = INTEGER_MAX,
    residual: bool = True,
    overwrite: bool = False,
    backend: str | None = None,
) -> tuple[Array, Any]:
    """Successive cancellation whose integers walk a trellis down every column: the distortion of a longer lattice at the rate of a scalar.

    With ``Y = W L`` and ``δ_i = α_i/2``, for i = n … 1, ``q_:i`` is the walk nearest to ``Y_:i / (δ_i ℓ_ii)`` and then
    ``Y ← Y − δ_i q_:i L_i,:``; α are the steps. Given those before it in its column, an integer is known to be even or odd, so that it
    takes as many bits as one of step α_i.

    Parameters
    ----------
    weight : (m, n) float64 or float32, which all but the walks are computed in; or a target in its place
    factor : (n, n) float64 or float32, lower triangular with a positive diagonal
    steps : (n,) float64, positive
    states : of the trellis, one of `COSET_STATES`
    segment : rows after which a walk begins anew, in state 0; segments are searched apart from each other
    integer_max : no integer is larger
    residual : False if the residual is not wanted, which saves its memory
    overwrite : the weights may be overwritten, which saves a backend that can use it their memory
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
    The first integer of a walk is even.

    >>> integers, residual = coset_trellis_sweep(np.array([[0.6], [1.4]]), np.ones((1, 1)), np.full(1, 2.0), 8, segment=2)
    >>> integers.ravel().tolist(), residual.ravel().round(9).tolist()
    ([0, 2], [0.6, -0.6])
    """
    check_states("coset_trellis_sweep", states)
    check_arrays("coset_trellis_sweep", weight=(weight, "(m, n)", FLOATS), factor=(factor, "(n, n)", FLOATS), steps=(steps, "(n,)", ()))
    if not segment >= 1 or not 8 <= integer_max <= INTEGER_MAX:
        raise UsageError(f"coset_trellis_sweep: segments of {segment} rows and integers up to {integer_max}; expected 1 and 8 at least")
    chosen, data, convert = dispatch("coset_trellis_sweep", backend, weight, factor, steps)
    run = kernel("coset_trellis_sweep", chosen)
    integers, final = run(*data, states, segment=segment, integer_max=integer_max, residual=residual, overwrite=overwrite)
    return convert(integers), convert(final)
