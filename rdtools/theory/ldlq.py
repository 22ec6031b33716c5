"""Rounding on a unit grid with linear feedback: what QuIP proves of LDLQ, and what its proofs contain.

Columns are decided from the last to the first: ``Ŵ_:i = Q(W_:i + Σ_{j>i} (W − Ŵ)_:j U_ji)`` with U strictly lower triangular. The error
of the rounding itself, ``η = (W − Ŵ)(I + U)``, is at most ½ (nearest), so that the proxy loss of a row is ``η (I+U)^{-1} H (I+U)^{-T} ηᵀ``.
LDLQ takes U from ``H = (I+U) D (I+U)ᵀ``, D diagonal with ``D_ii = ℓ_ii²``, and is left with ``Σ η_i² D_ii``. Losses are per row, in units
of the squared step. QuIP writes the mirror image (columns from the first to the last, U strictly upper), which is the same theory.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError

Rounding = Literal["nearest", "stochastic"]

#: Variance of the rounding error of an input that is uniform modulo the grid.
ERROR_VARIANCE: dict[Rounding, float] = {"nearest": 1 / 12, "stochastic": 1 / 6}


def feedback_matrix(factor: Float64Array) -> Float64Array:
    """LDLQ's ``U = L diag(L)^{-1} − I``, strictly lower triangular, from ``H = L Lᵀ``."""
    return np.asarray(np.tril(factor / np.diagonal(factor), -1))


def feedback_trace(moment: Float64Array, feedback: Float64Array) -> float:
    """``tr( (I+U)^{-1} H (I+U)^{-T} )``: least, and equal to ``tr D``, for LDLQ's U; ``tr H`` for U = 0.

    inf where it, or a number on the way to it, is beyond float64: entries of ``(I+U)^{-1}`` grow as ``(1 + rms(U)²)^{n/2}``.

    Parameters
    ----------
    moment : (n, n) H
    feedback : (n, n) U, strictly lower triangular

    References
    ----------
    QuIP, arXiv 2307.13304, Theorem 1 (optimality among linear-feedback roundings).

    Examples
    --------
    >>> feedback_trace(np.array([[4.0, 2.0], [2.0, 3.0]]), np.zeros((2, 2)))
    7.0
    >>> feedback_trace(np.array([[4.0, 2.0], [2.0, 3.0]]), np.array([[0.0, 0.0], [0.5, 0.0]]))
    6.0
    """
    unit = np.eye(len(moment)) + np.tril(feedback, -1)
    half = scipy.linalg.solve_triangular(unit, moment, lower=True, unit_diagonal=True, check_finite=False)
    covariance = scipy.linalg.solve_triangular(unit, half.T, lower=True, unit_diagonal=True, check_finite=False)
    trace = float(np.trace(covariance))
    return trace if math.isfinite(trace) else math.inf


def average_proxy_loss(trace: float, rounding: Rounding = "nearest") -> float:
    """``t/12`` (nearest) or ``t/6`` (stochastic): mean loss of a row for weights uniform modulo the grid.

    t is tr D for LDLQ, tr H for rounding without feedback, `feedback_trace` in between. On an unbounded grid.

    References
    ----------
    QuIP, arXiv 2307.13304, Theorem 1 and Lemma 3.
    """
    return ERROR_VARIANCE[rounding] * trace


def worst_proxy_loss(trace: float) -> float:
    """``t/4``: largest loss of a row over all weights, for LDLQ (t = tr D; both roundings) and stochastic rounding (t = tr H).

    Nearest rounding without feedback is worse, see `nearest_worst_signs`.

    References
    ----------
    QuIP, arXiv 2307.13304, Theorem 1 and Lemma 3.
    """
    return trace / 4


def nearest_worst_signs(moment: Float64Array) -> Float64Array:
    """Signs s with a large ``sᵀ H s``: at weights ½ s, rounding to nearest loses ``¼ sᵀ H s ≥ ¼ tr H``.

    The worst case of nearest rounding without feedback is ``¼ max_s sᵀ H s``, at most n λ_max/4 and NP-hard to find; this is the local
    maximum that flips of single signs lead to from the signs of the row sums. There ``s_i (H s)_i ≥ H_ii`` for every i.

    References
    ----------
    Derived for this project; QuIP, arXiv 2307.13304, Lemma 3 states the worst case of stochastic rounding.

    Examples
    --------
    >>> nearest_worst_signs(np.array([[4.0, -2.0], [-2.0, 3.0]])).tolist()
    [-1.0, 1.0]
    """
    diagonal = np.diagonal(moment)
    s = np.where(moment.sum(axis=1) < 0, -1.0, 1.0)
    field = moment @ s
    while len(s):
        shortfall = diagonal - s * field
        i = int(shortfall.argmax())
        # a flip gains four times the shortfall; below rounding of the field it gains nothing
        if shortfall[i] <= len(s) * np.finfo(np.float64).eps * float(np.abs(moment[i]).sum()):
            break
        s[i] = -s[i]
        field += 2 * s[i] * moment[:, i]
    return s


def root_trace_bound(root_diagonal: Float64Array) -> float:
    """``tr(S) max_i S_ii`` with S = H^{1/2}: an upper bound on tr D in every order, between tr D and QuIP's Lemma 2.

    Parameters
    ----------
    root_diagonal : (n,) S_ii

    References
    ----------
    The intermediate bound in the proof of QuIP, arXiv 2307.13304, Lemma 2; block form in QuIP#, arXiv 2402.04396, Lemma B.1.
    """
    return float(root_diagonal.sum() * root_diagonal.max(initial=0.0))


