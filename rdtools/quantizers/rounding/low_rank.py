"""The two steps of low-rank correction, from moments of the error of quantized activations.

``y = Ŵ x̂ + L x`` takes the place of ``W x``, with x̂ = x − e in the coordinates of the weights. With ``P = E[x xᵀ]``, ``F = E[x eᵀ]`` and
``N = E[e eᵀ]`` the loss is ``E‖A x + Ŵ e‖² = tr(A P Aᵀ) + 2 tr(A F Ŵᵀ) + tr(Ŵ N Ŵᵀ)``, ``A = W − L − Ŵ``: all that is small is summed, and
nothing cancels where activations are fine. A ridge ε on P is the same as ``ε ‖W − L‖²`` added to the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array, symmetrize
from rdtools.errors import UsageError
from rdtools.linalg import cholesky
from rdtools.records import ActivationMoments
from rdtools.triangular import lower_solved, solved

#: U (m, k) and V (n, k) of ``L = U Vᵀ``.
Factors = tuple[Float64Array, Float64Array]
#: Makes a new matrix.
Maker = Callable[[], Float64Array]


def _ridged(make: Maker, ridge: float, name: str) -> tuple[Float64Array, float]:
    """Lower factor of a moment plus a ridge relative to its mean diagonal, and the absolute ridge; a higher one where that is singular."""
    means = []

    def noted() -> Float64Array:
        moment = make()
        means.append(float(np.mean(np.diagonal(moment))))
        return moment

    factored = cholesky(noted, damping=ridge if ridge > 0 else None, name=name)
    return factored.lower, factored.damping * means[-1]


@dataclass(frozen=True, eq=False)
class ErrorMoments:
    """P, F and N in the coordinates of r quantized columns, each made where it is needed, so that few are there at once.

    Attributes
    ----------
    input : makes P, (r, r)
    cross : makes F, (r, r), column-major
    error : (r, r), N
    ridge : ε, relative to the mean diagonals of P and of E[x̂ x̂ᵀ]
    name : for messages

    Raises
    ------
    UsageError
        If the map of the moments changes the number of channels.
    """

    input: Maker
    cross: Maker
    error: Float64Array
    ridge: float
    name: str = "input"

    @classmethod
    def of(cls, activations: ActivationMoments, ridge: float) -> ErrorMoments:
        """The moments behind a map, of what it takes of x: active channels, scaled and rotated."""
        transform, P, F = activations.input_map, activations.reference, activations.cross_error
        if transform.links:
            return cls(lambda: transform.moment(P), lambda: transform.apply(F.T).T, activations.error, ridge, activations.name)
        return cls(P.copy, lambda: F.copy(order="F"), activations.error, ridge, activations.name)

    @classmethod
    def plain(cls, moment: Maker, columns: int, ridge: float, name: str) -> ErrorMoments:
        """Without quantized activations."""
        return cls(moment, lambda: np.zeros((columns, columns), order="F"), np.broadcast_to(0.0, (columns, columns)), ridge, name)

    @property
    def actual(self) -> Float64Array:
        """(r, r), E[x̂ x̂ᵀ], a new matrix."""
        total, F = self.input(), self.cross()
        total -= F
        total -= F.T
        total += self.error
        return np.asarray(symmetrize(total))

    def unexplained(self) -> Float64Array:
        """(r, r), ``S = P − E[x x̂ᵀ] (E[x̂ x̂ᵀ] + ε I)⁻¹ E[x̂ xᵀ]``, what of x its quantized version does not tell."""
        C, added = _ridged(lambda: self.actual, self.ridge, f"{self.name}: moment of Q(x)")
        difference = self.cross()
        np.subtract(self.error, difference, out=difference)
        diagonal = np.diag_indices(len(difference))
        difference[diagonal] += added
        G = lower_solved(C, difference)
        del C, difference
        S = G.T @ G
        del G
        explained = S[diagonal]
        np.subtract(self.error, S, out=S)
        S[diagonal] = self.error[diagonal] + added - explained
        return np.asarray(symmetrize(S))

    def loss(self, weight: Float64Array, quantized: Float64Array, factors: Factors) -> float:
        """``E‖W x − Ŵ x̂ − U Vᵀ x‖²`` in all."""
        A = weight - quantized - factors[0] @ factors[1].T
        crossed = 2 * A @ self.cross() + quantized @ self.error
        return float(np.vdot(A @ self.input(), A) + np.vdot(crossed, quantized))

    def start(self, weight: Float64Array, rank: int) -> Factors:
        """The best L if Ŵ could be any real matrix: U the leading eigenvectors of ``W S Wᵀ``, ``V = Wᵀ U``."""
        m, form = len(weight), weight @ self.unexplained()
        form = (weight @ form.T).T  # column-major, as LAPACK overwrites it
        _, U = scipy.linalg.eigh(form, subset_by_index=(m - rank, m - 1), overwrite_a=True, check_finite=False)
        return U, weight.T @ U

    def correction(self, weight: Float64Array, quantized: Float64Array, rank: int) -> Factors:
        """The best L beside Ŵ: the leading part of ``R C``, ``R = W − Ŵ E[x̂ xᵀ] (P + ε I)⁻¹``, ``P + ε I = C Cᵀ``.

        C is there before and after the singular value decomposition, which takes most memory.
        """
        of_input = self.input, self.ridge, f"{self.name}: moment of x"
        C, added = _ridged(*of_input)
        lost = self.cross()
        lost[np.diag_indices(len(lost))] += added
        # E[x̂ xᵀ] = P + ε I − (ε I + Fᵀ)
        shared = lower_solved(C, lost).T
        matrix = (weight - quantized) @ C
        del C, lost
        matrix += quantized @ shared
        del shared, quantized
        U, B = _leading(matrix, rank)
        return U, lower_solved(_ridged(*of_input)[0], B, transposed=True)

    def retargeted(self, weight: Float64Array, factor: Float64Array) -> Float64Array:
        """The target ``K E[x x̂ᵀ] E[x̂ x̂ᵀ]⁻¹`` of the weight step for ``K = W − L``; both moments damped where the factor is."""
        difference = self.cross().T
        difference -= self.error
        target = weight @ difference
        del difference
        target = solved(target, factor, overwrite=True)
        target += weight
        return np.asarray(target)


def _leading(matrix: Float64Array, rank: int) -> tuple[Float64Array, Float64Array]:
    """U (m, k) and B s (n, k) of the k leading singular triples of a matrix U s Bᵀ that the caller has no other use for.

    LAPACK takes six times the memory of a square one: for it, U, Bᵀ, and three for the work.
    """
    columns = np.asfortranarray(matrix)
    del matrix
    U, s, Bt = scipy.linalg.svd(columns, full_matrices=False, overwrite_a=True, check_finite=False)
    return U[:, :rank].copy(), np.ascontiguousarray(s[:rank, None] * Bt[:rank]).T


def weight_error_factors(
    weight: Float64Array, quantized: Float64Array | float, metric: Float64Array | Maker, rank: int, *, name: str
) -> Factors:
    """The best L of rank k for the error of the weights alone, ``min tr((W − Ŵ − L) M (W − Ŵ − L)ᵀ)``.

    M = E[x xᵀ] is QERA's exact solution, its diagonal QERA-approx, squared scales of channels L2QER's, and I LQER and LoRC.

    Parameters
    ----------
    weight, quantized : (m, n), W and Ŵ
    metric : (n, n), or what makes it anew, or (n,) for a diagonal one, M; where that is 0, so is V
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
    error = weight - quantized
    del quantized
    if not callable(metric) and metric.ndim == 1:
        roots = np.sqrt(metric)
        error *= roots
        U, B = _leading(error, rank)
        return U, np.divide(B, roots[:, None], out=np.zeros_like(B), where=roots[:, None] > 0)
    error = error @ cholesky(metric, name=name).lower
    U, B = _leading(error, rank)
    return U, lower_solved(cholesky(metric, name=name).lower, B, transposed=True)


def rank_of(share: float, rows: int, columns: int, measure: str, name: str) -> int:
    """Rank for a share of the smaller dimension ("dimension"), of the parameters ("parameters"), or given as it is ("count").

    Raises
    ------
    UsageError
        If it is above the smaller dimension, or rounds to 0.
    """
    most = min(rows, columns)
    real_rank = {"dimension": share * most, "parameters": share * rows * columns / (rows + columns), "count": share}[measure]
    rank = round(real_rank)
    if not 1 <= rank <= most:
        raise UsageError(
            f"{name}: rank {share:g} ({measure}) is {rank} for a weight {(rows, columns)}, expected 1 to {most}, its smaller dimension; "
            f"give a share from {0.5 / most:.3g} to 1, or rank_measure='count' and a whole number"
        )
    return rank
