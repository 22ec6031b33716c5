"""Weights that are not normal: their differential entropy from samples, and the bound on any code that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.linalg import as_float64
from rdtools.records import Spectrum
from rdtools.theory.high_rate import mean_log2

#: Of weights that one value makes up more than this share of, it is taken to be an atom, and no entropy of a density is estimated.
ATOM_SHARE = 0.01


@dataclass(frozen=True)
class EntropyEstimate:
    """A differential entropy, estimated.

    Attributes
    ----------
    entropy_bits : h, bits; −∞ if all samples are equal
    stderr_bits : standard error √(Var log2 f / N), samples taken as independent
    bias_bound_bits : bound on what bias is left
    samples : N
    largest_share : share of the commonest value; where it is not small beside 1 there is an atom and no density
    """

    entropy_bits: float
    stderr_bits: float
    bias_bound_bits: float
    samples: int
    largest_share: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """``h ± (z · stderr + bias bound)``, z the two-sided normal quantile of `confidence`.

        Raises
        ------
        TheoryError
            For a confidence outside (0, 1).
        """
        if not 0 < confidence < 1:
            raise TheoryError(f"entropy interval: confidence {confidence}, expected a probability between 0 and 1")
        reach = float(ndtri(0.5 + 0.5 * confidence)) * self.stderr_bits + self.bias_bound_bits
        return self.entropy_bits - reach, self.entropy_bits + reach


def _cells_entropy(values: Float64Array, last: NDArray[np.int64], start: NDArray[np.int64]) -> tuple[float, float]:
    """Entropy of the density that is constant on cells of sorted distinct values, Miller–Madow corrected, and its standard error, bits.

    A cell ends halfway between its last value and the next, and as far beyond the outermost values as if they had neighbours there.
    """
    samples = int(last[-1]) + 1
    end = np.append(start[1:], len(values)) - 1
    gap = np.diff(values)
    outside = gap[np.maximum(start - 1, 0)] + gap[np.minimum(end, len(gap) - 1)]
    # from gaps, not from edges: the middle of two neighbouring floats is one of them
    width = values[end] - values[start] + 0.5 * outside
    count = np.diff(last[end], prepend=-1)
    surprise = np.log2(width) + np.log2(samples / count)
    entropy = float(count @ surprise) / samples
    stderr = math.sqrt(float(count @ (surprise - entropy) ** 2)) / samples
    return entropy + (len(start) - 1) / (2 * samples) * math.log2(math.e), stderr


def _merged(start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cells in pairs, counted from both ends, so that both tails double; of an odd number three are joined in the middle."""
    left = len(start) // 4 * 2
    right = left + 3 * (len(start) % 2)
    return np.concatenate([start[:left:2], start[left : left + len(start) % 2], start[right::2]])


def differential_entropy(samples: ArrayLike) -> EntropyEstimate:
    """Differential entropy ``h = −E log2 f(x)`` of independent samples of an unknown density, ties from rounding included.

    The sorted samples are cut into about N^{2/3} cells of equal count c; a value that occurs often stands for all that lies nearer to it
    than to its neighbours, and is never cut. With w_j the width of a cell,

        ``h_c = Σ_j (c_j/N) log2(N w_j / c_j) + (K − 1)/(2N) log2 e``,

    the last term, of Miller and Madow, being right for cells of fixed width (rounded samples) and of fixed count (spacings) alike, up to
    1/(4c²). What is left is that f is not constant on a cell: O(w²) where it is smooth, about the cell's share of the samples at an edge,
    a pole or a tail. With h_2c from cells in pairs, ``h = (4 h_c − h_2c)/3`` removes the former and leaves at most two thirds of
    |h_2c − h_c| of the latter. `bias_bound_bits` is that difference and, because a rounded value at an end of the support may stand for
    part of its cell, (log2 e)/e of the share of the outermost values. An atom, such as the zeros of pruned weights, has no density and must
    be left out first: the estimate falls without limit as N grows, and the bound, mostly of the order of the atom's probability, is none.
    Deterministic; N log N.

    Parameters
    ----------
    samples : any shape, real floating point, at least two

    Raises
    ------
    TheoryError
        For fewer than two samples, or samples that are not finite.

    References
    ----------
    Spacings: Vasicek, J. Royal Stat. Soc. B 38 (1976); correction: Miller, in Information Theory in Psychology (1955). Their union on
    tied samples and its extrapolation: derived for this project.

    Examples
    --------
    A normal variable has ½ log2(2πe) = 2.0471 bits.

    >>> estimate = differential_entropy(np.random.default_rng(0).standard_normal(100_000))
    >>> low, high = estimate.interval(0.95)
    >>> low < 2.0471 < high < low + 0.02
    True
    """
    x = np.sort(as_float64(samples, name="entropy samples"), axis=None)
    if x.size < 2:
        raise TheoryError(f"differential entropy: {x.size} samples, expected at least two, and thousands for a useful interval")
    exponent = math.frexp(max(abs(float(x[0])), abs(float(x[-1]))))[1] + 2
    x = np.ldexp(x, -exponent)  # exact; no difference of two overflows
    last = np.flatnonzero(np.append(x[1:] != x[:-1], True))
    if len(last) == 1:
        return EntropyEstimate(-math.inf, 0.0, 0.0, x.size, 1.0)
    cell = ((last + 0.5) * (math.ceil(x.size ** (2 / 3)) / x.size)).astype(np.int64)
    start = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
    values = x[last]
    fine, stderr = _cells_entropy(values, last, start)
    coarse, _ = _cells_entropy(values, last, _merged(start))
    # of a cell of share p only a part θ: too large by θp log2(1/θ), at most p log2(e)/e; p is that of the next value where θ is small
    count = np.diff(last, prepend=-1)
    ends = float(count[:2].max() + count[-2:].max()) / x.size
    bound = abs(coarse - fine) + math.log2(math.e) / math.e * ends
    return EntropyEstimate((4 * fine - coarse) / 3 + exponent, stderr, bound, x.size, float(count.max()) / x.size)


