"""What theory promises for scalar quantizers with and without successive cancellation.

High-rate theory: quantization errors uniform on their cells. It holds when every column's step is below about one standard
deviation of what is rounded, that is from about 3 bits on when H is well conditioned, and later when it is not (undecided columns
feed their error back). Rates are per weight of the full matrix; a rate of R per weight is R n/r per live weight.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rdtools.linalg import log2_am_over_gm
from rdtools.records import Spectrum
from rdtools.theory.high_rate import limit_distortion, spectral_spread_bits

Float64Array = NDArray[np.float64]

#: Noise power of a uniform cell over that of the Gaussian limit at equal entropy: 4^SCALAR_LOSS_BITS.
_SCALAR_LOSS = 2 * math.pi * math.e / 12


def gptq_gap_bits(spectrum: Spectrum) -> float:
    """``G = ½ log2( (1/n) Σ ℓ_ii² / Π ℓ_ii^{2/n} )``: bits per live weight that entropy-coded GPTQ loses to WaterSIC at high rate.

    ℓ_ii is the Cholesky diagonal in the basis and column order of `spectrum`. 0 if it is constant, infinite for a singular H.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Theorem 3.3.

    Examples
    --------
    Two columns with ℓ² = 4 and 1: AM/GM = 2.5/2.

    >>> s = Spectrum(np.array([4.0, 1.0]), np.array([2.0, 1.0]), np.array([4.0, 1.0]), columns=2, rank=2)
    >>> round(gptq_gap_bits(s), 6) == round(0.5 * math.log2(1.25), 6)
    True
    """
    if spectrum.rank < spectrum.live:
        return math.inf
    return 0.5 * log2_am_over_gm(spectrum.cholesky_diagonal**2)


def rtn_gap_bits(spectrum: Spectrum) -> float:
    """``½ log2( (tr H/n) / |H|^{1/n} )``: bits per live weight that rounding with one step loses to WaterSIC at high rate.

    Invariant under rotation, and at least `gptq_gap_bits` in any basis, because ``Σ ℓ_ii² ≤ tr H``. Infinite for a singular H.

    References
    ----------
    Derived for this project from WaterSIC, arXiv 2603.04956 v1, eqs. 5–11, without feedback.
    """
    return spectral_spread_bits(spectrum)


def sic_gap_bits(steps: Float64Array, cholesky_diagonal: Float64Array) -> float:
    """``½ log2 K(A)``, K = AM/GM of (α_i ℓ_ii)²: bits that SIC with steps α loses to WaterSIC; 0 for α_i = c/ℓ_ii.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, eqs. 5–11.
    """
    return 0.5 * log2_am_over_gm((steps * cholesky_diagonal) ** 2)


def watersic_distortion(spectrum: Spectrum, rate_bits: float, variance: float = 1.0) -> float:
    """``D = (2πe/12) σ² |H|^{1/n} 2^{−2R}`` with per-column entropy coding.

    Independent of basis and order. 0 for a singular H, where the formula has no validity.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Theorem 3.3.
    """
    if spectrum.live == 0:
        return 0.0
    return _SCALAR_LOSS * limit_distortion(spectrum, rate_bits, variance)


def _uniform_step_distortion(spectrum: Spectrum, rate_bits: float, variance: float, noise_gains: Float64Array) -> float:
    """``(Δ²/12) · mean(noise_gains) · r/n`` at the step where a N(0, σ²) weight has the entropy: ``Δ² = 2πe σ² 2^{−2R n/r}``."""
    if spectrum.live == 0:
        return 0.0
    share = spectrum.live / spectrum.columns
    return _SCALAR_LOSS * variance * float(np.mean(noise_gains)) * share * math.exp2(-2.0 * rate_bits / share)


def gptq_distortion(spectrum: Spectrum, rate_bits: float, variance: float = 1.0) -> float:
    """``D = (2πe/12) (σ²/n) Σ ℓ_ii² 2^{−2R}`` for entropy-coded GPTQ, in the basis of `spectrum`.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Theorem 3.3, distortion form.
    """
    return _uniform_step_distortion(spectrum, rate_bits, variance, spectrum.cholesky_diagonal**2)


def rtn_distortion(spectrum: Spectrum, rate_bits: float, variance: float = 1.0) -> float:
    """``D = (2πe/12) σ² (tr H/n) 2^{−2R}`` for entropy-coded rounding to nearest."""
    return _uniform_step_distortion(spectrum, rate_bits, variance, spectrum.diagonal)


def absmax_distortion(spectrum: Spectrum, row_absmax: Float64Array, levels: int, *, feedback: bool) -> float:
    """Distortion of fixed-rate rounding on K levels a row spanning ±max|row|: ``(1/12) mean_k Δ_k² · g`` with ``Δ_k = 2 max|w_k|/K``.

    g is ``(1/n) Σ ℓ_ii²`` with feedback (GPTQ) and ``(1 + 2/r) tr H/n`` without (RTN): the largest weight of a row lies on the outer edge
    of its cell, where the squared error is Δ²/4 instead of Δ²/12. For GPTQ overload is left out, which clamping adds where
    feedback pushes a weight outside its row's range.

    Parameters
    ----------
    spectrum : of H, in the basis in which rows are scaled
    row_absmax : (m,) largest magnitude of each row in that basis
    levels : K ≥ 2
    feedback : whether errors are cancelled successively

    References
    ----------
    Derived for this project; without the edge term, ``D = E‖x‖_∞²/3 · 2^{−2R}`` for iid rows and a white Hessian.
    """
    if spectrum.live == 0:
        return 0.0
    share = spectrum.live / spectrum.columns
    gain = np.mean(spectrum.cholesky_diagonal**2) if feedback else np.mean(spectrum.diagonal) * (1 + 2 / spectrum.live)
    return float(np.mean((2.0 * row_absmax / levels) ** 2) / 12.0 * gain * share)
