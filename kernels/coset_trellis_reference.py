"""Successive cancellation with a trellis of cosets down the rows of every column, written like the note.

The points of a column are the multiples of half its step, ``x = δ q`` with ``δ = α/2``. The integers are in four cosets q mod 4, and a
machine of S = 2^ν states walks along the column. Its state says the parity of the next integer, and of the two cosets of that parity the
one that is taken says where it goes: state bits ``s_1`` (lowest) … ``s_ν``, ``z_0 = s_1 = q mod 2``, ``z_1 = ⌊(q mod 4)/2⌋``, and

    s_k ← s_{k+1} ⊕ h⁰_k z_0 ⊕ h¹_k z_1,   k = 1 … ν,   s_{ν+1} = 0

So a decoder that has the integers before knows the parity of the next one, which then takes as many bits as an integer of step α.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, FloatArray

#: States → parity-check polynomials h⁰ and h¹, the bit k being the coefficient of D^k. Up to 256 states they are Ungerboeck's, IEEE Trans.
#: Inf. Theory 28 (1982), Table I, up to 64, and Fischer and Wang's, ibid. 38 (1992), beyond; those of 512 and 1024 were searched for.
CODES: dict[int, tuple[int, int]] = {
    4: (0o5, 0o2),
    8: (0o13, 0o04),
    16: (0o23, 0o04),
    32: (0o45, 0o10),
    64: (0o103, 0o024),
    128: (0o235, 0o126),
    256: (0o515, 0o362),
    512: (0o1723, 0o0614),
    1024: (0o3723, 0o1536),
}


def coset_transitions(states: int) -> NDArray[np.int32]:
    """The state after each state s and each ``z_1``, (S, 2) int32; the parity of the integer in between is ``s mod 2``."""
    h0, h1 = CODES[states]
    s = np.arange(states, dtype=np.int32)
    after = (s >> 1) ^ (s & 1) * np.int32(h0 >> 1)
    return np.stack([after, after ^ np.int32(h1 >> 1)], axis=1)


#: Rows after which fast kernels take the least cost from all, so that float32 keeps its digits, and a cost that no walk has.
RENEW, NEVER = 32, 1e30


def butterfly_labels(states: int) -> NDArray[np.uint8]:
    """The coset c_j of the branch from state j to 2j in the feed-forward form of a code, (S/2,), which fast kernels search in.

    Its walks from state 0 have the same cosets: a register of ν inputs u, ``z_0 = h¹(D) u``, ``z_1 = h⁰(D) u``, because
    ``h⁰ h¹ + h¹ h⁰ = 0``. There states j and j + S/2 go to 2j and 2j + 1, and the four branches carry the cosets c_j, c_j ⊕ 2, c_j ⊕ 2 and
    c_j.
    """
    h0, h1 = CODES[states]
    register = range(0, states, 2)
    return np.array([(r & h1).bit_count() % 2 + 2 * ((r & h0).bit_count() % 2) for r in register], dtype=np.uint8)


def nearest_in_cosets(x: Float64Array, largest: int) -> Float64Array:
    """The integer nearest to x in each coset 0 … 3, (…, 4), of magnitude ``largest`` at most but for the last few."""
    coset = np.arange(4.0)
    reach = largest // 4 - 1
    return np.asarray(coset + 4.0 * np.clip(np.rint((x[..., None] - coset) / 4.0), -reach, reach))


def nearest_path(x: Float64Array, transitions: NDArray[np.int32], largest: int) -> NDArray[np.int64]:
    """The integers (M,) of a walk from state 0 that are nearest to x, by Viterbi's search: of equal walks one."""
    S = len(transitions)
    points = nearest_in_cosets(x, largest)
    # the two ways into a state
    source, branch = np.divmod(np.argsort(transitions.ravel(), kind="stable").reshape(S, 2), 2)
    coset = source % 2 + 2 * branch
    cost = np.where(np.arange(S) == 0, 0.0, np.inf)
    choices = []
    for t in range(len(x)):
        ways = cost[source] + ((x[t] - points[t]) ** 2)[coset]
        choices.append(np.argmin(ways, axis=1))
        cost = ways.min(axis=1)
    state = int(np.argmin(cost))
    path = np.empty(len(x), dtype=np.int64)
    for t in range(len(x) - 1, -1, -1):
        way = choices[t][state]
        path[t] = points[t, coset[state, way]]
        state = int(source[state, way])
    return path


def coset_trellis_sweep(
    weight: FloatArray,  # (m, n)
    factor: FloatArray,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    states: int,
    *,
    segment: int,
    integer_max: int,
    residual: bool = True,
    overwrite: bool = False,
) -> tuple[NDArray[np.int32], FloatArray | None]:
    """Quantize columns from the last to the first, each as one walk down its rows against what those before it left over.

    With ``Y = W L`` and ``δ_i = α_i/2``, for i = n … 1::

        q_:i = the walk nearest to Y_:i / (δ_i ℓ_ii), from state 0 again every `segment` rows
        Y   ← Y − δ_i q_:i L_i,:

    so that finally ``Y = (W − Ŵ) L`` with ``Ŵ_:i = δ_i q_:i``, as in `rdtools.kernels.sic_sweep_reference.sic_sweep`.

    Parameters
    ----------
    weight : (m, n) float64 or float32, W; everything but the walks is computed in its dtype
    factor : (n, n) float64 or float32, L, positive diagonal
    steps : (n,) float64, α, positive
    states : a number of states in `CODES`
    segment : rows of a walk, positive
    integer_max : no integer is larger, and it is at most 2³¹ − 1
    residual : whether the final Y is wanted

    Returns
    -------
    integers : (m, n) int32, q
    residual : (m, n), the final Y in W's dtype, or None

    References
    ----------
    Ungerboeck's codes with entropy coding: Fischer and Wang, IEEE Trans. Inf. Theory 38 (1992); in successive cancellation derived for this
    project.
    """
    m, n = weight.shape
    transitions = coset_transitions(states)
    factor, spacings = factor.astype(weight.dtype, copy=False), (0.5 * steps).astype(weight.dtype)
    Y = weight @ factor
    integers = np.empty((m, n), dtype=np.int32)
    for i in range(n - 1, -1, -1):
        x = (Y[:, i] / (spacings[i] * factor[i, i])).astype(np.float64)
        for first in range(0, m, segment):
            integers[first : first + segment, i] = nearest_path(x[first : first + segment], transitions, integer_max)
        Y[:, : i + 1] -= np.outer(spacings[i] * integers[:, i].astype(weight.dtype), factor[i, : i + 1])
    return integers, Y if residual else None