def low_rank_trace_bound(incoherence: float, rank: int, moment_trace: float, columns: int) -> float:
    """``(μ² k/n) tr H``: upper bound on tr D for a H of rank k; below tr H only where k < n/μ².

    References
    ----------
    QuIP, arXiv 2307.13304, low-rank corollary of Lemma 2.
    """
    return incoherence**2 * rank / columns * moment_trace


def block_trace(factor: Float64Array, block: int) -> float:
    """``tr D`` of the block factorization ``H = (I+U) D (I+U)ᵀ`` with blocks of g columns: ``Σ_k ‖L_kk‖_F²`` over diagonal blocks of L.

    Non-decreasing when g is multiplied by a whole number, from Σ ℓ_ii² at g = 1 to tr H at g = n. Blocks are counted from the last
    column; if g does not divide n the first block is the small one.

    References
    ----------
    QuIP#, arXiv 2402.04396, section 4 (BlockLDLQ).

    Examples
    --------
    >>> L = np.array([[2.0, 0.0], [1.0, 1.0]])
    >>> block_trace(L, 1), block_trace(L, 2)
    (5.0, 6.0)
    """
    return sum(float(np.sum(factor[part, part] ** 2)) for part in blocks(len(factor), block))


def blocks(columns: int, block: int) -> list[slice]:
    """Slices of g columns from the last to the first; the last slice holds what is left over."""
    if block < 1:
        raise TheoryError(f"blocks of {block} columns, expected at least 1")
    return [slice(max(0, stop - block), stop) for stop in range(columns, 0, -block)]


def block_distortion(factor: Float64Array, block: int, error_variance: float, *, damping: float = 0.0) -> float:
    """Distortion per weight of block LDLQ: ``ε (‖B‖_F² − δ ‖B L⁻¹‖_F²)/n`` with B the diagonal blocks of L, ``H + δ I = L Lᵀ``.

    The error is ``E = η B L⁻¹`` with rounding errors η of variance ε, and its loss under H itself ``tr(E (L Lᵀ − δ I) Eᵀ)``.

    Parameters
    ----------
    factor : (n, n) L
    block : g; blocks are counted from the first column, and the last may be the small one
    error_variance : ε per weight, the same in every block
    damping : δ, absolute

    References
    ----------
    QuIP#, arXiv 2402.04396 v2, section 4, before its bound; the damped form is derived here.

    Examples
    --------
    >>> L = np.linalg.cholesky(np.array([[4.0, 2.0], [2.0, 3.0]]))
    >>> block_distortion(L, 1, 0.5), block_distortion(L, 2, 0.5)
    (1.5, 1.75)
    """
    n = len(factor)
    if n == 0:
        return 0.0
    B = np.zeros_like(factor)
    for start in range(0, n, block):
        part = slice(start, min(start + block, n))
        B[part, part] = factor[part, part]
    loss = float(np.sum(B**2))
    if damping:
        loss -= damping * float(np.sum(scipy.linalg.solve_triangular(factor, B.T, lower=True, trans="T", check_finite=False) ** 2))
    return error_variance * loss / n


def block_trace_bound(root: Float64Array, block: int) -> float:
    """``tr(S) ‖S ∘ M‖₂``, M the mask of the diagonal blocks: an upper bound on `block_trace`.

    Parameters
    ----------
    root : (n, n) S = H^{1/2}
    block : g

    References
    ----------
    QuIP#, arXiv 2402.04396, Lemma B.1.
    """
    norms = [float(np.linalg.norm(root[part, part], 2)) for part in blocks(len(root), block)]
    return float(np.trace(root)) * max(norms, default=0.0)


def block_proxy_loss_bound(incoherence: float, root_trace: float, columns: int, block: int, error_variance: float) -> float:
    """``(g μ² σ²/n) (tr S)²``: bound on the mean loss of a row under BlockLDLQ.

    For a vector quantizer with ``E[(Q(x)−x)(Q(x)−x)ᵀ] ≤ σ² I`` for every x, which an unbounded dithered lattice satisfies and no finite
    codebook does.

    References
    ----------
    QuIP#, arXiv 2402.04396, Theorem 4.1.
    """
    return block * incoherence**2 * error_variance / columns * root_trace**2


def nearest_plane_ratio_bound(lengths: Float64Array) -> float:
    """``√(1 + max_j Σ_{j'≤j} d_j'²/d_j²)``: successive rounding is at most this factor further from the target than the closest point.

    d_j = α_j ℓ_jj, the lengths of the Gram–Schmidt vectors, column 1 being the one decided last. For the norm, not its square.

    References
    ----------
    Chen et al., arXiv 2507.18553, Theorem 5 and its relative form (Babai's nearest-plane bound).

    Examples
    --------
    >>> nearest_plane_ratio_bound(np.ones(3))
    2.0
    """
    if lengths.size == 0:
        return 1.0
    squares = np.asarray(lengths, dtype=np.float64) ** 2
    return math.sqrt(1.0 + float((np.cumsum(squares) / squares).max()))


def nearest_plane_sharp_ratio_bound(lengths: Float64Array) -> float:
    """``√(max_j Σ_{j'≤j} d_j'²/d_j²)``: the same without the 1 under the root, and exact for a single column.

    Up to the first column in which nearest plane and the closest point differ, both leave the same; there the closest point leaves at least
    d_j/2, and from there on nearest plane at most ½ √(Σ_{j'≤j} d_j'²).

    References
    ----------
    Derived for this project, by Babai's argument.

    Examples
    --------
    >>> nearest_plane_sharp_ratio_bound(np.ones(4)), nearest_plane_sharp_ratio_bound(np.ones(1))
    (2.0, 1.0)
    """
    if lengths.size == 0:
        return 1.0
    squares = np.asarray(lengths, dtype=np.float64) ** 2
    return math.sqrt(float((np.cumsum(squares) / squares).max()))
