"""The half-range ρ of the best uniform grid for a normal variable, at which QuIP's search for the width of its grid starts."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar

from rdtools.rounded import rounded_gaussian


def normal_half_range(levels: int) -> float:
    """The ρ, in standard deviations, at which K levels −ρ … ρ have the least mean squared error on a normal variable.

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

    def error(log_range: float) -> float:
        rounded = rounded_gaussian(2 * math.exp(log_range) / (levels - 1), levels)
        return rounded.granular + rounded.overload

    grid = np.linspace(math.log(0.3), math.log(2 * (2 + 2 * math.sqrt(math.log(levels)))), 40)
    best = int(np.argmin([error(x) for x in grid]))
    bracket = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    return math.exp(minimize_scalar(error, bounds=bracket, method="bounded", options={"xatol": 1e-5}).x)
