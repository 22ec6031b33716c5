"""The width of QuIP's grid.

The grid has K levels from −ρ to ρ times the root mean square of the weights. Weights are one thing and what is rounded another: feedback
adds the errors of later columns to a column, so that the targets are wider than the weights, and what a code cannot reach is fed back to
the columns that remain. ρ has to suit the targets. QuIP takes 2.4 at every rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtr

from rdtools.arrays import Float64Array
from rdtools.errors import RateUnreachable, ShapeMismatch, UsageError

#: Variance of the targets, in that of the weights, beyond which feedback counts as running away.
_WIDEST = 100.0


def feedback_gain(
    factor: Float64Array,  # (n, n), lower triangular
) -> float:
    """``κ = ‖diag(L) L⁻¹‖_F²/n − 1``: how much of the variance of the rounding errors feedback adds to the variance of the targets.

    With ``H = L Lᵀ`` the targets exceed the weights by ``η (I − diag(L) L⁻¹)``, η the errors of the roundings themselves. κ = 0 for a
    diagonal H. It is no function of tr D/tr H: for rotated matrices of 512 columns, with 1 % of damping, it is .15, .29 and 1.34 where
    tr D/tr H is .88 (Wishart of 4n samples), .42 (eigenvalues 1/k) and .29 (eigenvalues e^{−8k/n}).

    Examples
    --------
    >>> feedback_gain(np.array([[2.0, 0.0], [1.0, 1.0]]))
    0.125
    """
    if len(factor) == 0:
        return 0.0
    inverse, info = scipy.linalg.lapack.dtrtri(factor.T, lower=0)
    if info:
        raise ShapeMismatch(f"feedback_gain: factor {factor.shape}, expected (n, n) with a positive diagonal")
    rows = np.square(np.triu(inverse)).sum(axis=0)  # of L⁻¹, whose transpose this is
    return float(rows @ np.diagonal(factor) ** 2) / len(factor) - 1.0


@dataclass(frozen=True)
class HalfRange:
    """A grid of K levels −ρ … ρ, and what it does to targets that feedback has widened; for weights of mean square 1.

    Attributes
    ----------
    half_range : ρ
    input_variance : v, of the targets
    granular : squared error from targets within half a step of the grid
    overload : squared error from targets beyond
    """

    half_range: float
    input_variance: float
    granular: float
    overload: float

    @property
    def error(self) -> float:
        """Mean squared error of the roundings themselves; times tr D/tr H it is the loss relative to that of all weights zero."""
        return self.granular + self.overload


def _density(x: Float64Array | float) -> Float64Array:
    return np.asarray(np.exp(-0.5 * np.square(x)) / math.sqrt(2 * math.pi))


def _errors(levels: int, half_range: float, variance: float) -> tuple[float, float]:
    """Granular and overload error of K levels −ρ … ρ for N(0, v); exact but for cancellation, some 1e-16 v."""
    rho = half_range / math.sqrt(variance)
    step = 2 * rho / (levels - 1)
    even = levels % 2 == 0
    # over the boundaries b between levels, by Abel summation: E[x x̂] = step Σ φ(b), E[x̂²] as a sum over tails
    j = np.arange(1, (levels + 1) // 2, dtype=np.float64)
    b = step * (j if even else j - 0.5)
    correlation = step * (2 * float(_density(b).sum()) + (float(_density(0.0)) if even else 0.0))
    power = step**2 * (2 * float(((2 * j if even else 2 * j - 1) * ndtr(-b)).sum()) + (0.25 if even else 0.0))
    edge = rho + 0.5 * step
    overload = 2 * ((1 + rho**2) * float(ndtr(-edge)) + (edge - 2 * rho) * float(_density(edge)))
    return variance * (1 - 2 * correlation + power - overload), variance * overload


def _at(levels: int, half_range: float, gain: float) -> HalfRange | None:
    """The least fixed point of ``v = 1 + κ D(v)``; None if there is none below _WIDEST."""

    def excess(variance: float) -> float:
        return variance - 1.0 - gain * sum(_errors(levels, half_range, variance))

    lower = 1.0
    while lower < _WIDEST:
        upper = 1.1 * lower
        if excess(upper) >= 0:
            variance = float(brentq(excess, lower, upper, xtol=1e-12)) if gain else 1.0
            return HalfRange(half_range, variance, *_errors(levels, half_range, variance))
        lower = upper
    return None


def predicted_half_range(levels: int, gain: float = 0.0) -> HalfRange:
    """The half-range of least loss for normal weights under successive cancellation whose codes are clamped.

    The targets are taken to be normal with one variance for all columns, and the rounding errors to be uncorrelated: with D(v; ρ) the
    squared error of the grid for N(0, v), granular and overload,

        v = 1 + κ D(v; ρ),   loss = (tr D/tr H) · D(v; ρ),

    and ρ minimises the second where v is a fixed point of the first. Without feedback, κ = 0, it is the best uniform grid for a normal
    variable. It is exact neither where columns differ (the last ones are given bare weights) nor where overload, which is correlated, is
    most of the error; ρ suffers little from either. What it does suffer from are weights that are not normal, or whose energy follows H:
    then a search on rows of the weights sees what is there, as that of `rdtools.quantizers.methods.quip`.

    Parameters
    ----------
    levels : K ≥ 2
    gain : κ, see `feedback_gain`

    Raises
    ------
    UsageError
    RateUnreachable
        If so few levels let the targets run away at every half-range: about where κ times their least squared error reaches 1.

    References
    ----------
    Derived for this project. QuIP, arXiv 2307.13304, Algorithm 1, takes ρ = 2.4.

    Examples
    --------
    >>> [round(predicted_half_range(2**bits).half_range, 2) for bits in (2, 3, 4)]
    [1.49, 2.05, 2.51]
    >>> round(predicted_half_range(4, 1.34).half_range, 2)
    1.63
    """
    if int(levels) != levels or levels < 2 or not 0 <= gain < math.inf:
        raise UsageError(f"half-range: {levels} levels, gain {gain}; expected an integer of at least 2, and a finite number of at least 0")
    K = int(levels)

    def error(log_range: float) -> float:
        found = _at(K, math.exp(log_range), gain)
        return math.inf if found is None else found.error

    # up to the widest that is worth while without feedback, times √v up to 4
    grid = np.linspace(math.log(0.3), math.log(2 * (2 + 2 * math.sqrt(math.log(K)))), 40)
    errors = [error(x) for x in grid]
    best = int(np.argmin(errors))
    if errors[best] == math.inf:
        raise RateUnreachable(
            f"{K} levels with a feedback gain of {gain:.3g}: the errors fed back widen the targets without end at every half-range; "
            "use more levels, or damp the Hessian more"
        )
    bracket = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    # a parabola cannot go through an infinite value; errors that are not are below this one
    polished = minimize_scalar(lambda x: min(error(x), _WIDEST), bounds=bracket, method="bounded", options={"xatol": 1e-5})
    found = _at(K, math.exp(polished.x), gain)
    assert found is not None  # next to a finite minimum
    return found
