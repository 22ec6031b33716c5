"""The limit at high rate, and from which rate on that is the truth.

Everything here is per weight of the full matrix of n columns, of which r have a positive diagonal; dead input channels cost nothing, so
that a rate of R bits per weight is R n/r per active weight.
"""

from __future__ import annotations

import math

import numpy as np

from rdtools.records import Spectrum

#: Bits per weight that one codebook which knows nothing of H loses at most to waterfilling for that H, at any rate; W normal. An
#: existence statement by random coding: a line to draw beside R(D), and no method. Harbuzova, Ordentlich and Polyanskiy, Price of
#: metric universality in vector quantization is at most 0.11 bit, arXiv 2602.05790, COLT 2026 (PMLR 336), abstract.
UNIVERSALITY_BITS = 0.11


def mean_log2(spectrum: Spectrum) -> float:
    """log2 of ``|H|^{1/r}`` on the active columns, −inf if H is singular on them.

    From the Cholesky diagonal, which keeps its relative accuracy where columns differ by more than the 16 decades that eigenvalues
    resolve.
    """
    if spectrum.rank < spectrum.active or spectrum.active == 0:
        return -math.inf
    return 2.0 * float(np.mean(np.log2(spectrum.cholesky_diagonal)))


def bound_distortion(spectrum: Spectrum, rate_bits: float, variance: float = 1.0) -> float:
    """``D = σ² |H|^{1/n} 2^{−2R}``, the limit while every component is active.

    Valid for D ≤ σ² λ_min, that is for rates of at least `critical_rate_bits`; below that rate it lies under the true limit
    (`rdtools.theory.waterfilling`) and must not be reported. 0 for a singular H.

    Parameters
    ----------
    spectrum : of H
    rate_bits : bits per weight
    variance : σ² of the weights

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 3 (high-rate form of the waterfilling rate).
    """
    if spectrum.active == 0:
        return 0.0
    share = spectrum.active / spectrum.columns
    return share * variance * math.exp2(mean_log2(spectrum) - 2.0 * rate_bits / share)


def bound_rate_bits(spectrum: Spectrum, distortion: float, variance: float = 1.0) -> float:
    """``R = ½ log2(σ² |H|^{1/n} / D)``, the inverse of `bound_distortion` with the same validity; may be negative outside it."""
    if spectrum.active == 0 or variance == 0:
        return 0.0
    share = spectrum.active / spectrum.columns
    if distortion == 0:
        return math.inf
    return share * 0.5 * (math.log2(variance) + mean_log2(spectrum) - math.log2(distortion / share))


#: A channel whose energy is below this multiple of the median over active channels is nearly dead.
NEARLY_DEAD = 1e-8


def nearly_dead_channels(spectrum: Spectrum) -> int:
    """Number of active channels with an energy ``H_ii`` below NEARLY_DEAD of the median: the output hardly shows that they are not dead."""
    return int((spectrum.diagonal < NEARLY_DEAD * np.median(spectrum.diagonal)).sum()) if spectrum.active else 0


def critical_rate_bits(spectrum: Spectrum) -> float:
    """``R_c = ½ log2(GM(λ)/λ_min)`` per active weight, times r/n: from this rate on every component is active.

    As many components as there are nearly dead channels, the smallest, do not count: their water level is far below what anyone would pay
    for, and each would put R_c at a dozen bits.

    Infinite for a H that is singular or whose smallest eigenvalue is below the resolution of float64; 0 for a white one. Real Hessians
    often have R_c above 3 bits, so that the high-rate formulas are not the limit there. nan where the eigenvalues are not computed.

    References
    ----------
    Derived for this project from R(τ = σ² λ_min) of reverse waterfilling.
    """
    if spectrum.active == 0:
        return 0.0
    if not spectrum.has_eigenvalues:
        return math.nan
    nearly_dead = nearly_dead_channels(spectrum)
    kept = spectrum.eigenvalues[: spectrum.active - nearly_dead]
    smallest, singular = float(kept[-1]), spectrum.rank < len(kept) or (nearly_dead == 0 and spectrum.rank < spectrum.active)
    if singular or smallest <= spectrum.active * np.finfo(np.float64).eps * float(kept[0]):
        return math.inf
    level = float(np.mean(np.log2(kept))) if nearly_dead else mean_log2(spectrum)
    return len(kept) / spectrum.columns * max(0.0, 0.5 * (level - math.log2(smallest)))
