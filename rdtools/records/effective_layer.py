"""The layer that a user runs in place of the original one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.linalg import check_weight
from rdtools.records.activation_grid import ActivationGrid
from rdtools.records.input_map import InputMap
from rdtools.records.low_rank import LowRank
from rdtools.records.row_bias import RowBias
from rdtools.records.stored import finished, frozen


@dataclass(frozen=True, eq=False, repr=False)
class EffectiveLayer:
    """``y = Ŵ Q(T x) + U Vᵀ x + b`` in place of ``y = W x``.

    Attributes
    ----------
    weight : (m, n′) float64, Ŵ, decoded
    input_map : T, from n inputs to n′
    activation : Q, or None where activations are not quantized
    low_rank : U and V, or None; they act on the unquantized x
    bias : b, or None

    Raises
    ------
    ShapeMismatch
        If the parts do not belong together; the message names the one that does not fit.
    UnsupportedDtype, NotFiniteInput

    Examples
    --------
    >>> from rdtools.transforms.links import Split
    >>> EffectiveLayer(np.ones((1, 3)), InputMap([Split(np.array([1, 2]))], columns=2)).matrix.tolist()
    [[1.0, 1.0]]
    """

    weight: Float64Array
    input_map: InputMap
    activation: ActivationGrid | None = None
    low_rank: LowRank | None = None
    bias: RowBias | None = None

    def __post_init__(self) -> None:
        inputs = self.input_map.outputs
        if np.shape(self.weight)[-1:] != (inputs,):
            raise ShapeMismatch(
                f"effective layer: weight {np.shape(self.weight)} behind {self.input_map!r}, expected (m, {inputs}); map it by "
                "input_map.weight first"
            )
        weight = frozen(check_weight(self.weight, columns=inputs, name="effective layer"))
        if self.low_rank is not None and self.low_rank.shape != (len(weight), self.input_map.inputs):
            raise ShapeMismatch(
                f"effective layer: low-rank term of shape {self.low_rank.shape}, expected {(len(weight), self.input_map.inputs)}: it "
                "acts on x before the input map"
            )
        if self.bias is not None and len(self.bias.values) != len(weight):
            raise ShapeMismatch(f"effective layer: a bias of {len(self.bias.values)} numbers, expected {len(weight)}, one per row")
        object.__setattr__(self, "weight", weight)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of the layer that is replaced."""
        return len(self.weight), self.input_map.inputs

    @cached_property
    def matrix(self) -> Float64Array:
        """(m, n) float64: the one matrix ``pull_back(Ŵ) + U Vᵀ`` that does all of it but the bias where activations are not quantized.

        Raises
        ------
        UsageError
            If they are: then the layer is not linear.
        """
        if self.activation is not None:
            raise UsageError(
                f"effective layer: activations are quantized by {self.activation}, expected none: such a layer is no single matrix; "
                "run it by apply"
            )
        pulled = self.input_map.pull_back(self.weight)
        return finished(pulled if self.low_rank is None else pulled + self.low_rank.matrix)

    @property
    def side_bits(self) -> float:
        """Bits of the input map, the low-rank factors and the bias, in all."""
        return self.input_map.bits + sum(0.0 if part is None else part.bits for part in (self.low_rank, self.bias))

    def total_bpw(self, weight_bits: float) -> float:
        """Bits of all stored parts per weight of the original layer: ``(weight_bits + side_bits)/(m n)``.

        A map that several layers share is counted here in full. Activations are not stored, and not counted; `ActivationGrid.bits` are
        reported apart.

        Parameters
        ----------
        weight_bits : of the coded Ŵ in all, with its own overhead: 8 × the bytes of its file, less what the file holds of the map

        Raises
        ------
        UsageError
            For negative bits.
        """
        if not weight_bits >= 0:
            raise UsageError(f"effective layer: {weight_bits} bits of weights, expected at least 0")
        m, n = self.shape
        return (weight_bits + self.side_bits) / (m * n)

    def actual_input(self, x: Any) -> Float64Array:
        """``Q(T x)`` of inputs along the last axis: (…, n) → (…, n′), T x where activations are not quantized.

        Raises
        ------
        ShapeMismatch
        """
        mapped = self.input_map.apply(x)
        return mapped if self.activation is None else self.activation.quantize(mapped, self.input_map.shifts)

    def apply(self, x: Any) -> Float64Array:
        """``y`` of inputs along the last axis: (…, n) → (…, m).

        Raises
        ------
        ShapeMismatch
        """
        y = np.asarray(self.actual_input(x) @ self.weight.T)
        y = y if self.low_rank is None else y + self.low_rank.apply(x)
        return y if self.bias is None else y + self.bias.values

    def __repr__(self) -> str:
        m, n = self.shape
        parts = f"{m} × {n}, {self.input_map!r}"
        parts += "" if self.activation is None else f", {self.activation}"
        parts += "".join(f", {part!r}" for part in (self.low_rank, self.bias) if part is not None)
        return f"EffectiveLayer({parts})"
