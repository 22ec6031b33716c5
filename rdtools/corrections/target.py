"""The weights and the Hessian that a quantizer is given in place of a layer's own: drift, residual stream and dead features."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.linalg import cholesky
from rdtools.moments.layer import Layer
from rdtools.quantizers.problem import cross_target
from rdtools.records import Hessian, InputMoments, LayerKey
from rdtools.records.stored import finished

#: Share of the median energy below which an input is dead. The median, because gated inputs have outliers, next to whose mean most
#: others would look dead.
DEAD = 1e-3
#: δ relative to the mean diagonal, where the quantizer has none of its own: WaterSIC's. Without it directions that hardly occur would get
#: weights that fit the noise of the sample.
DAMPING = 1e-4


@dataclass(frozen=True, eq=False)
class CorrectedInput:
    """An input as the quantizers of its layers are given it.

    With x̂ in place of x, and d = r − r̂ what the residual stream lacks, the quantizer is to minimize

        E‖W x + d − V x̂‖² + δ ‖W − V‖²  =  tr((T − V) (Σ_x̂ + δI) (T − V)ᵀ) + constant,
        T = (W (Σ_xx̂ + δI) + E[d x̂ᵀ]) (Σ_x̂ + δI)⁻¹  =  W + (W (Σ_xx̂ − Σ_x̂) + E[d x̂ᵀ]) (Σ_x̂ + δI)⁻¹

    which is the plain problem for weights T under Σ_x̂: whatever a method does with a ridge, an order or a rotation, it does to that. The
    second form is exactly W without drift. Of dead inputs columns are left out of Σ_x̂, and T has the least-squares share of their weights.

    Attributes
    ----------
    moments : of x and x̂, weighted and mixed if they are to be
    names : of the corrections that are on; those that are not here do nothing
    damping : δ relative to the mean diagonal of Σ_x̂ over the inputs that are coded

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4 and appendix C.
    """

    moments: InputMoments
    names: Collection[str]
    damping: float = DAMPING

    @cached_property
    def coded(self) -> NDArray[np.bool_]:
        """(n,) inputs that are neither always zero nor, with the correction, dead."""
        alive = np.diagonal(self.moments.actual) > 0
        if "dead" not in self.names:
            return alive
        energies = np.diagonal(self.moments.reference)
        return alive & (energies >= DEAD * np.median(energies))

    @cached_property
    def hessian(self) -> Hessian:
        """Σ_x̂, with zeros in place of what dead inputs have: one record, so that layers of the input share its factor."""
        moments, coded = self.moments, self.coded
        alive = np.diagonal(moments.actual) > 0
        matrix = moments.actual if np.array_equal(coded, alive) else finished(moments.actual * np.outer(coded, coded))
        mean = moments.mean if moments.actual is moments.reference else None  # of x̂ it is not known
        return Hessian(matrix, moments.tokens, moments.dropped_tokens, moments.name, mean, moments.distinct_tokens)

    @cached_property
    def _factor(self) -> Float64Array:
        lower: Float64Array = cholesky(
            self.moments.actual[np.ix_(self.coded, self.coded)], damping=self.damping, name=self.moments.name
        ).lower
        return lower

    def target(self, weight: Float64Array) -> Float64Array:
        """T (m, n); W itself where nothing changes it, and in columns that are not coded.

        Parameters
        ----------
        weight : W (m, n)
        """
        moments, coded = self.moments, self.coded
        drift = "drift" in self.names
        cross = moments.cross if drift else moments.actual
        difference = cross[:, coded] - np.where(coded[:, None], moments.actual[:, coded], 0.0)
        shared = weight @ difference
        if "residual" in self.names and moments.residual is not None:
            shared = shared + moments.residual[:, coded]
        if not shared.any():
            return weight
        target = np.array(weight)
        target[:, coded] += cross_target(shared, self._factor)
        return finished(target)

    def layer(self, key: LayerKey, weight: Float64Array) -> Layer:
        """The layer that the quantizer is given."""
        return Layer(key, self.target(weight), self.hessian)
