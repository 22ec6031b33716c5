"""Encoding with another second moment than the one that counts: damping, above all."""

from __future__ import annotations

import math

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.linalg import log2_am_over_gm
from rdtools.records import Spectrum
from rdtools.theory.high_rate import mean_log2
from rdtools.triangular import moment_shares


def damped_noise_gains(factor: Float64Array, damping: float) -> Float64Array:
    """``g_i = ℓ̃_ii² [L̃⁻¹ H L̃⁻ᵀ]_ii`` when columns are decided under ``H + δ I = L̃ L̃ᵀ`` and the distortion is measured under H.

    The error is ``E = U L̃⁻¹`` with ``U_:i`` uniform of variance (α_i ℓ̃_ii)²/12, so that ``D = (1/12 n) Σ α_i² g_i`` at high rate.
    Without damping g_i = ℓ_ii². Computed from ``L̃⁻¹ H L̃⁻ᵀ = I − δ L̃⁻¹ L̃⁻ᵀ``.

    Parameters
    ----------
    factor : (n, n), L̃
    damping : δ, absolute, ≥ 0

    Returns
    -------
    (n,) float64, ≥ 0

    References
    ----------
    Derived for this project (mismatched successive cancellation).

    Examples
    --------
    H = 3 and δ = 1: ℓ̃² = 4, of which the share 3/4 counts.

    >>> damped_noise_gains(np.array([[2.0]]), 1.0).tolist()
    [3.0]
    """
    return np.asarray(np.diagonal(factor) ** 2 * moment_shares(factor, damping))


def mismatch_penalty_bits(ratios: Float64Array) -> float:
    """``½ log2(AM/GM)`` of the eigenvalues of ``Σ̃⁻¹ Σ``: bits that WaterSIC loses when it encodes with Σ̃ and Σ counts.

    At high rate, per active weight: with steps α_i = c/ℓ̃_ii the distortion is ``(c²/12) tr(Σ̃⁻¹ Σ)/n`` and the rate
    ``½ log2(2πe σ² |Σ̃|^{1/n}/c²)``. 0 if and only if Σ̃ ∝ Σ, unchanged under ``x → A x`` of both; infinite if Σ is singular where Σ̃ is
    not. Damping and few tokens are the cases `damping_penalty_bits` and `rdtools.theory.calibration.calibration_penalty_bits`.

    Parameters
    ----------
    ratios : (n,) eigenvalues, ≥ 0; 0 for none or all zero

    Raises
    ------
    TheoryError
        For an eigenvalue that is negative or not finite.

    References
    ----------
    Derived for this project (mismatched successive cancellation).

    Examples
    --------
    >>> round(mismatch_penalty_bits(np.array([4.0, 1.0])), 6) == round(0.5 * math.log2(2.5 / 2), 6)
    True
    """
    values = np.asarray(ratios, dtype=np.float64).ravel()
    if not (np.isfinite(values) & (values >= 0)).all():
        raise TheoryError(f"mismatch: ratios from {values.min():.3g} to {values.max():.3g}, expected finite ones ≥ 0, as of Σ̃⁻¹ Σ")
    return 0.5 * log2_am_over_gm(values)


def damping_penalty_bits(spectrum: Spectrum, damping: float) -> float:
    """``(r/n) ½ log2(AM/GM)`` of ``λ/(λ + δ)``: bits per weight that WaterSIC loses when it encodes with ``H + δ I``.

    At high rate, against no damping; where weak directions are not coded at all the cost is smaller. 0 without damping, rises with δ to
    `rdtools.theory.sic.rtn_gap_bits`, the loss of equal steps without feedback. Infinite for a singular H.

    Parameters
    ----------
    spectrum : of H
    damping : δ relative to the mean diagonal of the r active columns, ≥ 0

    Raises
    ------
    TheoryError
        For a negative damping.

    References
    ----------
    Derived for this project: `mismatch_penalty_bits` with Σ̃ = H + δ I.

    Examples
    --------
    λ = 4 and 1 with δ = 2: λ/(λ + δ) = 2/3 and 1/3.

    >>> s = Spectrum(np.array([4.0, 1.0]), np.array([2.0, 1.0]), np.array([4.0, 1.0]), columns=2, rank=2)
    >>> round(damping_penalty_bits(s, 0.8), 6) == round(0.5 * math.log2(0.5 / math.sqrt(2 / 9)), 6)
    True
    """
    if not 0 <= damping < math.inf:
        raise TheoryError(f"damping penalty: damping {damping}, expected zero or a positive number")
    if spectrum.active == 0:
        return 0.0
    if spectrum.rank < spectrum.active:
        return math.inf
    if damping == 0:
        return 0.0
    values = spectrum.needed_eigenvalues()
    delta = damping * float(np.mean(spectrum.diagonal))
    share = spectrum.active / spectrum.columns
    if values[-1] > spectrum.active * np.finfo(np.float64).eps * values[0]:
        return share * mismatch_penalty_bits(values / (values + delta))
    # eigenvalues below resolution: the determinant is that of the factor, and δ covers the rest
    geometric = mean_log2(spectrum) - float(np.mean(np.log2(values + delta)))
    return share * max(0.0, 0.5 * (math.log2(float(np.mean(values / (values + delta)))) - geometric))
