"""Quantized weights and layers, and measured points."""

from __future__ import annotations

from dataclasses import dataclass, field

from rdtools.records.basis import Basis
from rdtools.records.error_models import UNSTATED, ErrorModel
from rdtools.records.symbols import LatticeCodes, ScalarCodes, TrellisCodes


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """All that a decoder needs to rebuild Ŵ, and nothing else: codes, and where their values belong.

    Every number in it is held exactly as it is stored, so that writing and reading lose nothing.
    """

    basis: Basis
    codes: ScalarCodes | LatticeCodes | TrellisCodes

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of Ŵ."""
        return self.basis.rows, len(self.basis.live)


@dataclass(frozen=True)
class QuantizedLayer:
    """A quantizer's answer: the decodable weight, and how it came about.

    Attributes
    ----------
    weight : what is stored
    target_rate_bits : what was asked for
    code_rate_bits : what the codes take under their model, bits per weight, histograms included and other side information apart
    damping : relative damping that was used
    seed : run seed that the rotation was derived from
    backend : which kernels ran; "numpy" if none did
    error_model : kind of error that the settings used have, for which theory may have a formula
    """

    weight: QuantizedWeight
    target_rate_bits: float
    code_rate_bits: float
    damping: float
    seed: int
    backend: str
    error_model: ErrorModel = field(default=UNSTATED, repr=False)


@dataclass(frozen=True)
class RDPoint:
    """A measured point: nothing in it comes from a formula that it will be compared with.

    Attributes
    ----------
    distortion : tr(E H Eᵀ)/(mn) of the decoded Ŵ, per weight, undamped H
    distortion_stderr : standard error over rows, taking rows as independent
    relative_distortion : distortion / (tr(W H Wᵀ)/(mn)), nan where that is zero
    squared_error : ‖W − Ŵ‖²/(mn), dead columns included; with damping δ the quantizer's own loss is ``distortion + δ · squared_error``
    edge_share : share of the integers of a fixed-rate grid that are its least or largest, where overload is; nan without such a grid
    rate_kind : what `code_rate_bits` is
    code_rate_bits : ideal length of the codes under their model, bits per weight; a histogram is part of it
    entropy_shared_bits : plug-in entropy of all codes pooled, Miller–Madow corrected, bits per weight, histogram apart; nan with too
        few codes
    entropy_column_bits : mean plug-in entropy of the columns, Miller–Madow corrected, bits per weight; nan with too few rows
    payload_bits : coded symbols in the file, bits per weight
    side_info_bits : everything else in the file, bits per weight
    coded_bits : 8 × file bytes per weight = payload_bits + side_info_bits
    """

    distortion: float
    distortion_stderr: float
    relative_distortion: float
    squared_error: float
    edge_share: float
    rate_kind: str
    code_rate_bits: float
    entropy_shared_bits: float
    entropy_column_bits: float
    payload_bits: float
    side_info_bits: float
    coded_bits: float
