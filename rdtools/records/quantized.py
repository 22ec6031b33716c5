"""Quantized weights and layers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rdtools.doors import behind
from rdtools.errors import UsageError
from rdtools.records.activation_grid import ActivationGrid
from rdtools.records.basis import Basis
from rdtools.records.error_models import UNSTATED, ErrorModel
from rdtools.records.keys import LayerKey
from rdtools.records.link import Link
from rdtools.records.low_rank import LowRank
from rdtools.records.row_bias import RowBias
from rdtools.records.symbols import Symbols
from rdtools.reprs import by_size, html_table

if TYPE_CHECKING:
    from rdtools.records.points import RDPoint


@dataclass(frozen=True, eq=False)
class LayerParts:
    """The parts that run beside the weights of a layer: everything of an `EffectiveLayer` but Ŵ and the map of its basis.

    Attributes
    ----------
    activation : Q, the grid of the activations that the weights receive, or None
    low_rank : U and V, or None
    links : of the input map behind those of the basis, such as a reassembly of channels
    bias : b, added to the output, or None
    """

    activation: ActivationGrid | None = None
    low_rank: LowRank | None = None
    links: tuple[Link, ...] = ()
    bias: RowBias | None = None


#: Of a layer that is its weights alone.
NO_PARTS = LayerParts()


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedWeight:
    """All that a decoder needs to rebuild the layer that runs, and nothing else: symbols, where their values belong, and what runs beside.

    Every number in it is held exactly as it is stored, so that writing and reading lose nothing.
    """

    basis: Basis
    symbols: Symbols
    parts: LayerParts = NO_PARTS

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of Ŵ."""
        return self.basis.rows, len(self.basis.active)

    def dequantize(self, dtype: Any = None) -> Any:
        """Ŵ, (m, n), as `rdtools.coding.dequantize`: float64, or of a floating-point dtype of NumPy or torch."""
        return behind("coding", "dequantize")(self, dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file whose size is the total rate, as `rdtools.coding.save`; `rdtools.load` reads it."""
        behind("coding", "save")(self, path)

    def measure(self, layer: Any, **moments: Any) -> RDPoint:
        """The measured point of these weights on a layer of their shape, as `rdtools.measure`, which describes the keywords."""
        point: RDPoint = behind("measure.point", "measure_weight")(layer, self, **moments)
        return point

    def __repr__(self) -> str:
        return f"QuantizedWeight({by_size(*self.shape)}, {type(self.symbols).__name__})"


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedLayer:
    """A quantizer's answer: the decodable weight, and how it came about.

    Attributes
    ----------
    key : of the layer that was quantized
    weight_checksum : CRC-32 of its weights, `Layer.weight_checksum`
    weight : what is stored
    target_rate_bits : what was asked for
    symbol_rate_bits : what the symbols take under their model, bits per weight, histograms included and other side information apart
    damping : relative damping that was used
    seed : run seed that the rotation was derived from
    backend : which kernels decided the integers; "numpy", or "torch" on a device, if none did
    error_model : kind of error that the settings used have, for which theory may have a formula
    note : what a reader of the result should know; empty for nothing
    layer : what was quantized, for `measure`; None where it was not kept
    device : where the integers were decided; "cpu" for main memory
    dtype : floating-point type in which
    """

    key: LayerKey
    weight_checksum: int
    weight: QuantizedWeight
    target_rate_bits: float
    symbol_rate_bits: float
    damping: float
    seed: int
    backend: str
    error_model: ErrorModel = UNSTATED
    note: str = ""
    layer: Any = None
    device: str = "cpu"
    dtype: str = "float64"

    def dequantize(self, dtype: Any = None) -> Any:
        """Ŵ, (m, n), as `rdtools.coding.dequantize`: float64, or of a floating-point dtype of NumPy or torch."""
        return self.weight.dequantize(dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file whose size is the total rate, as `rdtools.coding.save`; `rdtools.load` reads its weights."""
        self.weight.save(path)

    def measure(self, **moments: Any) -> RDPoint:
        """The measured point, as ``rdtools.measure(layer, self)``, which describes the keywords.

        Raises
        ------
        UsageError
            If the layer was not kept.
        """
        if self.layer is None:
            raise UsageError(f"{self.key.name}: its layer was not kept with what became of it; measure(layer, quantized)")
        point: RDPoint = behind("measure", "measure")(self.layer, self, **moments)
        return point

    def __repr__(self) -> str:
        rates = f"{self.symbol_rate_bits:.3f} bpw of symbols, target {self.target_rate_bits:g}, damping {self.damping:g}"
        return f"QuantizedLayer({self.key.name}: {by_size(*self.weight.shape)}, {rates})"

    def _repr_html_(self) -> str:
        facts = [
            ("weights", by_size(*self.weight.shape)),
            ("symbols (bpw)", self.symbol_rate_bits),
            ("target (bpw)", self.target_rate_bits),
            ("damping", self.damping),
            ("seed", self.seed),
            ("kernels", self.backend),
            *([("note", self.note)] if self.note else []),
        ]
        return html_table(f"Quantized layer {self.key.name}", facts)
