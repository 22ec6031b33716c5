"""Distortion of codes of fixed length: scalar grids of K levels on a standard normal variable, at log2 K bits each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.rounded import density, error_beyond, error_within, rounded_gaussian


def _check_levels(levels: int, least: int) -> int:
    if int(levels) != levels or levels < least:
        raise TheoryError(f"grid: {levels} levels, expected an integer of at least {least}")
    return int(levels)


@dataclass(frozen=True)
class GaussianGrid:
    """K equally spaced levels −ρ … ρ for a standard normal variable, rounded to the nearest and clamped.

    Attributes
    ----------
    levels : K
    half_range : ρ
    granular : squared error from |x| ≤ ρ + step/2
    overload : squared error from beyond
    """

    levels: int
    half_range: float
    granular: float
    overload: float

    @property
    def step(self) -> float:
        """``2ρ/(K − 1)``."""
        return 2 * self.half_range / (self.levels - 1)

    @property
    def distortion(self) -> float:
        """``E(x − x̂)²``."""
        return self.granular + self.overload


def uniform_grid(levels: int, half_range: float) -> GaussianGrid:
    """Squared error of K levels −ρ … ρ on a standard normal variable, by quadrature; exact to rounding.

    As ρ → 0 the error is 1, as ρ → ∞ it is unbounded for even K and 1 for odd K, which have a level at zero.

    Parameters
    ----------
    levels : K ≥ 2
    half_range : ρ > 0, in standard deviations; QuIP takes 2.4

    Raises
    ------
    TheoryError
        For K that is no integer from 2 on, or ρ that is not positive and finite.

    References
    ----------
    The grid of QuIP, arXiv 2307.13304, Algorithm 1; the error derived for this project.

    Examples
    --------
    >>> round(uniform_grid(4, 2.4).distortion, 6)
    0.214636
    """
    K, rho = _check_levels(levels, 2), float(half_range)
    if not 0 < rho < math.inf:
        raise TheoryError(f"grid: half-range {half_range}, expected a positive number of standard deviations")
    step = 2 * rho / (K - 1)
    errors = rounded_gaussian(step, K)
    return GaussianGrid(K, rho, errors.granular, errors.overload)


def best_uniform_grid(levels: int) -> GaussianGrid:
    """The half-range ρ of least squared error for K levels: the root of ``dD/dρ``, ``E[x x̂] = E[x̂²]``.

    Parameters
    ----------
    levels : K ≥ 2

    Raises
    ------
    TheoryError
        For K that is no integer from 2 on.

    References
    ----------
    Max, IRE Trans. Inf. Theory 6 (1960), Table II; larger K: Hui and Neuhoff, IEEE Trans. Inf. Theory 47 (2001).

    Examples
    --------
    >>> grid = best_uniform_grid(4)
    >>> round(grid.distortion, 6), round(grid.step, 4), round(grid.half_range, 3)
    (0.118846, 0.9957, 1.494)
    """
    K = _check_levels(levels, 2)

    def excess(rho: float) -> float:
        rounded = rounded_gaussian(2 * rho / (K - 1), K)
        return (rounded.correlation - rounded.power) / rho

    return uniform_grid(K, float(brentq(excess, 0.1, 2 + 2 * math.sqrt(math.log(K)), xtol=1e-14, rtol=1e-14)))


@dataclass(frozen=True, eq=False)
class LloydMax:
    """The K levels of least squared error for a standard normal variable.

    Attributes
    ----------
    levels : (K,) ascending, odd about zero
    boundaries : (K − 1,) halfway between levels
    distortion : E(x − x̂)²
    """

    levels: Float64Array
    boundaries: Float64Array
    distortion: float


def lloyd_max(levels: int) -> LloydMax:
    """Levels that are the means of their cells, boundaries halfway between levels; unique, because the normal distribution is log-concave.

    Newton's method on the positive half from the compander of Panter and Dite, where the equations are tridiagonal; Lloyd's iteration takes
    O(K²) rounds. Distortion 1 for one level, 1 − 2/π for two.

    Parameters
    ----------
    levels : K ≥ 1

    Raises
    ------
    TheoryError
        For K that is no integer from 1 on.

    References
    ----------
    Max, IRE Trans. Inf. Theory 6 (1960), Table I; uniqueness: Fleischer, IEEE Int. Conv. Rec. (1964).

    Examples
    --------
    >>> [round(lloyd_max(K).distortion, 6) for K in (1, 2, 4, 8, 16)]
    [1.0, 0.36338, 0.117482, 0.034548, 0.009501]
    """
    K = _check_levels(levels, 1)
    odd = K % 2
    if K == 1:
        return LloydMax(np.zeros(1), np.zeros(0), 1.0)
    q = math.sqrt(3) * ndtri(0.5 + (np.arange(K // 2) + 0.5 * (1 + odd)) / K)
    for _ in range(100):
        low = np.append(0.5 * odd * q[0], 0.5 * (q[:-1] + q[1:]))
        high = np.append(low[1:], np.inf)
        mass = ndtr(-low) - ndtr(-high)
        at_low = density(low)
        # φ(low) − φ(high) without cancellation
        mean = at_low * -np.expm1(-0.5 * np.append((low[1:] - low[:-1]) * (low[1:] + low[:-1]), np.inf)) / mass
        by_low = 0.5 * at_low * (mean - low) / mass  # half the derivative of the mean of a cell by its boundaries
        by_high = np.append(0.5 * at_low[1:] * (low[1:] - mean[:-1]) / mass[:-1], 0.0)
        by_lower_edge = by_low.copy()
        by_lower_edge[0] *= odd
        matrix = np.stack([np.append(0.0, -by_high[:-1]), 1 - by_lower_edge - by_high, np.append(-by_low[1:], 0.0)])
        change = scipy.linalg.solve_banded((1, 1), matrix, mean - q)
        q = q + change
        if np.abs(change).max() < 1e-12:
            break
    low = np.append(0.5 * odd * q[0], 0.5 * (q[:-1] + q[1:]))
    error = 2 * (error_within(low[:-1], low[1:], q[:-1]) + error_beyond(float(low[-1]), float(q[-1])))
    if odd:
        error += 2 * error_within(np.zeros(1), low[:1], np.zeros(1))
    q = np.concatenate([-q[::-1], np.zeros(odd), q])
    return LloydMax(q, 0.5 * (q[:-1] + q[1:]), error)