def negentropy_bits(entropy_bits: float, variance: float) -> float:
    """``½ log2(2πe σ²) − h``: bits below the entropy of a normal variable of the same variance, ≥ 0 and 0 for a normal one only.

    What the Gaussian limit overstates at high rate: there R(D) of iid weights is the Gaussian one less the negentropy. Not clipped, so that
    an estimated h may leave it slightly below zero. 0 for variance 0, a constant being the limit of normal variables.

    Parameters
    ----------
    entropy_bits : h, bits
    variance : σ² about the mean, ≥ 0

    Raises
    ------
    TheoryError
        For a negative variance.

    References
    ----------
    Cover and Thomas, Elements of Information Theory, 2nd ed., Theorem 8.6.5.

    Examples
    --------
    Uniform on [0, 1]: the loss of the scalar quantizer.

    >>> round(negentropy_bits(0.0, 1 / 12), 4)
    0.2546
    """
    if not variance >= 0:
        raise TheoryError(f"negentropy: variance {variance}, expected zero or a positive number")
    if variance == 0:
        return 0.0
    return 0.5 * (math.log2(2 * math.pi * math.e) + math.log2(variance)) - entropy_bits


def shannon_lower_bound_bits(spectrum: Spectrum, distortion: float, entropy_bits: float) -> float:
    """``R(D) ≥ h + ½ log2 |H|^{1/n} − ½ log2(2πe D)``: bits per weight below which no code reaches distortion D.

    For weights that are iid with differential entropy h, any D > 0, any method and any block length, H known to the decoder or not: given
    Ŵ, the error has entropy at most that of a normal one with ``E[e H eᵀ] = nD``. The bound is reached as D → 0. For the entropy of
    a normal variable it is `rdtools.theory.high_rate.bound_rate_bits`, here below the truth and not above it. Not clipped: a negative
    value says nothing; −∞ for a singular H or h = −∞.

    Parameters
    ----------
    spectrum : of H; with r of n columns active the bound is r/n of that at D n/r, and 0 without active columns
    distortion : D = tr(E H Eᵀ)/(mn), ≥ 0; infinite rate at 0
    entropy_bits : h of one weight, bits

    Raises
    ------
    TheoryError
        For a negative distortion.

    References
    ----------
    Shannon lower bound for the error measure ``e H eᵀ``; asymptotic tightness: Linder and Zamir, IEEE Trans. Inf. Theory 40 (1994).

    Examples
    --------
    Uniform weights on [0, 1], H = I, D = 1/12 of a step of 1/8: 3 bits less the 0.2546 of the scalar quantizer.

    >>> white = Spectrum(np.ones(2), np.ones(2), np.ones(2), columns=2, rank=2)
    >>> round(shannon_lower_bound_bits(white, 1 / 768, 0.0), 4)
    2.7454
    """
    if not distortion >= 0:
        raise TheoryError(f"Shannon lower bound: distortion {distortion}, expected zero or a positive number")
    if spectrum.active == 0:
        return 0.0
    determinant = mean_log2(spectrum)
    if -math.inf in (determinant, entropy_bits):
        return -math.inf
    if distortion == 0:
        return math.inf
    share = spectrum.active / spectrum.columns
    return share * (entropy_bits + 0.5 * (determinant - math.log2(2 * math.pi * math.e) - math.log2(distortion / share)))
