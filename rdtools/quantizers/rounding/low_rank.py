"""The two steps of low-rank correction, from moments of the error of quantized activations.

``y = Ŵ x̂ + L x`` takes the place of ``W x``, with x̂ = x − e in the coordinates of the weights. With ``P = E[x xᵀ]``, ``F = E[x eᵀ]`` and
``N = E[e eᵀ]`` the loss is ``E‖A x + Ŵ e‖² = tr(A P Aᵀ) + 2 tr(A F Ŵᵀ) + tr(Ŵ N Ŵᵀ)``, ``A = W − L − Ŵ``: all that is small is summed, and
nothing cancels where activations are fine. A ridge ε on P is the same as ``ε ‖W − L‖²`` added to the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.linalg import cholesky
from rdtools.records import ActivationMoments

#: U (m, k) and V (n, k) of ``L = U Vᵀ``.
Factors = tuple[Float64Array, Float64Array]


def _ridged(moment: Float64Array, ridge: float, name: str) -> tuple[Float64Array, float]:
    """Lower factor of a moment plus a ridge relative to its mean diagonal, and the absolute ridge; a higher one where that is singular."""
    factored = cholesky(moment, damping=ridge if ridge > 0 else None, name=name)
    return factored.lower, factored.damping * float(np.mean(np.diagonal(moment)))


@dataclass(frozen=True, eq=False)
class ErrorMoments:
    """P, F and N in the coordinates of r quantized columns.

    Attributes
    ----------
    input : (r, r), P
    cross : (r, r), F
    error : (r, r), N
    ridge : ε, relative to the mean diagonals of P and of E[x̂ x̂ᵀ]
    name : for messages

    Raises
    ------
    UsageError
        If the map of the moments changes the number of channels.
    """

    input: Float64Array
    cross: Float64Array
    error: Float64Array
    ridge: float
    name: str = "input"

    @classmethod
    def of(cls, activations: ActivationMoments, ridge: float) -> ErrorMoments:
        """The moments behind a map, of what it takes of x: active channels, scaled and rotated."""
        transform = activations.input_map
        return cls(
            transform.moment(activations.reference), transform.apply(activations.cross_error.T).T, activations.error, ridge,
            activations.name,
        )  # fmt: skip

    @classmethod
    def plain(cls, moment: Float64Array, ridge: float, name: str) -> ErrorMoments:
        """Without quantized activations."""
        zero = np.zeros_like(moment)
        return cls(moment, zero, zero, ridge, name)

    @cached_property
    def actual(self) -> Float64Array:
        """(r, r), E[x̂ x̂ᵀ]."""
        total = self.input - self.cross - self.cross.T + self.error
        return np.asarray(0.5 * (total + total.T))

    @cached_property
    def _input_factor(self) -> tuple[Float64Array, float]:
        return _ridged(self.input, self.ridge, f"{self.name}: moment of x")

    @cached_property
    def unexplained(self) -> Float64Array:
        """(r, r), ``S = P − E[x x̂ᵀ] (E[x̂ x̂ᵀ] + ε I)⁻¹ E[x̂ xᵀ]``, what of x its quantized version does not tell."""
        C, added = _ridged(self.actual, self.ridge, f"{self.name}: moment of Q(x)")
        difference = self.error - self.cross
        difference[np.diag_indices(len(difference))] += added
        G = scipy.linalg.solve_triangular(C, difference, lower=True, check_finite=False)
        S = self.error.copy()
        S[np.diag_indices(len(S))] += added
        S -= G.T @ G
        return np.asarray(0.5 * (S + S.T))

    def loss(self, weight: Float64Array, quantized: Float64Array, factors: Factors) -> float:
        """``E‖W x − Ŵ x̂ − U Vᵀ x‖²`` in all."""
        A = weight - quantized - factors[0] @ factors[1].T
        crossed = 2 * A @ self.cross + quantized @ self.error
        return float(np.vdot(A @ self.input, A) + np.vdot(crossed, quantized))

    def start(self, weight: Float64Array, rank: int) -> Factors:
        """The best L if Ŵ could be any real matrix: U the leading eigenvectors of ``W S Wᵀ``, ``V = Wᵀ U``."""
        m = len(weight)
        _, U = scipy.linalg.eigh(weight @ self.unexplained @ weight.T, subset_by_index=(m - rank, m - 1), check_finite=False)
        return U, weight.T @ U

    def correction(self, weight: Float64Array, quantized: Float64Array, rank: int) -> Factors:
        """The best L beside Ŵ: the leading part of ``R C``, ``R = W − Ŵ E[x̂ xᵀ] (P + ε I)⁻¹``, ``P + ε I = C Cᵀ``."""
        C, added = self._input_factor
        lost = self.cross.T.copy()
        lost[np.diag_indices(len(lost))] += added
        # E[x̂ xᵀ] = P + ε I − (ε I + Fᵀ)
        shared = scipy.linalg.solve_triangular(C, lost.T, lower=True, check_finite=False).T
        return _leading((weight - quantized) @ C + quantized @ shared, C, rank)

    def retargeted(self, kept: Float64Array, factor: Float64Array) -> Float64Array:
        """The target ``K E[x x̂ᵀ] E[x̂ x̂ᵀ]⁻¹`` of the weight step for ``K = W − L``; both moments damped where the factor is."""
        return np.asarray(kept + scipy.linalg.cho_solve((factor, True), (kept @ (self.cross.T - self.error)).T).T)


def _leading(matrix: Float64Array, factor: Float64Array, rank: int) -> Factors:
    """U and V = C⁻ᵀ B s of the k leading singular triples of a matrix U s Bᵀ = R C."""
    U, s, Bt = scipy.linalg.svd(matrix, full_matrices=False, check_finite=False)
    V = scipy.linalg.solve_triangular(factor, (s[:rank, None] * Bt[:rank]).T, lower=True, trans="T", check_finite=False)
    return U[:, :rank], V


def weight_error_factors(weight: Float64Array, quantized: Float64Array, metric: Float64Array, rank: int, *, name: str) -> Factors:
    """The best L of rank k for the error of the weights alone, ``min tr((W − Ŵ − L) M (W − Ŵ − L)ᵀ)``.

    M = E[x xᵀ] is QERA's exact solution, its diagonal QERA-approx, squared scales of channels L2QER's, and I LQER and LoRC.

    Parameters
    ----------
    weight, quantized : (m, n), W and Ŵ
    metric : (n, n), or (n,) for a diagonal one, M
    rank : k
    name : for messages

    References
    ----------
    QERA, arXiv 2410.06040; LQER, arXiv 2402.02446; LoRC of ZeroQuant-V2, arXiv 2303.08302.

    Examples
    --------
    >>> U, V = weight_error_factors(np.diag([2.0, 1.0]), np.zeros((2, 2)), np.ones(2), 1, name="w")
    >>> np.abs(U @ V.T).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    M = np.asarray(metric, dtype=np.float64)
    C = np.diag(np.sqrt(M)) if M.ndim == 1 else _ridged(M, 0.0, name)[0]
    return _leading((weight - quantized) @ C, C, rank)


def rank_of(share: float, rows: int, columns: int, measure: str, name: str) -> int:
    """Rank for a share of the smaller dimension ("dimension"), of the parameters ("parameters"), or given as it is ("count").

    Raises
    ------
    UsageError
        If it is above the smaller dimension, or rounds to 0.
    """
    most = min(rows, columns)
    wanted = {"dimension": share * most, "parameters": share * rows * columns / (rows + columns), "count": share}[measure]
    rank = round(wanted)
    if not 1 <= rank <= most:
        raise UsageError(
            f"{name}: rank {share:g} ({measure}) is {rank} for a weight {(rows, columns)}, expected 1 to {most}, its smaller dimension; "
            f"give a share from {0.5 / most:.3g} to 1, or rank_measure='count' and a whole number"
        )
    return rank
