"""A low-rank correction beside a quantized weight, where activations are quantized too: reduced-rank regression, in closed form.

A layer y = W x is replaced by ``Ŵ Q(x) + L x`` with L of rank k and high precision. The distortion is a function of three second moments
and nothing else,

    D = E‖W x − Ŵ Q(x) − L x‖²/(mn),    S_x = E[x xᵀ],  S_y = E[Q Qᵀ],  S_xy = E[x Qᵀ],

and with either of Ŵ and L fixed, the best other one is known. LRC alternates the two. ``Q(x) = x`` is the correction of a weight error
alone: QERA with S_x, its diagonal form with the diagonal of S_x, LoRC with the identity.

Sums of moments are arranged around the noise x − Q(x), so that nothing cancels where Q(x) = x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from rdtools.errors import NotPositiveSemidefinite, ShapeMismatch, TheoryError
from rdtools.linalg import ASYMMETRY_LIMIT, as_float64, check_moment, check_weight, cholesky

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ActivationMoments:
    """Second moments of an input and of its quantized version, over the same tokens.

    Attributes
    ----------
    inputs : (n, n) float64, S_x = E[x xᵀ]
    quantized : (n, n) float64, S_y = E[Q(x) Q(x)ᵀ]
    cross : (n, n) float64, S_xy = E[x Q(x)ᵀ], not symmetric
    """

    inputs: Float64Array
    quantized: Float64Array
    cross: Float64Array

    @classmethod
    def of(cls, inputs: ArrayLike, quantized: ArrayLike, cross: ArrayLike) -> ActivationMoments:
        """Moments that were checked.

        Raises
        ------
        ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite
            The last also for a cross moment with an entry beyond the root of the product of both powers.
        """
        x, y = check_moment(inputs, name="moment of x"), check_moment(quantized, name="moment of Q(x)")
        xy = as_float64(cross, name="cross moment")
        if not x.shape == y.shape == xy.shape:
            raise ShapeMismatch(f"activation moments: shapes {x.shape}, {y.shape} and {xy.shape}, expected three of (n, n)")
        if (np.abs(xy) > (1 + ASYMMETRY_LIMIT) * np.sqrt(np.outer(np.diagonal(x), np.diagonal(y)))).any():
            raise NotPositiveSemidefinite(
                "activation moments: a cross moment above the root of the product of both powers, expected at most that; "
                "likely from other tokens, or a sum where a mean over tokens is meant"
            )
        return cls(x, y, xy)

    @classmethod
    def unquantized(cls, moment: ArrayLike) -> ActivationMoments:
        """Moments of ``Q(x) = x``."""
        H = check_moment(moment)
        return cls(H, H, H)


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
        """What a correction of larger rank would remove: ``Σ_{i>k} s_i²/(mn)``."""
        return float(np.sum(self.singular_values[self.left.shape[1] :] ** 2)) / (len(self.left) * len(self.right))

    @property
    def distortion(self) -> float:
        """The minimum: floor + tail."""
        return self.floor + self.tail


def _shape(weight: ArrayLike, moments: ActivationMoments, **others: ArrayLike) -> tuple[Float64Array, ...]:
    n = len(moments.inputs)
    W = check_weight(weight, columns=n)
    if W.size == 0:
        raise ShapeMismatch(f"low rank: weight of shape {W.shape} is empty; expected at least one row and column")
    rest = [check_weight(matrix, columns=n, name=name) for name, matrix in others.items()]
    for name, matrix in zip(others, rest, strict=True):
        if matrix.shape != W.shape:
            raise ShapeMismatch(f"low rank: {name} of shape {matrix.shape} with weight {W.shape}, expected the same")
    return W, *rest


def _rank(rank: int, W: Float64Array) -> int:
    if not 0 <= rank <= min(W.shape):
        raise TheoryError(f"low rank: rank {rank} for a weight of shape {W.shape}, expected 0 to {min(W.shape)}")
    return int(rank)


def _regression(regressor: Float64Array, target: Float64Array, cross: Float64Array, damping: float, name: str) -> tuple[Float64Array, ...]:
    """C, G = C⁻¹(P − cross) and the residual moment of the target, for ``P = regressor + δ I = C Cᵀ`` and cross = E[regressor targetᵀ].

    ``target − crossᵀ P⁻¹ cross = (P − cross − crossᵀ + target) − Gᵀ G``: both terms are small where the target is near the regressor.
    """
    C = cholesky(regressor, damping=damping, name=name).lower
    P = regressor + damping * float(np.mean(np.diagonal(regressor))) * np.eye(len(regressor))
    difference = P - cross
    G = scipy.linalg.solve_triangular(C, difference, lower=True, check_finite=False)
    # difference − crossᵀ + target, summed so that a target equal to the regressor leaves exact zeros
    return C, G, difference + (target - cross.T) - G.T @ G


def corrected_distortion(weight: ArrayLike, quantized_weight: ArrayLike, correction: ArrayLike, moments: ActivationMoments) -> float:
    """``D = [tr((W−L) S_x (W−L)ᵀ) − 2 tr((W−L) S_xy Ŵᵀ) + tr(Ŵ S_y Ŵᵀ)]/(mn)``, the loss of ``Ŵ Q(x) + L x`` for ``W x``.

    Evaluated as ``E‖A x + Ŵ (x − Q)‖²`` with ``A = W − L − Ŵ``. With sample moments it is the sample's mean loss.

    Parameters
    ----------
    weight, quantized_weight, correction : (m, n), W, Ŵ and L; zeros for no correction
    moments : of x and Q(x)

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput

    References
    ----------
    LRC, arXiv 2412.07902, the objective; written in moments for this project.

    Examples
    --------
    Q(x) = x/2 of a unit variable, with Ŵ = W = 1: half of x is lost, and L = ½ brings it back.

    >>> half = ActivationMoments(np.eye(1), np.eye(1) / 4, np.eye(1) / 2)
    >>> one = np.eye(1)
    >>> corrected_distortion(one, one, 0 * one, half), corrected_distortion(one, one, one / 2, half)
    (0.25, 0.0)
    """
    W, What, L = _shape(weight, moments, quantized_weight=quantized_weight, correction=correction)
    A = W - L - What
    lost = moments.inputs - moments.cross  # E[x (x − Q)ᵀ]
    noise = lost - moments.cross.T + moments.quantized
    total = np.vdot(A @ moments.inputs, A) + 2 * np.vdot(A @ lost, What) + np.vdot(What @ noise, What)
    return max(0.0, float(total)) / W.size


def correction_target(weight: ArrayLike, correction: ArrayLike, moments: ActivationMoments, *, damping: float = 0.0) -> Float64Array:
    """``W̃ = (W − L) S_xy S_y⁻¹``: what to quantize under the second moment S_y when L is given.

    ``D = tr((W̃ − Ŵ) S_y (W̃ − Ŵ)ᵀ)/(mn) + c`` for every Ŵ, with c from `unpredictable_distortion`, so that any quantizer for weights
    serves. With damping δ (absolute) this is the identity for ``D + δ‖Ŵ‖²/(mn)`` and S_y + δ I. W − L where Q(x) = x.

    Parameters
    ----------
    weight, correction : (m, n), W and L; zeros for no correction
    moments : of x and Q(x); S_y nonsingular with the damping asked for
    damping : added to S_y, relative to its mean diagonal

    Returns
    -------
    (m, n) float64

    Raises
    ------
    NotPositiveSemidefinite
        If S_y is singular with this damping; the message names one that works.
    ShapeMismatch, UnsupportedDtype, NotFiniteInput

    References
    ----------
    LRC, arXiv 2412.07902, the weight step; derived for this project. The same formula with propagated activations: QEP, arXiv 2504.09629.

    Examples
    --------
    >>> half = ActivationMoments(np.eye(1), np.eye(1) / 4, np.eye(1) / 2)
    >>> correction_target(np.eye(1), np.zeros((1, 1)), half).tolist()
    [[2.0]]
    """
    W, L = _shape(weight, moments, correction=correction)
    C, G, _ = _regression(moments.quantized, moments.inputs, moments.cross.T, damping, "moment of Q(x)")
    # S_xy P⁻¹ = I − Gᵀ C⁻¹
    return np.asarray(W - L - scipy.linalg.solve_triangular(C, G @ (W - L).T, lower=True, trans="T", check_finite=False).T)


def unpredictable_distortion(weight: ArrayLike, correction: ArrayLike, moments: ActivationMoments, *, damping: float = 0.0) -> float:
    """``c = tr((W−L) S (W−L)ᵀ)/(mn)`` with ``S = S_x − S_xy S_y⁻¹ S_xyᵀ``: what of (W−L) x no linear function of Q(x) predicts.

    The least distortion over all real Ŵ. 0 where Q(x) = x; ``tr((W−L) S_x (W−L)ᵀ)/(mn)`` where Q(x) tells nothing of x.

    Parameters
    ----------
    weight, correction, moments, damping : as for `correction_target`

    Raises
    ------
    NotPositiveSemidefinite, ShapeMismatch, UnsupportedDtype, NotFiniteInput
        As `correction_target`.

    References
    ----------
    Derived for this project from LRC, arXiv 2412.07902.

    Examples
    --------
    Signal and noise of power 1 each: Q(x) leaves half of x unexplained.

    >>> noisy = ActivationMoments(np.eye(1), 2 * np.eye(1), np.eye(1))
    >>> round(unpredictable_distortion(np.eye(1), np.zeros((1, 1)), noisy), 12)
    0.5
    """
    W, L = _shape(weight, moments, correction=correction)
    S = _regression(moments.quantized, moments.inputs, moments.cross.T, damping, "moment of Q(x)")[2]
    return max(0.0, float(np.vdot((W - L) @ S, W - L))) / W.size


def low_rank_correction(
    weight: ArrayLike,  # (m, n)
    quantized_weight: ArrayLike,  # (m, n)
    moments: ActivationMoments,
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
        `correction_target` with L = 0 and ``ActivationMoments.unquantized(S_y)``.
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

    >>> found = low_rank_correction(np.diag([2.0, 1.0]), np.zeros((2, 2)), ActivationMoments.unquantized(np.eye(2)), 1)
    >>> np.abs(found.matrix).tolist(), found.floor, found.tail
    ([[2.0, 0.0], [0.0, 0.0]], 0.0, 0.25)
    """
    W, What = _shape(weight, moments, quantized_weight=quantized_weight)
    k = _rank(rank, W)
    C, G, residual = _regression(moments.inputs, moments.quantized, moments.cross, damping, "moment of x")
    # R C = W C − Ŵ S_xyᵀ C⁻ᵀ, and S_xyᵀ C⁻ᵀ = C − Gᵀ
    U, s, Bt = scipy.linalg.svd((W - What) @ C + What @ G.T, full_matrices=False, check_finite=False)
    V = scipy.linalg.solve_triangular(C, (s[:k, None] * Bt[:k]).T, lower=True, trans="T", check_finite=False)
    floor = max(0.0, float(np.vdot(What @ residual, What))) / W.size
    return LowRankCorrection(U[:, :k], V, floor, s, damping)


