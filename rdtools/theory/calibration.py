"""Cost of too few calibration tokens, in closed form, and the effective number of correlated ones.

Normal tokens of mean zero throughout; Σ is their second moment and Σ̃ the mean of x xᵀ over N of them.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import digamma

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError

#: From here on the expansion of ψ(x) − ln x to x⁻⁸ errs by less than eps of it, where the difference would cancel.
_LARGE = 32.0


def calibration_penalty_bits(ratio: float) -> float:
    """``½ log2(1/(1−y)) + (−1 + ((y−1)/y) ln(1−y)) / (2 ln 2)``: bits that WaterSIC loses to too few calibration tokens.

    At high rate, with a Hessian from N = n/y independent normal tokens: the limit, for n and N large, of
    ``½ log2(AM/GM of the eigenvalues of Σ̃⁻¹ Σ)`` with Σ̃ the sample moment. The arithmetic mean is 1/(1−y), the geometric mean comes from
    the mean log-determinant of a Wishart matrix. 0 at y = 0, ¼ y log2(e) to first order, infinite at y = 1. Tokens of one text are
    correlated, so that their effective number is smaller than their count.

    Parameters
    ----------
    ratio : y = n/N, columns over effective tokens, in [0, 1]

    Raises
    ------
    TheoryError
        For y outside [0, 1].

    References
    ----------
    Derived for this project (mismatched successive cancellation, Marchenko–Pastur law).

    Examples
    --------
    >>> [round(calibration_penalty_bits(y), 4) for y in (0.0, 0.05, 0.25, 0.5)]
    [0.0, 0.0187, 0.1087, 0.2787]
    """
    y = float(ratio)
    if not 0 <= y <= 1:
        raise TheoryError(f"calibration penalty: ratio {ratio} of columns to tokens, expected 0 to 1; above 1 the Hessian is singular")
    if y == 1:
        return math.inf
    if y < 1e-4:  # series; the closed form cancels: −1 + ((y−1)/y) ln(1−y) = −y/2 − y²/6 − …
        return (y / 2 + y * y / 4 - y / 4 - y * y / 12) / math.log(2)
    log = math.log1p(-y)
    return (-0.5 * log + 0.5 * (-1.0 + (y - 1.0) / y * log)) / math.log(2)


def logdet_bias_bits(columns: int, tokens: float) -> float:
    """``E ½ log2 |Σ̃|^{1/n} − ½ log2 |Σ|^{1/n}``: bits per weight by which a sample moment makes the high-rate limit look lower, ≤ 0.

    For N independent normal tokens, exactly and for every Σ,

        ``E ln|Σ̃| − ln|Σ| = Σ_{i=1}^n ψ((N − i + 1)/2) − n ln(N/2)``,

    ψ the digamma function. With y = n/N held as n grows it tends to ``(−1 + ((y−1)/y) ln(1−y)) / (2 ln 2)``, the second term of
    `calibration_penalty_bits`; −(n + 1) log2(e)/(4N) to first order, finite at N = n, −∞ below, where Σ̃ is singular.

    Parameters
    ----------
    columns : n ≥ 0; 0 for none
    tokens : N > 0, a whole number or an effective one

    Raises
    ------
    TheoryError
        For negative columns, or tokens that are not positive.

    References
    ----------
    Wishart determinant: Anderson, An Introduction to Multivariate Statistical Analysis, 3rd ed., section 7.5.

    Examples
    --------
    One column and one token: E ln x² = −γ − ln 2 for standard normal x, in bits and halved.

    >>> round(logdet_bias_bits(1, 1), 6) == round((-np.euler_gamma - math.log(2)) / (2 * math.log(2)), 6)
    True
    """
    if not (columns >= 0 and tokens > 0):
        raise TheoryError(f"determinant bias: {columns} columns and {tokens} tokens, expected a count and a positive number")
    n, N = int(columns), float(tokens)
    if n == 0:
        return 0.0
    if n - 1 >= N:
        return -math.inf
    i = np.arange(n)
    x = 0.5 * (N - i)
    # ψ(x) − ln x + ln(1 − i/N): each is small where the tokens are many
    inverse = 1 / x
    series = -inverse * (0.5 + inverse * (1 / 12 - inverse**2 * (1 / 120 - inverse**2 * (1 / 252 - inverse**2 / 240))))
    terms = np.where(x > _LARGE, series, digamma(x) - np.log(x)) + np.log1p(-i / N)
    return math.fsum(terms) / (2 * n * math.log(2))


def heldout_ratio(weights: Float64Array, tokens: float, *, block: int = 1, adapted: bool = False) -> float:
    """``E D′/E D``: distortion under the true Σ over that under the sample moment Σ̃ = L̃ L̃ᵀ with which rounding with feedback was done.

    The columns of error E = U B L̃⁻¹, B the diagonal blocks of L̃ and U white with a variance α_i² per column, give ``D ∝ Σ w_i`` in the
    sample, ``w_i = α_i² ‖B_i‖²``. With k_i columns before the block of column i, N independent normal tokens, and every Σ,

        ``E D′/E D = Σ w_i ρ_i / Σ w_i,   ρ_i = N (N − 1)/((N − k_i)(N − k_i − 1))``,

    by the triangular (Bartlett) factor of a Wishart matrix, whose rows are independent. Steps that are inverse to the pivots of the sample
    have ``ρ_i = N (N − 1)/((N − k_i − 1)(N − k_i − 2))``, whose mean over all columns, for w_i = 1, is ``N/(N − n − 1)``, as for WaterSIC.
    1 for many tokens, about 1/(1 − n/N) for equal weights and n, N large, infinite from where the mean does not exist. Rounding without
    feedback has 1. Correlated tokens make it larger.

    Parameters
    ----------
    weights : (n,) w_i ≥ 0 in the order of the factor, whose last column is decided first
    tokens : N > 0
    block : columns that are rounded together; blocks are counted from the first column
    adapted : steps are inverse to the pivots; then `block` is 1

    Raises
    ------
    TheoryError
        For negative weights, or tokens or a block that are not positive.

    References
    ----------
    Derived for this project; Bartlett decomposition: Anderson, An Introduction to Multivariate Statistical Analysis, 3rd ed., section 7.2.

    Examples
    --------
    >>> round(heldout_ratio(np.ones(9), 100, adapted=True), 9) == round(100 / 90, 9), heldout_ratio(np.ones(1), 7)
    (True, 1.0)
    """
    w, N = np.asarray(weights, dtype=np.float64).ravel(), float(tokens)
    if not ((w >= 0).all() and N > 0 and block >= 1):
        raise TheoryError(
            f"held-out ratio: weights from {w.min(initial=0):.3g}, {tokens} tokens, blocks of {block}, expected positive ones"
        )
    if w.sum() == 0:
        return 1.0
    before = np.arange(len(w)) // block * block
    last = N - before - (2 if adapted else 1)
    if last[w > 0].min() <= 0:
        return math.inf
    ratios = np.where(w > 0, N / (last + 1) * ((N - 1) / np.where(w > 0, last, 1.0)), 0.0)
    return float(w @ ratios / w.sum())


def effective_tokens(tokens: int, autocorrelation: Float64Array) -> float:
    """``N_eff = N / (1 + 2 Σ_k (1 − k/N) r_k²)``: independent tokens whose sample moment is as noisy as that of N correlated ones.

    For a stationary normal sequence with ``E x_t x_{t+k}ᵀ = r_k Σ``. Since ``Cov(x_ti x_tj, x_si x_sj) = r²_{t−s} (Σ_ii Σ_jj + Σ_ij²)``,
    every entry of Σ̃ has exactly the variance of N_eff independent tokens. Hence `calibration_penalty_bits` at n/N_eff, to first order in
    n/N_eff; beyond, eigenvalues know more than r², and it is too large: by 4, 16 and 49 % at n/N_eff = 0.09, 0.23 and 0.45 for
    r_k = 0.8^k. N for white tokens, 1 for N copies of one.

    Parameters
    ----------
    tokens : N ≥ 1
    autocorrelation : (lags,) r_1, r_2, …, in [−1, 1]; later lags count as 0, lags from N on do not count

    Raises
    ------
    TheoryError
        For N that is no positive integer, or a correlation outside [−1, 1].

    References
    ----------
    Derived for this project; Bartlett's formula (J. Royal Stat. Soc. Suppl. 8, 1946) for products.

    Examples
    --------
    >>> effective_tokens(4, np.ones(3)), effective_tokens(4, np.zeros(3))
    (1.0, 4.0)
    """
    r = np.asarray(autocorrelation, dtype=np.float64).ravel()
    if int(tokens) != tokens or tokens < 1:
        raise TheoryError(f"effective tokens: {tokens} tokens, expected a positive integer")
    if not (np.abs(r) <= 1).all():
        raise TheoryError(f"effective tokens: an autocorrelation of {r[~(np.abs(r) <= 1)][0]}, expected −1 to 1; divide by lag 0")
    r = r[: int(tokens) - 1]
    return float(tokens / (1 + 2 * ((1 - np.arange(1, len(r) + 1) / tokens) @ r**2)))


def effective_tokens_from_holdout(mean_eigenvalue: float, columns: int) -> float:
    """``N_eff = (n + 1)/(1 − 1/μ)`` from ``μ = tr(Σ̃⁻¹ Σ')/n`` with Σ' the moment of tokens that Σ̃ has not seen.

    The exact inverse of ``E tr(Σ̃⁻¹ Σ)/n = N/(N − n − 1)``, which holds for N > n + 1 independent normal tokens and every Σ; Σ' need not
    be accurate, only independent of Σ̃ and unbiased. Infinite for μ ≤ 1, where nothing of the sample's noise is visible, n + 1 for
    infinite μ. For correlated tokens it agrees with `effective_tokens` to first order in n/N_eff and serves `calibration_penalty_bits`
    better beyond: within 1 and 7 % where that is 16 and 49 % too large.

    Parameters
    ----------
    mean_eigenvalue : μ > 0
    columns : n ≥ 1

    Raises
    ------
    TheoryError
        For a mean that is not positive or no columns.

    References
    ----------
    Inverse Wishart mean: Anderson, An Introduction to Multivariate Statistical Analysis, 3rd ed., Lemma 7.7.1.

    Examples
    --------
    A hundred tokens for nine columns make the mean 100/90.

    >>> round(effective_tokens_from_holdout(100 / 90, 9), 9)
    100.0
    """
    if not (mean_eigenvalue > 0 and columns >= 1):
        raise TheoryError(
            f"effective tokens: mean eigenvalue {mean_eigenvalue} of {columns} columns, expected positive ones; "
            "pass tr(Σ̃⁻¹ Σ')/n of moments without damping"
        )
    if mean_eigenvalue <= 1:
        return math.inf
    return (columns + 1) / (1 - 1 / mean_eigenvalue)
