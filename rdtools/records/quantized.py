"""Quantized weights and layers."""

from __future__ import annotations

from dataclasses import dataclass, field

from rdtools.records.activation_grid import ActivationGrid
from rdtools.records.basis import Basis
from rdtools.records.error_models import UNSTATED, ErrorModel
from rdtools.records.keys import LayerKey
from rdtools.records.link import Link
from rdtools.records.low_rank import LowRank
from rdtools.records.symbols import Symbols


@dataclass(frozen=True, eq=False)
class LayerParts:
    """What runs beside the weights of a layer: everything of an `EffectiveLayer` but Ŵ and the map of its basis.

    Attributes
    ----------
    activation : Q, the grid of the activations that the weights receive, or None
    low_rank : U and V, or None
    links : of the input map behind those of the basis, such as a reassembly of channels
    """

    activation: ActivationGrid | None = None
    low_rank: LowRank | None = None
    links: tuple[Link, ...] = ()


#: Of a layer that is its weights alone.
NO_PARTS = LayerParts()


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True)
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
    device : where; "cpu" for main memory
    dtype : in which
    error_model : kind of error that the settings used have, for which theory may have a formula
    note : what a reader of the result should know; empty for nothing
    """

    key: LayerKey
    weight_checksum: int
    weight: QuantizedWeight
    target_rate_bits: float
    symbol_rate_bits: float
    damping: float
    seed: int
    backend: str
    error_model: ErrorModel = field(default=UNSTATED, repr=False)
    note: str = field(default="", repr=False)
    device: str = "cpu"
    dtype: str = "float64"
