"""Normal variables and gains to the same bits on every machine.

A decoder must rebuild the encoder's probabilities and gains exactly. Library ``exp`` and ``erf`` differ between machines in the last bit,
so everything that a decoder computes from a stored number goes through here: only IEEE addition, multiplication and division, in order.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array

ERF_COEFFICIENTS = (0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638)
SQRT_HALF = float(Fraction(6369051672525773, 9007199254740992))  # nearest double to √½
_INVERSE_SQRT_TWO_PI = 1.0 / (2.0 * math.pi) ** 0.5  # the square root is correctly rounded everywhere

#: Terms of `lmmse_gain`, and the ratios of step to standard deviation between which it sums them; part of the container format. At 0.25
#: boundary 40 is 9.9 standard deviations out.
GAIN_TERMS = 40
GAIN_RANGE = (0.25, 8.0)


def normal_cdf(x: Float64Array) -> Float64Array:
    """Standard normal distribution function, absolute error below 1.5e-7, monotone, the same bits everywhere.

    ``erf(u) ≈ 1 − (1 + a₁u + … + a₆u⁶)⁻¹⁶`` for u ≥ 0.

    References
    ----------
    Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 7.1.28.
    """
    u = np.abs(x) * SQRT_HALF
    power = ERF_COEFFICIENTS[-1] * u
    for a in reversed(ERF_COEFFICIENTS[:-1]):  # in place: entropy models are fitted by thousands of short calls
        power += a
        power *= u
    power += 1.0
    with np.errstate(over="ignore"):  # far tail: the power overflows and its inverse is the right zero
        for _ in range(4):
            power *= power
    half_tail = 0.5 / power
    return np.where(x < 0, half_tail, 1.0 - half_tail)


def _exp_minus(u: Float64Array) -> Float64Array:
    """``exp(−u)`` for u ≥ 0: a Taylor polynomial at u/2¹⁰, squared ten times; relative error below 1e-12 for u < 100."""
    v = -np.minimum(u, 700.0) / 1024.0
    series = np.ones_like(v)
    for k in range(8, 0, -1):
        series = 1.0 + series * v / k
    with np.errstate(under="ignore"):
        for _ in range(10):
            series = series * series
    return series


def normal_density(x: Float64Array) -> Float64Array:
    """Standard normal density, relative error below 1e-11 for |x| < 14, the same bits everywhere."""
    return np.asarray(_INVERSE_SQRT_TWO_PI * _exp_minus(0.5 * (x * x)))


def cell_probability(z: NDArray[np.generic], std: Float64Array) -> Float64Array:
    """``P(round(y) = z)`` for y ~ N(0, std²), the same bits everywhere; arrays that broadcast.

    Both boundaries are taken on the negative side, where the distribution function is accurate.
    """
    distance = np.abs(z)
    boundaries = np.empty((2, *np.broadcast_shapes(np.shape(z), np.shape(std))))
    np.divide(0.5 - distance, std, out=boundaries[0, ...])
    np.divide(-0.5 - distance, std, out=boundaries[1, ...])
    cdf = normal_cdf(boundaries)
    probability: Float64Array = cdf[0] - cdf[1]
    return probability


def lmmse_gain(step_over_std: Float64Array) -> Float64Array:
    """Gain γ of the linear minimum-mean-square-error reconstruction ``γ Δ z`` of a uniformly quantized normal variable, as files have it.

    Files of rdtools 0.1 are decoded with it, so its errors stay: up to 1e-5 below r = 4, 2e-3 at r = 8 and 0.02 at r = 16.
    `rdtools.rounded.RoundedGaussian.gain` is exact to rounding. With z = round(y/Δ), y ~ N(0, σ²) and r = Δ/σ:
    ``γ = E[y z] / (Δ E[z²]) = Σ_{k≥1} φ((k−½) r) / (r Σ_{k≥1} (2k−1) Q((k−½) r))``, Q the upper tail.

    Both sums are over boundaries between cells: by Abel summation ``E[y z] = 2σ Σ_k φ((k−½)r)`` and
    ``E[z²] = 2 Σ_k (2k−1) Q((k−½) r)``.

    Parameters
    ----------
    step_over_std : any shape, r > 0. Below r = 0.25 the expansion 1/(1 + r²/12), exact to O(r⁴·e^{−2π²/r²}), is used; above
        r = 8, where virtually no sample leaves the zero cell, the gain of r = 8.

    Returns
    -------
    float64 array of the same shape in (0.5, 1].

    References
    ----------
    The gain is E[y z]/(Δ E[z²]) of WaterSIC (2603.04956 v1, section 4, LMMSE correction) evaluated for a normal distribution.

    Examples
    --------
    >>> [round(float(g), 4) for g in lmmse_gain(np.array([0.5, 1.0, 2.0, 4.0]))]
    [0.9796, 0.9231, 0.7572, 0.5933]
    """
    r = np.asarray(step_over_std, dtype=np.float64)
    inner = np.clip(r, *GAIN_RANGE)
    numerator = np.zeros_like(inner)
    denominator = np.zeros_like(inner)
    for k in range(1, GAIN_TERMS):
        boundary = (k - 0.5) * inner
        numerator = numerator + normal_density(boundary)
        denominator = denominator + (2 * k - 1) * normal_cdf(-boundary)
    return np.where(r < GAIN_RANGE[0], 1.0 / (1.0 + r * r / 12.0), numerator / (inner * denominator))


def _upper_tail(x: Float64Array) -> Float64Array:
    """``1 − Φ(x)`` for x ≥ 0, the same bits everywhere; relative error below 1e-5, by Laplace's fraction from x = 2 on."""
    fraction = np.maximum(x, 2.0)
    for k in range(60, 0, -1):
        fraction = np.maximum(x, 2.0) + k / fraction
    return np.where(x < 2.0, normal_cdf(-x), normal_density(x) / fraction)


