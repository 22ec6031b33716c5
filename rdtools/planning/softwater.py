"""SoftWater: WaterSIC on an output head whose rows have steps by how much their class matters to the prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rdtools.coding import round_to_bfloat16
from rdtools.errors import UsageError
from rdtools.moments.layer import Layer
from rdtools.quantizers import Preparation, Problem, Quantizer, SettledQuantizer, WaterSIC
from rdtools.quantizers.base import Solution
from rdtools.quantizers.settings import is_number
from rdtools.records import RowScales, ScalarSymbols
from rdtools.records.error_models import NoErrorModel
from rdtools.theory.output_head import row_steps, smoothed_variances
from rdtools.transforms import RotationChoice

_NO_CLASSES = "no predictions of classes, which the Hessian of an output head has: equal row steps, as WaterSIC's"


@dataclass(frozen=True, kw_only=True)
class RowStepWaterSIC(WaterSIC):
    """WaterSIC of weights whose rows are divided by steps, which multiply what is decoded.

    Attributes
    ----------
    row_steps : (m,) numbers of bfloat16; None for equal ones
    """

    row_steps: tuple[float, ...] | None = None

    on_device: ClassVar[bool] = False

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return replace(super().preparation, row_steps=self.row_steps)

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        solution = super().solve(problem)
        if self.row_steps is None:
            return replace(solution, note=_NO_CLASSES)
        assert isinstance(solution.symbols, ScalarSymbols)
        grid = replace(solution.symbols.grid, rows=RowScales(np.array(self.row_steps)[:, None]))
        reason = "rows have steps by class, and D counts all rows alike"
        return replace(solution, symbols=replace(solution.symbols, grid=grid), error_model=NoErrorModel(reason=reason))


@dataclass(frozen=True, kw_only=True)
class SoftWater(Quantizer):
    """WaterSIC of an output head with row steps ``β ∝ λ̃^−½``, λ̃ = E[p̃ (1 − p̃)] of predictions smoothed by ε.

    Errors of logits change the prediction by ``KL ≈ ½ Σ_k λ_k E δ_k²``: classes that are never likely may have coarse rows. Steps are
    stored in 16 bits per row. What is small is that KL, not D, which counts all classes alike and is larger than WaterSIC's. Other layers
    than an output head have no classes, and equal steps.

    Attributes
    ----------
    rate_bits : target rate of the integers in bits per active weight
    smoothing : ε, above 0 so that classes that calibration never saw keep a finite step, to 1, at which all steps are equal
    order : in which columns are decided, a name in `rdtools.transforms.orders.ORDERS`
    rotation : of the inputs; None, "hadamard", "haar", "kronecker", or "auto"
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"

    References
    ----------
    SoftWater, arXiv 2608.12026; theory in `rdtools.theory.output_head`.

    Examples
    --------
    The second class is hardly ever likely: its row has a coarser step.

    >>> from rdtools.records import Hessian
    >>> head = Hessian(np.eye(2), 0, output_variances=np.array([0.1, 0.001]), output_means=np.array([0.5, 0.001]))
    >>> settled = SoftWater(rate_bits=3.0).for_layer(Layer.of(np.ones((2, 2)), head))
    >>> settled.row_steps
    (0.78125, 1.2734375)
    """

    smoothing: float = 0.1
    order: str = "natural"
    rotation: RotationChoice | None = None

    heads_alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_number(self.smoothing) and 0 < self.smoothing <= 1):
            raise UsageError(f"SoftWater: smoothing {self.smoothing!r}, expected a number above 0, such as 0.1, to 1")
        self._settled(None)  # which refuses settings that cannot be

    def _settled(self, steps: tuple[float, ...] | None) -> RowStepWaterSIC:
        return RowStepWaterSIC(
            rate_bits=self.rate_bits, order=self.order, rotation=self.rotation, damping=self.damping, backend=self.backend, row_steps=steps
        )

    def for_layer(self, layer: Layer, *, seed: int = 0) -> SettledQuantizer:
        """WaterSIC with the row steps of the layer's classes; with equal ones where it has no classes.

        Raises
        ------
        UsageError
            If the Hessian of an output head has no E[p].
        """
        hessian = layer.hessian
        if hessian.output_variances is None:
            return self._settled(None)
        if hessian.output_means is None:
            raise UsageError(f"{hessian.name}: no mean probability of each output, which smoothing needs; collect the Hessians again")
        steps = row_steps(smoothed_variances(hessian.output_means, hessian.output_variances, self.smoothing))
        return self._settled(tuple(round_to_bfloat16(steps).tolist()))
