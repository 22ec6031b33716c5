"""Rate–distortion bounds by name: no method can do better on weights of the kind that a bound is for.

To add one: an entry of `BOUNDS`; its curve is then tabulated and drawn. A column of its own is a field of `ResultRow`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdtools.compare.facts import LayerFacts
from rdtools.moments.layer import active_columns
from rdtools.moments.per_hessian import per_hessian
from rdtools.moments.spectrum import Eigen, eigendecomposition
from rdtools.records import Hessian
from rdtools.theory.row_covariance import aligned_bias_bits, aligned_variances, covariance_variances, normalized_rows
from rdtools.theory.waterfilling import Components, components, distortion_rate, joint_components, rate_distortion


@dataclass(frozen=True, eq=False)
class Bound:
    """R(D) by reverse waterfilling over independent Gaussian components.

    Attributes
    ----------
    name : of the curve, and the beginning of the columns
    label : in figures
    decoder : what the decoder knows beside the bits
    parts : variances of the components of a layer; None where they cannot be estimated, and the bound is nan, as where H
        has no eigenvalues
    bias : bits per weight that are added to the rate, because the components are estimated from the weights themselves
    """

    name: str
    label: str
    decoder: str
    parts: Callable[[LayerFacts], Components | None]
    bias: Callable[[LayerFacts], float] = lambda facts: 0.0

    def _components(self, facts: LayerFacts) -> Components | None:
        if self.name not in facts.components:
            facts.components[self.name] = self.parts(facts) if facts.spectrum.has_eigenvalues else None
        return facts.components[self.name]

    def rate(self, facts: LayerFacts, distortion: float) -> float:
        """Least rate in bits per weight at a distortion per weight."""
        known = self._components(facts)
        if known is None:
            return math.nan
        rate = float(rate_distortion(distortion, known).rate_bits)
        return rate + self.bias(facts) if rate > 0 else rate

    def distortion(self, facts: LayerFacts, rates: ArrayLike) -> NDArray[np.float64]:
        """Least distortion per weight at rates in bits per weight."""
        known, rates_bits = self._components(facts), np.asarray(rates, dtype=np.float64)
        if known is None:
            return np.full(rates_bits.shape, math.nan)
        return np.asarray(distortion_rate(np.maximum(rates_bits - self.bias(facts), 0.0), known).distortion)


@per_hessian
def _eigen(hessian: Hessian) -> Eigen:
    """Eigenvectors on the active columns; layers of one input share them."""
    return eigendecomposition(hessian.matrix, name=hessian.name)


def _scaled(facts: LayerFacts, variances: NDArray[np.float64]) -> Components:
    """Components of rows of unequal variance; columns that are not active are zeros."""
    active = len(variances) / facts.spectrum.columns
    dead = np.zeros(facts.spectrum.columns - len(variances))
    return joint_components(facts.row_variances, np.concatenate([variances, dead])) if active else components([0.0])


def _aligned(facts: LayerFacts) -> Components | None:
    if facts.row_covariance is None or facts.layer is None:
        return None
    eigen = _eigen(facts.layer.hessian)
    rows = normalized_rows(active_columns(facts.layer.weight, facts.layer.active))
    return _scaled(facts, aligned_variances(rows, eigen.vectors, eigen.values))


def _covariance(facts: LayerFacts) -> Components | None:
    if facts.row_covariance is None or facts.layer is None:
        return None
    eigen = _eigen(facts.layer.hessian)
    return _scaled(facts, covariance_variances(facts.row_covariance.matrix, eigen.vectors, eigen.values))


def _active_share(facts: LayerFacts) -> float:
    return facts.spectrum.active / max(facts.spectrum.columns, 1)


RD_BOUND = Bound(
    "rd_bound",
    "R(D), one variance",
    "H and the mean square of the weights, which are i.i.d. Gaussian",
    lambda facts: components(facts.row.weight_variance * facts.eigenvalues),
)
RD_BOUND_ROWVAR = Bound(
    "rd_bound_rowvar",
    "R(D), row variances",
    "H and the mean square of every row, whose weights are i.i.d. Gaussian",
    lambda facts: joint_components(facts.row_variances, facts.eigenvalues),
)
RD_BOUND_ALIGNED = Bound(
    "rd_bound_aligned",
    "R(D), aligned with H",
    "H, and mean squares of every row and along each eigenvector of H, given which the weights are independent Gaussian",
    _aligned,
    lambda facts: _active_share(facts) * aligned_bias_bits(len(facts.row_variances)),
)
RD_BOUND_COVARIANCE = Bound(
    "rd_bound_covariance",
    "R(D), covariance of rows",
    "H, the mean square of every row, and the covariance of the rows, which are Gaussian; estimated from above by held-out rows",
    _covariance,
    lambda facts: 0.0 if facts.row_covariance is None else _active_share(facts) * facts.row_covariance.excess_bits,
)
#: Name → bound.
BOUNDS = {bound.name: bound for bound in (RD_BOUND, RD_BOUND_ROWVAR, RD_BOUND_ALIGNED, RD_BOUND_COVARIANCE)}
