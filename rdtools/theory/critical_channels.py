"""More bits for a few critical input channels: CRVQ as rate allocation on two levels.

For rows of iid weights of variance σ² and a diagonal H, channel j left with the error c σ² costs ``c σ² H_jj``. One code of error c_b
serves every channel, further codes bring the critical ones to c_e, and all depends on the share φ of tr(H) that is critical. Codes are
chosen without regard to H inside a group; choosing with it does part of the allocation at no rate, and then sorting channels undoes that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.theory.waterfilling import components, distortion_rate

#: Mean squared error, over the variance, of iid normal weights coded eight at a time by residual stages of 256 words, each k-means on what
#: those before it leave: with none to four stages, at as many bits per weight. Measured on other vectors than those that the words
#: were trained on; Shannon's limit is 4^−R.
RESIDUAL_ERRORS = (1.0, 0.327, 0.108, 0.0371, 0.0134)


def residual_error(bits: int, stages: int) -> float:
    """The entry of `RESIDUAL_ERRORS`; nan for codes of other than 8 bits, and more stages, for which none is tabulated.

    Examples
    --------
    >>> residual_error(8, 4), residual_error(16, 1)
    (0.0134, nan)
    """
    return RESIDUAL_ERRORS[stages] if bits == 8 and 0 <= stages < len(RESIDUAL_ERRORS) else math.nan


@dataclass(frozen=True)
class TwoLevelAllocation:
    """The best two rates for a given set of critical channels.

    Attributes
    ----------
    critical_rate_bits, basic_rate_bits : per weight of the critical channels, and of the others; where there are none, that of the others
    distortion : per weight, for σ² = 1
    """

    critical_rate_bits: float
    basic_rate_bits: float
    distortion: float


def _diagonal(diagonal: ArrayLike) -> Float64Array:
    h = np.asarray(diagonal, dtype=np.float64)
    if h.ndim != 1 or h.size == 0 or not (np.isfinite(h).all() and h.min() >= 0):
        raise TheoryError(
            f"critical channels: diagonal of shape {h.shape}, expected (n,) finite entries of at least 0; pass the diagonal of H"
        )
    return np.sort(h)[::-1]


def _fraction(fraction: float) -> float:
    if not 0 <= fraction <= 1:
        raise TheoryError(f"critical channels: fraction {fraction}, expected 0 to 1")
    return float(fraction)


def critical_groups(columns: int, fraction: float, *, group: int = 8) -> int:
    """``B = ⌊λ n/g⌋``: critical groups of g channels; 0 where λ n < g, and then nothing is critical.

    Parameters
    ----------
    columns : n ≥ 1
    fraction : λ asked for, 0 to 1; ``g B/n`` is what it comes to. A quotient within rounding of a whole number counts as that.
    group : g ≥ 1

    Raises
    ------
    TheoryError
        For a fraction outside 0 to 1, no columns, or an empty group.

    References
    ----------
    CRVQ, arXiv 2412.09282, as released.

    Examples
    --------
    >>> critical_groups(4096, 0.02), critical_groups(256, 0.02)
    (10, 0)
    """
    if columns < 1 or group < 1:
        raise TheoryError(f"critical channels: {columns} columns in groups of {group}, expected at least 1 of each")
    groups = _fraction(fraction) * columns / group
    nearest = round(groups)
    return nearest if math.isclose(groups, nearest, rel_tol=4 * float(np.finfo(np.float64).eps)) else math.floor(groups)


def critical_share(diagonal: ArrayLike, fraction: float) -> float:
    """``φ(λ)``: share of tr(H) in the λ n channels of largest H_jj.

    Concave, with φ(0) = 0, φ(1) = 1 and φ(λ) ≥ λ, equality for a flat diagonal; linear between whole numbers of channels. λ for H = 0.

    Parameters
    ----------
    diagonal : (n,), H_jj ≥ 0, in any order
    fraction : λ, 0 to 1

    Raises
    ------
    TheoryError
        For a diagonal that is empty, negative or not finite, or a fraction outside 0 to 1.

    References
    ----------
    Derived for this project, for CRVQ, arXiv 2412.09282.

    Examples
    --------
    One channel of four has 5 of 8.

    >>> critical_share([1.0, 5.0, 1.0, 1.0], 0.25)
    0.625
    """
    h, count = _diagonal(diagonal), _fraction(fraction) * np.size(diagonal)
    if h[0] == 0:
        return float(fraction)
    h = h / h[0]
    full = min(math.floor(count), h.size)
    part = (count - full) * float(h[full]) if full < h.size else 0.0
    return min(1.0, (math.fsum(h[:full]) + part) / math.fsum(h))


def relaxed_distortion(
    diagonal: ArrayLike,  # (n,)
    fraction: float,
    *,
    basic: float,
    extended: float,
    variance: float = 1.0,
) -> float:
    """``D(λ) = σ² (tr H/n) [c_b − (c_b − c_e) φ(λ)]``, so that ``D(λ)/D(0) = 1 − (1 − c_e/c_b) φ(λ)``.

    Exact in the mean for a diagonal H, iid weights, critical channels in groups of their own, and codes chosen without weighting by H. For
    8-dimensional codebooks of 256 words c is in `RESIDUAL_ERRORS`; at the limit of any code it is 4^−R.

    Parameters
    ----------
    diagonal : H_jj ≥ 0, in any order
    fraction : λ, 0 to 1, such as ``g · critical_groups(…)/n``
    basic, extended : c_b and c_e ≥ 0, mean squared error over σ² in the other and in the critical channels
    variance : σ²

    Raises
    ------
    TheoryError
        For a negative or NaN error or variance, or a diagonal or fraction that `critical_share` refuses.

    References
    ----------
    Derived for this project, for CRVQ, arXiv 2412.09282.

    Examples
    --------
    One bit, and four in the critical channel, which has 5/8 of the trace of 8 over 4 channels: 2 (3/8 · 1/4 + 5/8 · 1/256).

    >>> relaxed_distortion([1.0, 5.0, 1.0, 1.0], 0.25, basic=4.0**-1, extended=4.0**-4)
    0.1923828125
    """
    if not (basic >= 0 and extended >= 0 and variance >= 0):
        raise TheoryError(f"critical channels: errors {basic} and {extended}, variance {variance}; expected at least 0")
    phi = critical_share(diagonal, fraction)
    return variance * float(np.mean(_diagonal(diagonal))) * (basic * (1.0 - phi) + extended * phi)


def two_level_allocation(diagonal: ArrayLike, fraction: float, rate_bits: float) -> TwoLevelAllocation:
    """Rates R_c and R_b of ideal codes, ``λ R_c + (1−λ) R_b = R``, that minimize ``(tr H/n) [φ 4^−R_c + (1−φ) 4^−R_b]``.

    It is waterfilling over two components, the mean of H_jj in either part, of which λ n and (1 − λ) n stand side by side: where both get
    bits, ``R_c − R_b = ½ log2[φ (1−λ)/((1−φ) λ)]``. Never below `waterfilling.distortion_rate` of the diagonal, and equal to it where H_jj
    has two levels and λ n is the number of the larger ones. `relaxed_distortion` with 4^−R is the same with rates that are given.

    Parameters
    ----------
    diagonal : (n,), H_jj ≥ 0, in any order
    fraction : λ, 0 to 1
    rate_bits : R ≥ 0, mean over all weights

    Raises
    ------
    TheoryError
        As `critical_share`, and for a rate that is negative or NaN.

    References
    ----------
    Derived for this project, for CRVQ, arXiv 2412.09282; Cover and Thomas, Elements of Information Theory, 2nd ed., Theorem 10.3.3.

    Examples
    --------
    16 and 1 in equal parts: two bits apart, and both are left at ¼.

    >>> best = two_level_allocation([16.0, 1.0], 0.5, 2.0)
    >>> best.critical_rate_bits, round(best.basic_rate_bits, 12), best.distortion
    (3.0, 1.0, 0.25)
    """
    h, phi, share = _diagonal(diagonal), critical_share(diagonal, fraction), _fraction(fraction)
    mean = float(np.mean(h))
    # up to one channel the mean of the critical part is the largest entry, which φ/λ forgets where λ is next to nothing
    parts = [(float(h[0]) if share * h.size <= 1 else mean * phi / share, share)] if share > 0 else []
    if share < 1:
        parts.append((mean * (1 - phi) / (1 - share), 1 - share))
    levels, times = zip(*parts, strict=True)
    point = distortion_rate(rate_bits, components(levels, times))
    level = float(point.water_level)
    rates = [0.5 * math.log2(max(1.0, v / level)) if level > 0 else (math.inf if v > 0 and rate_bits > 0 else 0.0) for v in levels]
    return TwoLevelAllocation(rates[0], rates[-1], float(point.distortion))
