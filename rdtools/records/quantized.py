"""Quantized weights and layers."""

from __future__ import annotations

from dataclasses import dataclass, field

from rdtools.records.basis import Basis
from rdtools.records.error_models import UNSTATED, ErrorModel
from rdtools.records.keys import LayerKey
from rdtools.records.symbols import Symbols


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """All that a decoder needs to rebuild Ŵ, and nothing else: the symbols, and where their values belong.

    Every number in it is held exactly as it is stored, so that writing and reading lose nothing.
    """

    basis: Basis
    symbols: Symbols

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
    backend : which kernels ran; "numpy" if none did
    error_model : kind of error that the settings used have, for which theory may have a formula
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
