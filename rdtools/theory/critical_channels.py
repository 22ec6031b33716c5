"""More bits for a few critical input channels: CRVQ as rate allocation on two levels.

For rows of iid weights of variance σ² and a diagonal H, channel j left with the error c σ² costs ``c σ² H_jj``. One code of error c_b
serves every channel, further codes bring the critical ones to c_e, and all depends on the share φ of tr(H) that is critical. Codes are
chosen without regard to H inside a group; choosing with it does part of the allocation at no rate, and then sorting channels undoes that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from rdtools.errors import TheoryError
from rdtools.theory.waterfilling import components, distortion_rate

Float64Array = NDArray[np.float64]


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


@dataclass(frozen=True)
class VectorCodeRate:
    """Bits per weight of a layer coded in groups, part by part.

    Attributes
    ----------
    codes : indices into the codebooks
    codebooks : their entries
    scales : one of each row
    channel_set : which channels are critical
    permutation : the order of all channels
    """

    codes: float
    codebooks: float
    scales: float
    channel_set: float = 0.0
    permutation: float = 0.0

    @property
    def total(self) -> float:
        """All that a decoder needs."""
        return self.codes + self.codebooks + self.scales + self.channel_set + self.permutation


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
    whole = round(groups)
    return whole if math.isclose(groups, whole, rel_tol=4 * float(np.finfo(np.float64).eps)) else math.floor(groups)


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
    whole = min(math.floor(count), h.size)
    part = (count - whole) * float(h[whole]) if whole < h.size else 0.0
    return min(1.0, (math.fsum(h[:whole]) + part) / math.fsum(h))


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
    8-dimensional codebooks of 256 words, trained on a normal law in residual stages, c is 0.327, 0.108, 0.0371 and 0.0134 with one to four
    of them; at the limit of any code it is 4^−R.

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


def marginal_gain_db(distortion_before: float, distortion_after: float, extra_bits: float) -> float:
    """``10 log10(D_before/D_after) − 6.02 ΔR``: what extra bits gain over spreading them evenly, dB; positive where they are well placed.

    Even spreading lowers D by 4^−ΔR, 20 log10(2) = 6.02 dB a bit. To first order in λ, extended codes of e more bits pass where the
    critical channels have more than ``e ln 4/(1 − c_e/c_b)`` times the mean of H_jj: with 3 bits, 4.3 times for the errors quoted at
    `relaxed_distortion`.

    Parameters
    ----------
    distortion_before, distortion_after : ≥ 0, before positive
    extra_bits : ΔR, bits per weight, all side information included

    Raises
    ------
    TheoryError
        For distortions that are negative, NaN or 0 before, or bits that are not finite.

    References
    ----------
    Derived for this project.

    Examples
    --------
    A factor of 16 for one bit, where a factor of 4 is due.

    >>> round(marginal_gain_db(16.0, 1.0, 1.0), 2)
    6.02
    """
    if not (0 < distortion_before < math.inf and distortion_after >= 0 and math.isfinite(extra_bits)):
        raise TheoryError(
            f"marginal gain: distortions {distortion_before} and {distortion_after}, {extra_bits} bits; "
            "expected above 0, at least 0, and finite"
        )
    if distortion_after == 0:
        return math.inf
    return 10 * math.log10(distortion_before / distortion_after) - 20 * math.log10(2) * extra_bits


def vector_code_rate(
    rows: int,
    columns: int,
    fraction: float,
    *,
    codebook_bits: Sequence[int] = (8, 8, 8, 8),
    group: int = 8,
    float_bits: float = 16.0,
    full_order: bool = True,
) -> VectorCodeRate:
    """Bits per weight with everything counted, for λ = g B/n after rounding down to B groups.

    codes ``e_0/g + λ Σ_{c≥1} e_c/g``, codebooks ``b g Σ_c 2^{e_c}/(mn)``, row scales ``b/n``, and either the critical set
    ``log2 C(n, λn)/(mn)`` or the order of all channels ``⌈log2 n⌉/m``. Where B = 0 there are no codebooks but the first, and no set. The
    set is enough where the other channels keep an order that is known; the released code sorts all, and leaves the order out of its total.

    Parameters
    ----------
    rows, columns : m and n ≥ 1
    fraction : λ asked for, 0 to 1
    codebook_bits : e_0 for all groups, then e_c for the critical ones; at least one
    group : g channels of one row share a code; n is a multiple of it
    float_bits : b, bits of a codebook's entry and of a scale
    full_order : whether all channels are sorted, critical groups or not, and the order is stored; else the set is

    Raises
    ------
    TheoryError
        For an empty layer, columns that are no multiple of the group, no codebooks, negative bits, or a fraction outside 0 to 1.

    References
    ----------
    AQLM, arXiv 2401.06118, and CRVQ, arXiv 2412.09282, the released estimators; set and order derived for this project.

    Examples
    --------
    Of 16 channels half are critical: 1/8 and half of another; two codebooks of 2 words of 8 numbers over 64 weights; a scale a row.

    >>> rate = vector_code_rate(4, 16, 0.5, codebook_bits=(1, 1), full_order=False)
    >>> rate.codes, rate.codebooks, rate.scales, round(rate.channel_set, 4) == round(math.log2(12870) / 64, 4)
    (0.1875, 8.0, 1.0, True)
    """
    if rows < 1 or not codebook_bits or min(codebook_bits) < 0 or not float_bits >= 0:
        raise TheoryError(
            f"vector code: {rows} rows, codebooks of {tuple(codebook_bits)} bits, {float_bits} bits a number; "
            "expected at least one row and one codebook, and no negative bits"
        )
    groups = critical_groups(columns, fraction, group=group)
    if columns % group:
        raise TheoryError(f"vector code: {columns} columns in groups of {group}; expected a multiple: pad the columns")
    weights, critical = rows * columns, group * groups
    used = codebook_bits if groups else codebook_bits[:1]
    nats = gammaln(columns + 1) - gammaln(critical + 1) - gammaln(columns - critical + 1)
    return VectorCodeRate(
        codes=codebook_bits[0] / group + critical / columns * sum(used[1:]) / group,
        codebooks=float_bits * group * sum(2**e for e in used) / weights,
        scales=float_bits / columns,
        channel_set=0.0 if full_order else max(0.0, float(nats)) / math.log(2) / weights,
        permutation=(columns - 1).bit_length() / rows if full_order else 0.0,
    )