def relaxed_correction(weight: ArrayLike, moments: ActivationMoments, rank: int, *, damping: float = 0.0) -> LowRankCorrection:
    """The best L of rank k if Ŵ could be any real matrix: ``U`` the k leading eigenvectors of ``W S Wᵀ``, ``V = Wᵀ U``.

    S as for `unpredictable_distortion`; the minimum is ``Σ_{i>k} eig_i(W S Wᵀ)/(mn)``, and bounds from below what any Ŵ attains with rank
    k. Where S is white it is the truncated singular value decomposition of W, and leaves its `tail_energy`. Where Q(x) = x nothing is left
    at any rank. With damping δ (absolute), the minimum of ``D + δ‖Ŵ‖²/(mn)``.

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

    >>> noisy = ActivationMoments(np.eye(2), 2 * np.eye(2), np.eye(2))
    >>> round(relaxed_correction(np.diag([2.0, 1.0]), noisy, 1).tail, 12)
    0.125
    """
    (W,) = _shape(weight, moments)
    k = _rank(rank, W)
    S = _regression(moments.quantized, moments.inputs, moments.cross.T, damping, "moment of Q(x)")[2]
    # S may be singular, down to 0 where Q(x) = x, so that it has no Cholesky factor to spare the square
    values, U = scipy.linalg.eigh(W @ (0.5 * (S + S.T)) @ W.T, check_finite=False)
    U = U[:, ::-1][:, :k]
    return LowRankCorrection(U, W.T @ U, 0.0, np.sqrt(np.maximum(values[::-1][: min(W.shape)], 0.0)), damping)


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
