"""The normal variable rounded to a uniform grid, exact to rounding: for all that no decoder repeats."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
#: On pieces of this length 16 nodes integrate the density times a square to rounding.
_PIECE = 0.5
#: The density vanishes in float64 beyond; and boundaries beyond the other hold less than 1e-18.
_REACH, _LAST_BOUNDARY = 39.0, 9.0
#: Below this step a grid without end has the moments of its limit to e^(−2π²/r²) < 1e-34, and the entropy of a Gaussian of the same
#: variance to 1e-8 bit: y plus uniform noise has a fourth cumulant r⁴/120 less, which costs the square of that over 48 nats.
FINE = 0.5


@dataclass(frozen=True)
class RoundedGaussian:
    """Moments of x̂, the point of a uniform grid nearest to x ~ N(0, 1).

    Attributes
    ----------
    entropy_bits : H(x̂)
    correlation : E[x x̂]
    power : E[x̂²]
    granular : squared error from x within half a step of the grid; all of it where the grid has no end
    overload : squared error from x beyond
    """

    entropy_bits: float
    correlation: float
    power: float
    granular: float
    overload: float

    @property
    def distortion(self) -> float:
        """``E(x − x̂)²``; ``1 − 2 correlation + power`` without its cancellation."""
        return self.granular + self.overload

    @property
    def gain(self) -> float:
        """LMMSE gain ``γ = E[x x̂]/E[x̂²]``, ½ in the limit where nothing leaves a zero cell."""
        return self.correlation / self.power if self.power > 0 else 0.5

    @property
    def lmmse_distortion(self) -> float:
        """``E(x − γ x̂)² = 1 − correlation²/power``."""
        if self.distortion > 0.5:  # where the power may be large, and nothing cancels in the formula as it stands
            return 1.0 - self.correlation * self.gain
        return float(column_error(self.distortion, self.correlation, self.power, self.gain))


def column_error(distortion: ArrayLike, correlation: ArrayLike, power: ArrayLike, gain: ArrayLike) -> Float64Array:
    """``E(x − γ x̂)² = 1 − 2γ E[x x̂] + γ² E[x̂²]`` without its cancellation at small steps, from the distortion of γ = 1.

    Parameters
    ----------
    distortion, correlation, power : of `RoundedGaussian`
    gain : γ
    """
    less = 1.0 - np.asarray(gain, dtype=np.float64)
    return np.asarray(distortion + less * (2.0 * np.asarray(correlation) - (2.0 - less) * np.asarray(power)))


def density(x: Float64Array | float) -> Float64Array:
    """``φ(x)`` of a standard normal variable."""
    return np.asarray(np.exp(-0.5 * np.square(x)) / math.sqrt(2.0 * math.pi))


def error_within(low: Float64Array, high: Float64Array, point: Float64Array) -> float:
    """``Σ ∫ (x − q)² φ dx`` over cells, by quadrature: closed forms cancel in narrow cells."""
    reached = low < _REACH
    low, high, point = low[reached], np.minimum(high[reached], _REACH), point[reached]
    pieces = max(1, math.ceil(float((high - low).max(initial=0.0)) / _PIECE))
    half = (high - low) / (2 * pieces)
    centers = low + half * (2 * np.arange(pieces)[:, None] + 1)
    return float(
        sum(
            weight * ((centers + half * node - point) ** 2 * density(centers + half * node) * half).sum()
            for node, weight in zip(_NODES, _WEIGHTS, strict=True)
        )
    )


def error_beyond(edge: float, point: float) -> float:
    """``∫_c^∞ (x − q)² φ dx = (1 + q²) Q(c) + (c − 2q) φ(c)``, from an edge c on."""
    return max(0.0, (1.0 + point**2) * float(ndtr(-edge)) + (edge - 2.0 * point) * float(density(edge)))


def entropy_bits(probabilities: Float64Array) -> float:
    """``−Σ p log2 p``, to some 1e-16: what a p next to 1 adds is smaller than its own rounding."""
    p = probabilities[probabilities > 0]
    return max(0.0, -float((p * np.log2(p)).sum()))


def cell_probabilities(step_over_std: Float64Array | float, cells: int) -> Float64Array:
    """``P(round(x/r) = z)`` for x ~ N(0, 1) and z = 0 … cells − 1, along a last axis, exact to rounding.

    Examples
    --------
    >>> cell_probabilities(1.0, 2).round(4).tolist()
    [0.3829, 0.2417]
    """
    tails = ndtr(-(np.arange(cells + 1) - 0.5) * np.asarray(step_over_std, dtype=np.float64)[..., None])
    return np.concatenate([1.0 - 2.0 * tails[..., 1:2], tails[..., 1:-1] - tails[..., 2:]], axis=-1)


def rounded_gaussian(step_over_std: float, levels: int | None = None) -> RoundedGaussian:
    """Entropy, moments and errors of a standard Gaussian variable rounded to a uniform grid.

    Points are ``r z``, z any integer, or, with K levels, the K points symmetric about zero: zero is one of them if K is odd. Over the
    positive boundaries b between cells, by Abel summation, for an odd or infinite number of points
    ``E[x x̂] = 2 r Σ φ(b_k)``, ``E[x̂²] = 2 r² Σ (2k − 1) Q(b_k)``, ``b_k = (k − ½) r``, k ≥ 1; for an even one
    ``E[x x̂] = r (φ(0) + 2 Σ φ(b_k))``, ``E[x̂²] = r² (¼ + 2 Σ 2k Q(b_k))``, ``b_k = k r``. Beyond the last cell, whose end is c and whose
    point is q, ``∫_c^∞ (x − q)² φ dx = (1 + q²) Q(c) + (c − 2q) φ(c)``.

    As r → 0 without end: H → ½ log2(2πe (1 + r²/12)) − log2 r, correlation → 1, power − 1 and distortion → r²/12. With K levels: distortion
    → 1, H → 1 bit (0 for K = 1). As r → ∞: H → 0, distortion → 1; but for even K, where H → 1 bit and distortion grows as r²/4.

    Parameters
    ----------
    step_over_std : r, positive and finite
    levels : K ≥ 1; None for a grid without end

    Raises
    ------
    UsageError

    References
    ----------
    Max, IRE Trans. Inf. Theory 6 (1960); gains as in WaterSIC, arXiv 2603.04956 v1, section 4 (LMMSE).

    Examples
    --------
    >>> q = rounded_gaussian(1.0)
    >>> round(q.entropy_bits, 3), round(q.gain, 4)
    (2.105, 0.9231)
    >>> round(rounded_gaussian(0.9957, 4).distortion, 6)
    0.118846
    """
    r = float(step_over_std)
    if not 0 < r < math.inf or not (levels is None or (int(levels) == levels and levels >= 1)):
        raise UsageError(
            f"rounded Gaussian: step {step_over_std} of a standard deviation, {levels} levels; expected a positive finite step, and a "
            "positive integer or None"
        )
    if levels is None and r < FINE:
        excess = r * r / 12.0
        entropy = 0.5 * math.log2(2.0 * math.pi * math.e * (1.0 + excess)) - math.log2(r)
        return RoundedGaussian(entropy, 1.0, 1.0 + excess, excess, 0.0)
    even = levels is not None and levels % 2 == 0
    if r > 2.0 * _REACH and not even:
        return RoundedGaussian(0.0, 0.0, 0.0, 1.0, 0.0)
    k = np.arange(1.0, math.ceil(_LAST_BOUNDARY / r) + 2 if levels is None else (levels + 1) // 2)
    boundary = r * (k if even else k - 0.5)
    tail = ndtr(-boundary)
    correlation = r * (2.0 * float(density(boundary).sum()) + (float(density(0.0)) if even else 0.0))
    power = r * r * (2.0 * float(((2.0 * k if even else 2.0 * k - 1.0) * tail).sum()) + (0.25 if even else 0.0))
    beyond = np.append(0.5, tail) if even else tail  # probability beyond the inner end of each cell on the positive side
    entropy = 2.0 * entropy_bits(np.append(beyond[:-1] - beyond[1:], beyond[-1:]))
    if not even and len(tail) and tail[0] < 0.5:
        # the zero cell is nearly certain at large r: −p log2 p from log1p keeps its digits
        entropy -= (1.0 - 2.0 * float(tail[0])) * math.log1p(-2.0 * float(tail[0])) / math.log(2.0)
    points = r * (np.append(0.0, k) + 0.5) if even else r * k
    granular = 2.0 * error_within(points - 0.5 * r, points + 0.5 * r, points)
    if not even:
        granular += 2.0 * error_within(np.zeros(1), np.full(1, 0.5 * r), np.zeros(1))
    last = float(points[-1]) if len(points) else 0.0
    overload = 0.0 if levels is None else 2.0 * error_beyond(last + 0.5 * r, last)
    return RoundedGaussian(entropy, correlation, power, granular, overload)
