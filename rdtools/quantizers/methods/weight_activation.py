"""Weights on grids of rows beside activations on a grid per token: round to nearest and GPTQ, rotated or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

from rdtools.arrays import Float64Array
from rdtools.errors import RateUnreachable, UsageError
from rdtools.moments.layer import Layer
from rdtools.quantizers.activations import ActivationQuantizer, basis_map
from rdtools.quantizers.base import Solution
from rdtools.quantizers.grids.row import RangeRule
from rdtools.quantizers.methods.gptq import GPTQ
from rdtools.quantizers.methods.row_grids import RowGridQuantizer
from rdtools.quantizers.methods.rtn import RTN
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.settings import RoundingRule, check_choice
from rdtools.records import ActivationMoments, InputMap, LayerParts
from rdtools.transforms import RotationChoice

#: Bits of weights that are stored as they are, in practice: no level of their grid is further than 2^-16 of the range.
_WIDE = 16.0


class _WideRTN(RTN):
    max_rate_bits: ClassVar[float] = _WIDE


class _WideGPTQ(GPTQ):
    max_rate_bits: ClassVar[float] = _WIDE


_WEIGHTS: dict[str, type[RowGridQuantizer]] = {"nearest": _WideRTN, "feedback": _WideGPTQ}


@dataclass(frozen=True, kw_only=True)
class WeightActivation(ActivationQuantizer):
    """Weights rounded to symmetric grids of rows, beside activations that are rounded per token while the model runs.

    ``y = Ŵ Q(T x)`` with T the rotation, if any. The weights are made as if activations were not quantized, as in QuaRot: for the target
    W under the Hessian of x. Activations are not stored; their bits are in columns of their own and no part of the rate.

    Distortion: that of Ŵ, plus ``Σ_j (E[Δ²]/12) ‖ŵ_j‖²/(m n)`` by the uniform-noise model, see `rdtools.theory.activation`.

    Attributes
    ----------
    rate_bits : of the integers, must be `weight_bits`
    weight_bits : b_w; 16 stands for weights that are not quantized
    rounding : "nearest", or "feedback" as GPTQ
    range_rule : "absmax", or "mse" for ranges shrunk to the least error of each row
    rotation : of inputs; None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists, else Haar; the row says which)
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"

    References
    ----------
    QuaRot, arXiv 2404.00456, with a rotation and feedback, every input rotated online on its own.
    """

    weight_bits: int = 4
    rounding: RoundingRule = "feedback"
    range_rule: RangeRule = "mse"
    rotation: RotationChoice | None = None

    max_rate_bits: ClassVar[float] = _WIDE

    def __post_init__(self) -> None:
        check_choice(f"{type(self).__name__}: rounding", self.rounding, get_args(RoundingRule))
        if not (isinstance(self.weight_bits, int) and 2 <= self.weight_bits <= _WIDE):
            raise UsageError(f"weight_bits {self.weight_bits!r}: expected a whole number from 2 to {_WIDE:g}")
        super().__post_init__()
        _ = self.weights  # which refuses settings that cannot be

    @property
    def weights(self) -> RowGridQuantizer:
        """The method that rounds the weights."""
        return _WEIGHTS[self.rounding](
            rate_bits=float(self.weight_bits), damping=self.damping, backend=self.backend, rotation=self.rotation,
            range_rule=self.range_rule,
        )  # fmt: skip

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return self.weights.preparation

    @property
    def calls_kernels(self) -> bool:
        """False if NumPy alone decides the integers, whatever the backend."""
        return self.weights.calls_kernels

    def check_reachable(self, name: str) -> None:
        """Refuse a rate other than the bits of the weights; see `Quantizer.check_reachable`."""
        if self.rate_bits != self.weight_bits:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: its weights have {self.weight_bits}; ask for that"
            )

    def map_key(self, *, seed: int) -> str:
        """The rotation, and the seed where there is one; see `ActivationQuantizer`."""
        return "identity" if self.rotation is None else f"{self.rotation} of seed {seed}"

    def choose_map(self, layers: Sequence[Layer], sample: Float64Array | None, *, seed: int) -> InputMap:
        """Active channels, rotated; see `ActivationQuantizer`."""
        return basis_map(layers[0], self.preparation, seed=seed)

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        return self.weights.solve(problem)

    def solve_beside(self, problem: Problem, activations: ActivationMoments) -> Solution:
        """Quantize a prepared layer whose activations are quantized."""
        return replace(self.weights.solve(problem), parts=LayerParts(activations.grid))
