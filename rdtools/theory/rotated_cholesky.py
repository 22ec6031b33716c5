"""Cholesky diagonal of a randomly rotated second moment, without drawing a rotation.

For Haar-distributed Q the Cholesky diagonal of ``Qᵀ H Q`` concentrates: with t = i/n and s(t) the solution of
``η(s) = (1/n) Σ_j λ_j/(λ_j + s) = t``,

    ℓ²(t) = t s/(1 − t) = η / ((1/n) Σ_j 1/(λ_j + s)).

ℓ² falls from the mean of λ at t = 0 to its harmonic mean at t = 1, and ``exp ∫₀¹ ln ℓ²(t) dt`` is the geometric mean, as it must be.
Derived for this project from the unitary invariance of the ensemble (ℓ_ii² is the harmonic mean of a compressed spectrum; free
compression); no paper known to us states it. A drawn rotation lies above it by O(1/n) where a few eigenvalues dominate.
"""

from __future__ import annotations

import math

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.records import Spectrum

#: Step in ln s. The integrand is analytic in a strip of half-width π, so the trapezoidal rule errs by about exp(−2π²/step) = 3e-18.
_LOG_STEP = 0.49
#: How far beyond the spectrum ln s runs; what is left out is of relative size exp(−this) = 2e-17.
_LOG_MARGIN = 38.5
_BLOCK_ELEMENTS = 2**18


def _shift_averages(eigenvalues: Float64Array, s: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """``η(s)``, ``(1/n) Σ 1/(λ+s)`` and ``−dη/ds = (1/n) Σ λ/(λ+s)²`` for each s, in blocks that stay in cache."""
    n = len(eigenvalues)
    eta, inverse, slope = np.empty_like(s), np.empty_like(s), np.empty_like(s)
    block = max(1, _BLOCK_ELEMENTS // n)
    for start in range(0, len(s), block):
        part = slice(start, start + block)
        r = 1.0 / (eigenvalues + s[part, None])
        share = eigenvalues * r
        eta[part], inverse[part] = share.sum(axis=1) / n, r.sum(axis=1) / n
        slope[part] = (share * r).sum(axis=1) / n
    return eta, inverse, slope


def rotated_cholesky_moments(eigenvalues: Float64Array) -> tuple[float, float]:
    """Arithmetic and geometric mean of ``ℓ²`` over t, for positive eigenvalues.

    ``AM = ∫₀^∞ ℓ² (−dη/ds) ds`` and ``GM = exp ∫₀^∞ ln ℓ² (−dη/ds) ds``, by the trapezoidal rule in ln s. GM equals the geometric mean
    of λ, which is the check on the quadrature.

    Parameters
    ----------
    eigenvalues : (n,) positive

    Raises
    ------
    TheoryError
        If an eigenvalue is not positive, or a ratio of two is beyond float64.
    """
    values = np.asarray(eigenvalues, dtype=np.float64)
    if values.size == 0 or not (np.isfinite(values).all() and values.min() > 0):
        raise TheoryError(f"rotated Cholesky diagonal: eigenvalues of shape {values.shape}, expected positive and finite ones")
    largest = float(values.max())
    values = values / largest  # so that neither end of the range of s overflows
    if values.min() == 0:
        raise TheoryError(f"rotated Cholesky diagonal: eigenvalues up to {largest:g}, the least of which is 0 in units of it in float64")
    low, high = math.log(float(values.min())) - _LOG_MARGIN, _LOG_MARGIN
    s = np.exp(np.arange(low, high + _LOG_STEP, _LOG_STEP))
    eta, inverse, slope = _shift_averages(values, s)
    weight = slope * s
    weight /= weight.sum()  # the exact integral of −dη/ds is 1
    squared = eta / inverse
    return largest * float(weight @ squared), largest * math.exp(float(weight @ np.log(squared)))


def rotated_gptq_gap_bits(spectrum: Spectrum) -> float:
    """``(r/n) ½ log2(AM/GM)`` of ℓ² after a Haar rotation: bits per weight that rotated GPTQ loses to WaterSIC at high rate.

    Never above `rdtools.theory.sic.rtn_gap_bits`; 0 for a white H, infinite for a singular one. One draw at n = 1024 agrees to about
    0.01 bit unless a few eigenvalues hold most of the trace.

    References
    ----------
    Derived for this project; see the module.

    Examples
    --------
    >>> white = Spectrum(np.ones(4), np.ones(4), np.ones(4), columns=4, rank=4)
    >>> abs(rotated_gptq_gap_bits(white)) < 1e-15
    True
    """
    if spectrum.active == 0:
        return 0.0
    if not spectrum.has_eigenvalues:
        return math.nan
    if spectrum.rank < spectrum.active or spectrum.eigenvalues[-1] <= 0:
        return math.inf
    arithmetic, geometric = rotated_cholesky_moments(spectrum.eigenvalues)
    return spectrum.active / spectrum.columns * max(0.0, 0.5 * (math.log2(arithmetic) - math.log2(geometric)))
