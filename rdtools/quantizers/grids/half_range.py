"""The half-range ρ of the best uniform grid for a normal variable, at which QuIP's search for the width of its grid starts."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from rdtools.arrays import Float64Array


def _density(x: Float64Array | float) -> Float64Array:
    return np.asarray(np.exp(-0.5 * np.square(x)) / math.sqrt(2 * math.pi))


def grid_error(levels: int, half_range: float) -> float:
    """Mean squared error of K levels −ρ … ρ for N(0, 1), granular and overload; exact but for cancellation, some 1e-16."""
    rho = half_range
    step = 2 * rho / (levels - 1)
    even = levels % 2 == 0
    # over the boundaries b between levels, by Abel summation: E[x x̂] = step Σ φ(b), E[x̂²] as a sum over tails
    j = np.arange(1, (levels + 1) // 2, dtype=np.float64)
    b = step * (j if even else j - 0.5)
    correlation = step * (2 * float(_density(b).sum()) + (float(_density(0.0)) if even else 0.0))
    power = step**2 * (2 * float(((2 * j if even else 2 * j - 1) * ndtr(-b)).sum()) + (0.25 if even else 0.0))
    return 1 - 2 * correlation + power


def normal_half_range(levels: int) -> float:
    """The ρ of least `grid_error`, in standard deviations.

    Feedback widens what is rounded, and weights need not be normal: both move the best ρ, which is then searched on rows of the weights.

    Parameters
    ----------
    levels : K ≥ 2

    References
    ----------
    QuIP, arXiv 2307.13304, Algorithm 1, takes ρ = 2.4 at every rate.

    Examples
    --------
    >>> [round(normal_half_range(2**bits), 2) for bits in (2, 3, 4)]
    [1.49, 2.05, 2.51]
    """
    grid = np.linspace(math.log(0.3), math.log(2 * (2 + 2 * math.sqrt(math.log(levels)))), 40)
    best = int(np.argmin([grid_error(levels, math.exp(x)) for x in grid]))
    bracket = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(lambda x: grid_error(levels, math.exp(x)), bounds=bracket, method="bounded", options={"xatol": 1e-5})
    return math.exp(found.x)
