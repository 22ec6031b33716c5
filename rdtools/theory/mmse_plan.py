"""Best ridge, column order and step scale of successive cancellation at a rate: by prediction, with nothing quantized.

See `rdtools.theory.mmse_sic`. What was tried beside them and left out, on Hessians of small trained models: steps, ridges and gains of each
column by gradient descent through the prediction gain less than 0.005 bit at 1 bit and 0.003 at 1.5; a dead zone gains nothing, since steps
wide against what is rounded are one already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import NotPositiveSemidefinite, TheoryError
from rdtools.linalg import cholesky, symmetric_eigenvalues
from rdtools.theory.finite_rate import FiniteRatePoint
from rdtools.theory.mmse_sic import water_level_ridge, watersic_at_rate
from rdtools.theory.waterfilling import Components, components, rate_distortion

Order = NDArray[np.intp]

#: Ridge in units of τ/σ². From 1 to 5 bits everything between 1.5 and 2 is within 0.01 bit of the best on the Hessians of small trained
#: models; strongly coloured synthetic ones want up to 2.5 at 1 bit.
DEFAULT_RELATIVE_RIDGE = 1.6
#: The same with a channel: a trellis shapes its cells, and `2πe/12` becomes a number next to 1.
DEFAULT_SHAPED_RIDGE = 1.2
#: Ridges that the search looks at, over the default, before the vertex of the parabola through them.
_RIDGE_RATIOS = (0.7, 1.0, 1.4)
#: The vertex is looked for within this factor of the default. Farther out, at 1 bit on strongly coloured moments, what is rounded depends
#: on few neighbours and is no longer normal: a ridge of 3.2 chosen by prediction was 0.015 bit worse than predicted.
_MAX_RATIO = 1.6
#: Up to this many columns ridge and order are searched for, in some 20 recursions; beyond, the default ridge and the first order are taken,
#: in 5. The search gains less than 0.005 bit, and takes 6 seconds of a core at 2048 columns and 55 at 4096: several times a quantization.
SEARCH_COLUMNS = 1024
#: Error of a rate while candidates are compared, each by the gap at its own rate, bits.
_COARSE = 0.02
#: Error of the rate in the end, bits.
_TOLERANCE = 1e-7


@dataclass(frozen=True)
class MmseSicPlan:
    """Settings of successive cancellation, and what is predicted of them.

    Attributes
    ----------
    order_name, order : which of the orders given, and its permutation p: the problem is solved on ``H[p][:, p]``
    relative_ridge : f
    ridge : ``μ = f τ/σ²``, absolute; 0 if WaterSIC itself is predicted to be best
    scale : c of the steps ``α_i = c/ℓ_ii``
    steps : (n,) α, in this order
    gains : (n,) reconstruction gains, in this order; 1 with a ridge
    gap_bits : predicted rate above R(D) at the predicted distortion
    point : the prediction, columns in this order
    """

    order_name: str
    order: Order
    relative_ridge: float
    ridge: float
    scale: float
    steps: Float64Array
    gains: Float64Array
    gap_bits: float
    point: FiniteRatePoint


@dataclass(frozen=True)
class _Problem:
    """H and its limit; what is asked of every candidate."""

    moment: Float64Array
    variance: float
    rate_bits: float
    limit: Components
    channel: Float64Array | None

    @property
    def default_ridge(self) -> float:
        """Relative ridge to begin with."""
        return DEFAULT_RELATIVE_RIDGE if self.channel is None else DEFAULT_SHAPED_RIDGE

    def solve(
        self,
        name: str,
        order: Order,
        relative_ridge: float,
        *,
        lmmse: bool = False,
        guess: float | None = None,
        tolerance: float = _TOLERANCE,
    ) -> MmseSicPlan:
        """The plan with these settings, at the target rate up to the tolerance."""
        ridge = relative_ridge * water_level_ridge(self.limit, self.variance, self.rate_bits)

        def penalized() -> Float64Array:
            A = self.moment[np.ix_(order, order)]
            A[np.diag_indices(len(A))] += ridge
            return A

        L = cholesky(penalized, damping=0.0).lower
        c, point = watersic_at_rate(
            L, self.variance, self.rate_bits, ridge=ridge, lmmse=lmmse, guess=guess, tolerance=tolerance, channel=self.channel
        )
        gap = point.rate_bits - float(rate_distortion(point.distortion, self.limit).rate_bits)
        return MmseSicPlan(name, order, relative_ridge, ridge, c, c / np.diagonal(L), point.gains, gap, point)


def plan_mmse_sic(
    moment: Float64Array,  # (n, n)
    variance: float,
    rate_bits: float,
    *,
    orders: Mapping[str, Order] | None = None,
    eigenvalues: Float64Array | None = None,  # (n,)
    channel: Float64Array | None = None,  # (K, 4)
) -> MmseSicPlan:
    """Ridge, column order and step scale of least predicted distortion at a rate, for weights iid N(0, σ²).

    The order is chosen at the default ridge, then the ridge by a parabola through the gaps at three. WaterSIC (no ridge, natural order,
    with and without gains) is a candidate as well, so that the plan is never predicted to be worse; it is left out where H is
    singular. Above SEARCH_COLUMNS columns nothing is searched but the scale, at DEFAULT_RELATIVE_RIDGE and in the first order.

    Parameters
    ----------
    moment : H of the active columns, undamped
    variance : σ²
    rate_bits : bits per active weight, positive
    orders : permutations by name, the first taken where there is no search; by default the largest diagonal entry decided last, and natural
    eigenvalues : of H, if at hand
    channel : of a trellis, as in `rdtools.theory.finite_rate.sic_at_finite_rate`, whose columns have no gains; None for scalar quantizers

    Raises
    ------
    TheoryError
        For a rate or variance that is not positive, or no orders.
    NotPositiveSemidefinite
        If H has an eigenvalue well below zero.

    Examples
    --------
    Two columns with correlation 0.9 at 1.5 bits; WaterSIC with its gains is 0.353 bit from R(D).

    >>> plan = plan_mmse_sic(np.array([[1.0, 0.9], [0.9, 1.0]]), 1.0, 1.5)
    >>> round(plan.gap_bits, 3), round(plan.relative_ridge, 1)
    (0.296, 1.9)
    """
    natural = np.arange(len(moment))
    if orders is None:
        orders = {"reversed-act-order": np.argsort(-np.diagonal(moment), kind="stable"), "natural": natural}
    if not (rate_bits > 0 and variance > 0 and orders):
        raise TheoryError(f"mmse-sic: rate {rate_bits}, variance {variance}, {len(orders)} orders; expected all above 0")
    values = symmetric_eigenvalues(moment) if eigenvalues is None else eigenvalues
    problem = _Problem(moment, variance, rate_bits, components(variance * np.maximum(values, 0.0)), channel)
    if len(moment) > SEARCH_COLUMNS:
        name, order = next(iter(orders.items()))
        return problem.solve(name, order, problem.default_ridge)
    by_order = [problem.solve(name, order, problem.default_ridge, tolerance=_COARSE) for name, order in orders.items()]
    # the first of equals: at high rate the order does not matter, and rounding should not decide
    chosen = min(by_order, key=lambda plan: round(plan.gap_bits, 6))
    best = _best_ridge(problem, chosen)
    for lmmse in (True, False) if channel is None else (False,):
        try:
            plain = problem.solve("natural", natural, 0.0, lmmse=lmmse, tolerance=_COARSE)
        except NotPositiveSemidefinite:
            break
        if plain.gap_bits < best.gap_bits + _COARSE:
            plain = problem.solve("natural", natural, 0.0, lmmse=lmmse, guess=plain.scale)
            best = min(best, plain, key=lambda plan: plan.point.distortion)
    return best


def _best_ridge(problem: _Problem, at_default: MmseSicPlan) -> MmseSicPlan:
    """The best of three ridges and the vertex of the parabola through their gaps over log f, in one order and at the very rate."""
    name, order, c = at_default.order_name, at_default.order, at_default.scale
    ridges = problem.default_ridge * np.array(_RIDGE_RATIOS)
    gaps = [
        at_default.gap_bits if ratio == 1 else problem.solve(name, order, float(f), guess=c, tolerance=_COARSE).gap_bits
        for ratio, f in zip(_RIDGE_RATIOS, ridges, strict=True)
    ]
    curvature, slope, _ = np.polyfit(np.log(_RIDGE_RATIOS), gaps, 2)
    lowest = float(ridges[int(np.argmin(gaps))])
    if curvature > 0:
        vertex = problem.default_ridge * float(np.clip(math.exp(-slope / (2 * curvature)), 1 / _MAX_RATIO, _MAX_RATIO))
        plans = [problem.solve(name, order, f, guess=c) for f in (vertex, lowest)]
        return min(plans, key=lambda plan: plan.point.distortion)
    return problem.solve(name, order, lowest, guess=c)
