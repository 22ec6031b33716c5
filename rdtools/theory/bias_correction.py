"""A bias per row that takes the mean of the output error away: what it can save, and what it costs.

In place of ``W x`` runs ``Ŵ x + b``. With E = W − Ŵ the error is ``E x − b``, and ``b = E μ``, μ = E[x], is best: it leaves ``E (x − μ)``,
whose moment is the covariance ``C = H − μ μᵀ``. A bias of β bits per row costs β/n bits per weight, 16/n as it is stored.
"""

from __future__ import annotations

import math

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.linalg import check_moment
from rdtools.widths import check_spectrum_width


def centred_moment(moment: Float64Array, mean: Float64Array) -> Float64Array:
    """``C = H − μ μᵀ``, the moment that a layer with the best bias has in place of H.

    Parameters
    ----------
    moment : (n, n), H = E[x xᵀ]
    mean : (n,), μ = E[x] over the same tokens

    Raises
    ------
    TheoryError
        If the mean is not of these inputs: another length, not finite, or ``μ_i² > H_ii`` by more than rounding.
    NotSymmetric, NotFiniteInput, ShapeMismatch

    References
    ----------
    Derived for this project.

    Examples
    --------
    >>> centred_moment(np.array([[5.0, 2.0], [2.0, 2.0]]), np.array([2.0, 1.0])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    H, mu = check_moment(moment, name="bias correction: moment"), np.asarray(mean, dtype=np.float64)
    if mu.shape != (len(H),) or not np.isfinite(mu).all() or (mu**2 > np.diag(H) * (1 + 1e-9)).any():
        raise TheoryError(
            f"bias correction: mean of shape {mu.shape} beside a moment {H.shape}; expected E[x] over the same tokens, whose squares are "
            "at most the diagonal"
        )
    return np.asarray(H - np.outer(mu, mu))


def best_bias(error: Float64Array, mean: Float64Array) -> Float64Array:
    """``b = E μ``, (m,), the bias of least error; it lowers D by ``‖E μ‖²/(m n)``, E = W − Ŵ of (m, n).

    References
    ----------
    Derived for this project; minimum of ``E‖E x − b‖²`` over b.

    Examples
    --------
    >>> best_bias(np.array([[1.0, -1.0]]), np.array([3.0, 1.0])).tolist()
    [2.0]
    """
    return np.asarray(error @ mean)


def explained_share(moment: Float64Array, mean: Float64Array) -> float:
    """``s = μᵀ H⁺ μ`` in [0, 1]: 1 − s is E of the squared residual of 1 regressed on x, and ``|C|/|H| = 1 − s``.

    From the eigenvectors of H whose eigenvalues are above n eps of the largest, μ being in their span.

    References
    ----------
    Matrix determinant lemma.

    Examples
    --------
    With det H = 6 and det C = 1:

    >>> round(explained_share(np.array([[5.0, 2.0], [2.0, 2.0]]), np.array([2.0, 1.0])), 12)
    0.833333333333
    """
    centred_moment(moment, mean)
    check_spectrum_width(len(moment))
    values, vectors = np.linalg.eigh(moment)
    kept = values > len(values) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    parts = (vectors[:, kept].T @ mean) ** 2 / values[kept]
    return min(1.0, float(np.sum(np.sort(parts))))


def rounding_saving_bits(moment: Float64Array, mean: Float64Array) -> float:
    """``½ log2(tr H/tr C)``, bits per weight that the bias saves rounding to nearest at high rate; infinite for an input that is constant.

    The error of rounding to nearest is Δ²/12 in every direction, so that the whole energy of the mean counts, in every weight.

    References
    ----------
    Derived for this project; D = Δ²/12 · tr H/n.

    Examples
    --------
    >>> rounding_saving_bits(np.diag([13.0, 3.0]), np.array([3.0, np.sqrt(3.0)]))
    1.0
    """
    centred_trace = float(np.trace(centred_moment(moment, mean)))
    return 0.5 * math.log2(float(np.trace(moment)) / centred_trace) if centred_trace > 0 else math.inf


def feedback_saving_bits(diagonal: Float64Array, centred_diagonal: Float64Array) -> float:
    """``½ log2(Σ ℓ_i²/Σ ℓ̃_i²)``, bits per weight that the bias saves GPTQ with one step at high rate.

    Parameters
    ----------
    diagonal, centred_diagonal : (n,) diagonals ℓ and ℓ̃ of the Cholesky factors of H and of C, in one order

    References
    ----------
    Derived for this project; D = Δ²/12 · mean ℓ_i², WaterSIC, arXiv 2603.04956 v1, section 3.

    Examples
    --------
    >>> feedback_saving_bits(np.array([4.0, 0.0]), np.array([1.0, 0.0]))
    2.0
    """
    return 0.5 * math.log2(float(np.sum(np.square(diagonal))) / float(np.sum(np.square(centred_diagonal))))


def limit_saving_bits(share: float, columns: int) -> float:
    """``−log2(1 − s)/(2 n)``, bits per weight that the bias saves at high rate in R(D), and to WaterSIC, which is at a fixed gap from it.

    R(D) at high rate is ``½ log2(σ² |H|^{1/n}/D)``. The bias is worth its β bits per row only where ``1 − s < 4^−β``; for β = 16 that is
    below 2.4e-10. In words: a quantizer that feeds errors back makes the error of one direction small at the price of that direction's
    bits, ½ log2 of a ratio of variances per row, and a stored number costs more than these.

    Parameters
    ----------
    share : s of `explained_share`
    columns : n

    Raises
    ------
    TheoryError

    References
    ----------
    Derived for this project.

    Examples
    --------
    >>> limit_saving_bits(0.75, 4)
    0.25
    """
    if not (0 <= share <= 1 and columns >= 1):
        raise TheoryError(f"bias correction: share {share} of {columns} columns; expected 0 to 1, and at least 1")
    return math.inf if share == 1 else -math.log2(1 - share) / (2 * columns)


def saving_bound_bits(top_variance: float, water_level: float, columns: int) -> float:
    """``log2⁺(v_1/τ)/(2 n)``: what the bias can save R(D) at most at one water level τ, v_1 = σ² λ_1 the largest component of H.

    H and C differ by rank one, so that their eigenvalues interlace, ``λ_{i+1} ≤ λ̃_i ≤ λ_i``, and all that can be saved is the largest one's
    rate, ½ log2(v_1/τ) bits per row.

    Raises
    ------
    TheoryError

    References
    ----------
    Derived for this project; interlacing, Horn and Johnson, Matrix Analysis, Theorem 4.3.9.

    Examples
    --------
    >>> saving_bound_bits(16.0, 1.0, 2)
    1.0
    """
    if not (top_variance >= 0 and water_level > 0 and columns >= 1):
        raise TheoryError(
            f"bias correction: v {top_variance}, τ {water_level}, {columns} columns; expected at least 0, above 0, at least 1"
        )
    return max(0.0, math.log2(top_variance / water_level)) / (2 * columns) if top_variance > 0 else 0.0