@lru_cache(maxsize=1)
def gain_table() -> Float64Array:
    """(2, K) ``E[z²]``, ascending from 2e-9 to 16, and the LMMSE gain, for steps from 12 standard deviations down to a quarter of one."""
    r = 12.0 - np.arange(12 * 64 - 15) / 64.0
    squares, densities = np.zeros_like(r), np.zeros_like(r)
    for k in range(1, GAIN_TERMS):
        boundary = (k - 0.5) * r
        squares = squares + (4 * k - 2) * _upper_tail(boundary)
        densities = densities + 2.0 * normal_density(boundary)
    return np.stack([squares, densities / (r * squares)])


def gain_of_mean_square(mean_square: Float64Array) -> Float64Array:
    """LMMSE gain γ of a normal variable, of unknown variance, from the mean square of its rounding ``z = round(y/Δ)``.

    ``γ = E[y z]/(Δ E[z²])`` at the variance whose ``E[z²]`` it is: ``1 − 1/(12 E[z²])`` for small steps, towards ½ for large ones. A
    decoder that has the integers of a column needs nothing else to know the column's own gain. The same bits everywhere; error below 3e-5.

    Parameters
    ----------
    mean_square : any shape, ≥ 0; below 2e-9 the gain is that of 2e-9

    Examples
    --------
    >>> gain_of_mean_square(np.array([0.0, 0.31, 1.08, 100.0])).round(3).tolist()
    [0.513, 0.749, 0.923, 0.999]
    """
    q = np.asarray(mean_square, dtype=np.float64)
    squares, gains = gain_table()
    inner = np.clip(q, squares[0], squares[-1])
    right = np.clip(np.searchsorted(squares, inner), 1, len(squares) - 1)
    part = (inner - squares[right - 1]) / (squares[right] - squares[right - 1])
    between = gains[right - 1] + part * (gains[right] - gains[right - 1])
    return np.where(q > squares[-1], 1.0 - 1.0 / (12.0 * np.maximum(q, 1.0)), between)
