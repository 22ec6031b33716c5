"""The best low-rank correction beside a quantized weight, where activations are quantized too: reduced-rank regression, in closed form.

With Ŵ given, or free, the best L of rank k in the loss of `rdtools.theory.activation_moments` is known; LRC alternates it with the
weight step of `rdtools.theory.correction_target`. ``Q(x) = x`` is the correction of a weight error alone: QERA with S_x, its diagonal form
with the diagonal of S_x, LoRC with the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.integrate
import scipy.linalg
from numpy.typing import ArrayLike

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.linalg import check_weight, cholesky
from rdtools.records import InputMoments
from rdtools.theory.activation_moments import regression, same_shape


@dataclass(frozen=True, eq=False)
class LowRankCorrection:
    """``L = U Vᵀ`` and what is left with it, per weight.

    Attributes
    ----------
    left : (m, k) float64, U, orthonormal columns
    right : (n, k) float64, V
    floor : what no correction of any rank removes
    singular_values : (min(m, n),) float64, descending; the squares, over mn, are what each further rank removes
    damping : relative to the mean diagonal; where it is not 0, floor and tail contain its penalty
    """

    left: Float64Array
    right: Float64Array
    floor: float
    singular_values: Float64Array
    damping: float = 0.0

    @property
    def matrix(self) -> Float64Array:
        """(m, n) float64, L."""
        return np.asarray(self.left @ self.right.T)

    @property
    def tail(self) -> float:
        """Distortion that a correction of larger rank would remove: ``Σ_{i>k} s_i²/(mn)``."""
        return float(np.sum(self.singular_values[self.left.shape[1] :] ** 2)) / (len(self.left) * len(self.right))

    @property
    def distortion(self) -> float:
        """The minimum: floor + tail."""
        return self.floor + self.tail


def _rank(rank: int, W: Float64Array) -> int:
    if not 0 <= rank <= min(W.shape):
        raise TheoryError(f"low rank: rank {rank} for a weight of shape {W.shape}, expected 0 to {min(W.shape)}")
    return int(rank)


def low_rank_correction(
    weight: ArrayLike,  # (m, n)
    quantized_weight: ArrayLike,  # (m, n)
    moments: InputMoments,
    rank: int,
    *,
    damping: float = 0.0,
) -> LowRankCorrection:
    """The best L of rank k beside a given Ŵ: ``U`` the k leading eigenvectors of ``R S_x Rᵀ``, ``V = Rᵀ U``.

    ``R = W − Ŵ S_xyᵀ S_x⁻¹`` is the best L of any rank, and the minimum is

        [tr(Ŵ (S_y − S_xyᵀ S_x⁻¹ S_xy) Ŵᵀ) + Σ_{i>k} eig_i(R S_x Rᵀ)]/(mn) = floor + tail.

    Taken from the singular values of ``R C``, ``S_x = C Cᵀ``, because an eigenvalue of the square has half of the digits. With damping δ
    (absolute), S_x + δ I takes the place of S_x, and floor + tail is the minimum of ``D + δ‖W − L‖²/(mn)``.

    Parameters
    ----------
    weight, quantized_weight : (m, n), W and Ŵ
    moments : of x and Q(x); S_x nonsingular with the damping asked for. A correction that acts on Q(x), as QLLM's, is this one for
        `rdtools.theory.correction_target` with L = 0 and ``InputMoments.plain(S_y)``.
    rank : k, 0 to min(m, n)
    damping : added to S_x, relative to its mean diagonal

    Raises
    ------
    TheoryError
        For a rank out of range.
    NotPositiveSemidefinite
        If S_x is singular with this damping; the message names one that works.
    ShapeMismatch, UnsupportedDtype, NotFiniteInput

    References
    ----------
    LRC, arXiv 2412.07902, the low-rank step; QERA, arXiv 2410.06040, exact solution, where Q(x) = x. Derived for this project.

    Examples
    --------
    White inputs, not quantized: the singular values of the weight error are 2 and 1, and rank 1 removes the first.

    >>> correction = low_rank_correction(np.diag([2.0, 1.0]), np.zeros((2, 2)), InputMoments.plain(np.eye(2)), 1)
    >>> np.abs(correction.matrix).tolist(), correction.floor, correction.tail
    ([[2.0, 0.0], [0.0, 0.0]], 0.0, 0.25)
    """
    W, What = same_shape(weight, moments, quantized_weight=quantized_weight)
    k = _rank(rank, W)
    C, G, residual = regression(moments.reference, moments.actual, moments.cross, damping, "moment of x")
    # R C = W C − Ŵ S_xyᵀ C⁻ᵀ, and S_xyᵀ C⁻ᵀ = C − Gᵀ
    U, s, Bt = scipy.linalg.svd((W - What) @ C + What @ G.T, full_matrices=False, check_finite=False)
    V = scipy.linalg.solve_triangular(C, (s[:k, None] * Bt[:k]).T, lower=True, trans="T", check_finite=False)
    floor = max(0.0, float(np.vdot(What @ residual, What))) / W.size
    return LowRankCorrection(U[:, :k], V, floor, s, damping)


def relaxed_correction(weight: ArrayLike, moments: InputMoments, rank: int, *, damping: float = 0.0) -> LowRankCorrection:
    """The best L of rank k if Ŵ could be any real matrix: ``U`` the k leading eigenvectors of ``W S Wᵀ``, ``V = Wᵀ U``.

    S as for `unpredictable_distortion` of `rdtools.theory.correction_target`; the minimum is ``Σ_{i>k} eig_i(W S Wᵀ)/(mn)`` and bounds from
    below what any Ŵ attains with rank k. Where S is white it is the truncated singular value decomposition of W, and leaves its
    `tail_energy`. Where Q(x) = x nothing is left at any rank. With damping δ (absolute), the minimum of ``D + δ‖Ŵ‖²/(mn)``.

    Parameters
    ----------
    weight : (m, n), W
    moments : of x and Q(x); S_y nonsingular with the damping asked for
    rank : k, 0 to min(m, n)
    damping : added to S_y, relative to its mean diagonal

    Returns
    -------
    LowRankCorrection
        With a floor of 0.

    Raises
    ------
    TheoryError, NotPositiveSemidefinite, ShapeMismatch, UnsupportedDtype, NotFiniteInput
        As `low_rank_correction`, for S_y.

    References
    ----------
    LRC, arXiv 2412.07902, the initialisation; derived for this project.

    Examples
    --------
    Half of a white x unexplained: rank 1 leaves half of the second singular value's 1/4.

    >>> noisy = InputMoments.quantized(np.eye(2), 2 * np.eye(2), np.eye(2))
    >>> round(relaxed_correction(np.diag([2.0, 1.0]), noisy, 1).tail, 12)
    0.125
    """
    (W,) = same_shape(weight, moments)
    k = _rank(rank, W)
    S = regression(moments.actual, moments.reference, moments.cross.T, damping, "moment of Q(x)")[2]
    # S may be singular, down to 0 where Q(x) = x, so that it has no Cholesky factor to spare the square
    values, U = scipy.linalg.eigh(W @ (0.5 * (S + S.T)) @ W.T, check_finite=False)
    U = U[:, ::-1][:, :k]
    return LowRankCorrection(U, W.T @ U, 0.0, np.sqrt(np.maximum(values[::-1][: min(W.shape)], 0.0)), damping)


def reduced_rank_bound(weight: ArrayLike, moments: InputMoments, rank: int) -> float:
    """``Σ_{i>k} eig_i(W S Wᵀ)/(mn)``: least distortion of ``Ŵ x̂ + L x`` over all real Ŵ and all L of rank k, S as in `relaxed_correction`.

    For any number of actual inputs x̂, as behind a map that merges channels. Channels of x̂ that are always zero are left out.

    Parameters
    ----------
    weight : (m, n), W
    moments : of x and x̂; E[x̂ x̂ᵀ] nonsingular on the channels that are not always zero
    rank : k, 0 to min(m, n)

    Raises
    ------
    TheoryError
        For a rank out of range.
    NotPositiveSemidefinite
        If the moment of x̂ is singular.
    ShapeMismatch, UnsupportedDtype, NotFiniteInput

    Examples
    --------
    >>> noisy = InputMoments.quantized(np.eye(2), 2 * np.eye(2), np.eye(2))
    >>> [round(reduced_rank_bound(np.diag([2.0, 1.0]), noisy, k), 12) for k in (0, 1, 2)]
    [0.625, 0.125, 0.0]
    """
    W = check_weight(weight, columns=moments.inputs)
    k = _rank(rank, W)
    heard = np.diagonal(moments.actual) > 0
    C = cholesky(moments.actual[np.ix_(heard, heard)], damping=0.0, name=f"{moments.name}: moment of Q(x)").lower
    explained = scipy.linalg.solve_triangular(C, moments.cross[:, heard].T, lower=True, check_finite=False) @ W.T
    values = scipy.linalg.eigvalsh(W @ moments.reference @ W.T - explained.T @ explained, check_finite=False)
    return float(np.sum(np.maximum(values[: len(values) - k], 0.0))) / W.size


def tail_energy(singular_values: ArrayLike, rank: int) -> float:
    """``Σ_{i>k} s_i² / Σ s_i²``: the share of a matrix that its best approximation of rank k leaves; 0 for a zero matrix.

    Predicts what a correction leaves of the activation error where S is nearly white, as after a Hadamard rotation. For a large square
    matrix with iid entries it is 0.686 at a rank of 10 %, and 0.303 at 30 %.

    Parameters
    ----------
    singular_values : (r,), ≥ 0, in any order
    rank : k ≥ 0; 0 from r on

    Raises
    ------
    TheoryError
        For a negative rank, or singular values that are negative or not finite.

    References
    ----------
    Eckart and Young, Psychometrika 1 (1936); as a prediction for LRC, derived for this project.

    Examples
    --------
    >>> tail_energy([2.0, 1.0], 1)
    0.2
    """
    s = np.sort(np.asarray(singular_values, dtype=np.float64).ravel())
    if rank < 0 or not np.isfinite(s).all() or (s.size and s[0] < 0):
        raise TheoryError(f"tail energy: rank {rank} with {s.size} singular values, expected a rank of at least 0, and finite values ≥ 0")
    if s.size == 0 or s[-1] == 0:
        return 0.0
    energies = (s / s[-1]) ** 2
    return float(energies[: max(s.size - rank, 0)].sum() / energies.sum())


def white_tail_energy(share: float, aspect: float) -> float:
    """The share of its energy that a matrix of independent entries keeps beyond its best approximation of rank ``share · min(m, n)``.

    Squared singular values follow Marchenko and Pastur's distribution of ratio c = min(m, n)/max(m, n), with the density
    ``√((λ₊ − t)(t − λ₋))/(2π c t)``, ``λ_± = (1 ± √c)²`` and mean 1. For c → 0 they are equal, and what a rank takes away is its share r/d;
    for a square matrix a tenth of the rank takes 31 %. An orthogonal rotation leaves this as it is.

    Parameters
    ----------
    share : of the rank, 0 to 1
    aspect : n/m or m/n, above 0

    Raises
    ------
    TheoryError

    References
    ----------
    Marchenko and Pastur, 1967; as the part of a white residual that a low-rank term takes, derived for this project.

    Examples
    --------
    >>> round(white_tail_energy(0.1, 1.0), 3)
    0.686
    """
    if not 0 <= share <= 1 or not 0 < aspect < np.inf:
        raise TheoryError(f"white tail: a share {share} of the rank at an aspect {aspect}, expected 0 to 1, and a number above 0")
    c = min(aspect, 1 / aspect)
    low, high = (1 - np.sqrt(c)) ** 2, (1 + np.sqrt(c)) ** 2
    # t = low + (high − low) sin²(φ/2) makes the integrand smooth at both ends
    phi = np.linspace(0.0, np.pi, 20001)
    t = low + (high - low) * np.sin(phi / 2) ** 2
    energy = ((high - low) * np.sin(phi) / 2) ** 2 / (2 * np.pi * c)
    mass = np.divide(energy, t, out=np.full_like(t, energy[1] / t[1]), where=t > 0)
    cumulated = [scipy.integrate.cumulative_simpson(part, x=phi, initial=0.0) for part in (mass, energy)]
    angle = np.interp(1 - share, cumulated[0] / cumulated[0][-1], phi)
    return float(np.interp(angle, phi, cumulated[1] / cumulated[1][-1]))


def correction_bits(rows: int, columns: int, rank: int, *, factor_bits: float = 16.0) -> float:
    """``b_f k (m + n)/(mn)``: bits per weight that the factors U and V add.

    Rank 10 % of a square layer in 16 bits is 3.2 bits per weight; 10 % of its parameters is half of that rank.

    Parameters
    ----------
    rows, columns : m and n
    rank : k
    factor_bits : b_f, bits per entry of U and V

    Raises
    ------
    TheoryError
        For an empty layer, a negative rank or negative bits.

    Examples
    --------
    >>> round(correction_bits(100, 100, 10), 12)
    3.2
    """
    if rows < 1 or columns < 1 or rank < 0 or not factor_bits >= 0:
        raise TheoryError(
            f"correction bits: layer ({rows}, {columns}), rank {rank}, {factor_bits} bits; expected at least 1, 1, and neither negative"
        )
    return factor_bits * rank * (rows + columns) / (rows * columns)
