"""High-rate distortion and gap of scalar quantizers with and without successive cancellation.

High-rate theory: quantization errors uniform on their cells. It holds when every column's step is below about one standard
deviation of what is rounded, that is from about 3 bits on when H is well conditioned, and later when it is not (undecided columns
feed their error back). Rates are per weight of the full matrix; a rate of R per weight is R n/r per active weight.
"""

from __future__ import annotations

import math

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.linalg import log2_am_over_gm
from rdtools.records import Spectrum
from rdtools.theory.high_rate import bound_distortion, mean_log2
from rdtools.units import SCALAR_LOSS


def _share(spectrum: Spectrum) -> float:
    return spectrum.active / spectrum.columns


def gptq_gap_bits(spectrum: Spectrum) -> float:
    """``G = (r/n) ½ log2( (1/r) Σ ℓ_ii² / Π ℓ_ii^{2/r} )``: bits per weight that entropy-coded GPTQ loses to WaterSIC at high rate.

    ℓ_ii is the Cholesky diagonal in the basis and column order of `spectrum`, over its r active columns of n. 0 if it is constant, infinite
    for a singular H.

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
    if spectrum.rank < spectrum.active:
        return math.inf
    return _share(spectrum) * 0.5 * log2_am_over_gm(spectrum.cholesky_diagonal**2)


def noise_gap_bits(spectrum: Spectrum, noise_gains: Float64Array) -> float:
    """``(r/n) ½ log2( mean g / |H|^{1/r} )``: bits per weight that equal steps with these noise gains lose to WaterSIC at high rate.

    g = ℓ_ii² gives `gptq_gap_bits`, g = H_ii gives `rtn_gap_bits`, `rdtools.theory.mismatch.damped_noise_gains` gives GPTQ with damping.
    Infinite for a singular H.
    """
    if spectrum.active == 0:
        return 0.0
    if spectrum.rank < spectrum.active:
        return math.inf
    return _share(spectrum) * 0.5 * (math.log2(float(np.mean(noise_gains))) - mean_log2(spectrum))


def rtn_gap_bits(spectrum: Spectrum) -> float:
    """``(r/n) ½ log2( (tr H/r) / |H|^{1/r} )``: bits per weight that rounding with one step loses to WaterSIC at high rate.

    Invariant under rotation, and at least `gptq_gap_bits` in any basis, because ``Σ ℓ_ii² ≤ tr H``. Infinite for a singular H.

    References
    ----------
    Derived for this project from WaterSIC, arXiv 2603.04956 v1, eqs. 5–11, without feedback.
    """
    return max(0.0, noise_gap_bits(spectrum, spectrum.diagonal))


def sic_distortion(
    noise_gains: Float64Array,  # (r,)
    relative_steps: Float64Array,  # (r,)
    rate_bits: float,
    variance: float = 1.0,
    *,
    active_fraction: float = 1.0,
) -> float:
    """``D = (2πe/12) σ² 2^{−2R} · mean(α² g)/GM(α²)``, times r/n, R n/r for R: any scalar scheme with per-column entropy coding.

    From ``D = (1/12 n) Σ α_i² g_i`` and ``R = ½ log2(2πe σ²) − mean log2 α_i``.

    Parameters
    ----------
    noise_gains : distortion per unit of squared step over 12: H_ii for rounding, ℓ_ii² with feedback, see also
        `rdtools.theory.mismatch.damped_noise_gains`
    relative_steps : α up to a factor
    rate_bits : bits per weight of the full matrix
    variance : σ²
    active_fraction : r/n

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, eqs. 5–11.

    Examples
    --------
    >>> round(sic_distortion(np.ones(3), np.ones(3), 0.0), 5)
    1.42329
    """
    if noise_gains.size == 0 or variance == 0:
        return 0.0
    logs = 2 * np.log2(relative_steps)
    center = float(np.mean(logs))
    spread = float(np.mean(np.exp2(logs - center) * noise_gains))
    return SCALAR_LOSS * variance * spread * active_fraction * math.exp2(-2.0 * rate_bits / active_fraction)


def watersic_distortion(spectrum: Spectrum, rate_bits: float, variance: float = 1.0) -> float:
    """``D = (2πe/12) σ² |H|^{1/n} 2^{−2R}`` with per-column entropy coding.

    Independent of basis and order. 0 for a singular H, where the formula has no validity.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Theorem 3.3.
    """
    return SCALAR_LOSS * bound_distortion(spectrum, rate_bits, variance)


def gptq_distortion(spectrum: Spectrum, rate_bits: float, variance: float = 1.0) -> float:
    """``D = (2πe/12) (σ²/n) Σ ℓ_ii² 2^{−2R}`` for entropy-coded GPTQ without damping, in the basis of `spectrum`.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Theorem 3.3, distortion form.
    """
    gains = spectrum.cholesky_diagonal**2
    return sic_distortion(gains, np.ones_like(gains), rate_bits, variance, active_fraction=_share(spectrum))


def rtn_distortion(spectrum: Spectrum, rate_bits: float, variance: float = 1.0) -> float:
    """``D = (2πe/12) σ² (tr H/n) 2^{−2R}`` for entropy-coded rounding to nearest."""
    gains = spectrum.diagonal
    return sic_distortion(gains, np.ones_like(gains), rate_bits, variance, active_fraction=_share(spectrum))


def high_rate_applies(steps: Float64Array, spectrum: Spectrum, distortion: float, variance: float = 1.0) -> bool:
    """Validity of high-rate theory: True if every step is at most one standard deviation, and D ≤ σ² λ_min.

    The first makes errors uniform on their cells and entropies those of densities, to 1e-8; by the second no direction is left
    undecided, so that what is fed back is small and the limit is that of `rdtools.theory.high_rate`.

    Parameters
    ----------
    steps : (r,) α
    spectrum : of H
    distortion : D, per weight of the full matrix
    variance : σ²
    """
    if spectrum.active == 0 or spectrum.rank < spectrum.active:
        return False
    share = _share(spectrum)
    return bool(float(np.max(steps)) ** 2 <= variance and distortion / share <= variance * float(spectrum.eigenvalues[-1]))


def absmax_distortion(
    noise_gains: Float64Array,  # (r,)
    row_absmax: Float64Array,  # (m,)
    levels: int,
    *,
    feedback: bool,
    active_fraction: float = 1.0,
) -> float:
    """Distortion of fixed-rate rounding, K levels per row spanning ±max|row|: ``(r/n)(1/12) mean_k Δ_k² · g`` with ``Δ_k = 2 max|w_k|/K``.

    g is the mean noise gain; without feedback it is multiplied by 1 + 2/r, because the largest weight of a row lies on the outer edge of
    its cell, where the squared error is Δ²/4 instead of Δ²/12. With feedback overload is left out, which clamping adds where feedback
    pushes a weight outside its row's range.

    Parameters
    ----------
    noise_gains : as for `sic_distortion`
    row_absmax : largest magnitude of each row in the basis in which rows are scaled
    levels : K ≥ 2
    feedback : whether errors are cancelled successively
    active_fraction : r/n

    References
    ----------
    Derived for this project; without the edge term, ``D = E‖x‖_∞²/3 · 2^{−2R}`` for iid rows and a white Hessian.
    """
    if noise_gains.size == 0:
        return 0.0
    edge = 1.0 if feedback else 1 + 2 / noise_gains.size
    return float(np.mean((2.0 * row_absmax / levels) ** 2) / 12.0 * np.mean(noise_gains) * edge * active_fraction)
