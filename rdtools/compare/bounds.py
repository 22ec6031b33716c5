"""Rate–distortion bounds by name: no method can do better on weights of the kind that a bound is for.

To add one: an entry of `BOUNDS`; its curve is then tabulated and drawn. A column of its own is a field of `ResultRow`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdtools.compare.facts import LayerFacts
from rdtools.theory.waterfilling import Components, components, distortion_rate, joint_components, rate_distortion


@dataclass(frozen=True, eq=False)
class Bound:
    """R(D) by reverse waterfilling over independent Gaussian components.

    Attributes
    ----------
    name : of the curve, and the beginning of the columns
    label : in figures
    decoder : what the decoder knows beside the bits
    parts : variances of the components of a layer
    """

    name: str
    label: str
    decoder: str
    parts: Callable[[LayerFacts], Components]

    def _components(self, facts: LayerFacts) -> Components:
        if self.name not in facts.components:
            facts.components[self.name] = self.parts(facts)
        return facts.components[self.name]

    def rate(self, facts: LayerFacts, distortion: float) -> float:
        """Least rate in bits per weight at a distortion per weight."""
        return float(rate_distortion(distortion, self._components(facts)).rate_bits)

    def distortion(self, facts: LayerFacts, rates: ArrayLike) -> NDArray[np.float64]:
        """Least distortion per weight at rates in bits per weight."""
        return np.asarray(distortion_rate(rates, self._components(facts)).distortion)


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
#: Name → bound.
BOUNDS = {bound.name: bound for bound in (RD_BOUND, RD_BOUND_ROWVAR)}
