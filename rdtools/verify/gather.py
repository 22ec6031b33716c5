"""From a layer to the evidence that claims are held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import partial

import numpy as np

from rdtools.errors import RdtoolsError
from rdtools.hessians.layer import Layer
from rdtools.hessians.spectrum import live_columns
from rdtools.records import Hessian
from rdtools.theory.claims.evidence import Evidence
from rdtools.theory.claims.layer_parts import ChannelEvidence, LowRankEvidence, PlaneEvidence, WeightEvidence
from rdtools.theory.claims.parts import (
    ClampEvidence,
    CriticalEvidence,
    Float64Array,
    LatticeEvidence,
    MismatchEvidence,
    MomentEvidence,
    NormalEvidence,
    RotationEvidence,
    RoundingEvidence,
)
from rdtools.verify.case import MomentCase, moment_case
from rdtools.verify.channels import channel_evidence
from rdtools.verify.clamping import clamp_evidence
from rdtools.verify.critical import critical_evidence
from rdtools.verify.lattices import lattice_evidence
from rdtools.verify.low_rank import low_rank_evidence
from rdtools.verify.mismatch import mismatch_evidence
from rdtools.verify.moment import moment_evidence
from rdtools.verify.normal import normal_evidence
from rdtools.verify.planes import plane_evidence
from rdtools.verify.rotations import rotation_evidence, weight_evidence
from rdtools.verify.rounding import rounding_evidence

_CLAMP_COLUMNS = 64

#: What is gathered about a second moment, once for all layers that share it.
_OF_MOMENT: dict[type, Callable[[MomentCase], object]] = {
    MomentEvidence: moment_evidence,
    RotationEvidence: rotation_evidence,
    RoundingEvidence: rounding_evidence,
    LatticeEvidence: lattice_evidence,
    NormalEvidence: normal_evidence,
    MismatchEvidence: mismatch_evidence,
    CriticalEvidence: critical_evidence,
}
#: What is gathered about a layer.
_OF_LAYER: dict[type, Callable[[MomentCase, Float64Array], object]] = {
    WeightEvidence: weight_evidence,
    PlaneEvidence: plane_evidence,
    ChannelEvidence: channel_evidence,
    LowRankEvidence: low_rank_evidence,
}


@dataclass(frozen=True, eq=False)
class Shared:
    """A second moment and the evidence about it.

    Attributes
    ----------
    case : None where no column is ever used
    parts : by kind
    missing : why a kind could not be gathered
    """

    case: MomentCase | None
    parts: Mapping[type, object]
    missing: Mapping[type, str]


def _sorted(wanted: Mapping[type, Callable[[], object]]) -> tuple[dict[type, object], dict[type, str]]:
    """Evidence and, for kinds that could not be gathered, reasons; one that fails takes no other with it."""
    parts: dict[type, object] = {}
    missing: dict[type, str] = {}
    for kind, gather in wanted.items():
        try:
            found = gather()
        except (RdtoolsError, ArithmeticError, np.linalg.LinAlgError, MemoryError) as error:
            found = f"could not be gathered: {type(error).__name__}: {error}"
        if isinstance(found, str):
            missing[kind] = found
        else:
            parts[kind] = found
    return parts, missing


def gather_shared(hessian: Hessian, kinds: Set[type], *, seed: int) -> Shared:
    """Everything about a second moment that these kinds of evidence name."""
    if not live_columns(hessian.matrix).any():
        return Shared(None, {}, dict.fromkeys({*_OF_MOMENT, *_OF_LAYER}, "no column of the input is ever used"))
    case = moment_case(hessian, seed=seed)
    parts, missing = _sorted({kind: partial(gather, case) for kind, gather in _OF_MOMENT.items() if kind in kinds})
    return Shared(case, parts, missing)


def gather(layer: Layer, shared: Shared, kinds: Set[type]) -> Evidence:
    """The evidence about a layer, what it shares with others included."""
    wanted: dict[type, Callable[[], object]] = {}
    if shared.case is not None:
        weight = layer.live_weight
        wanted = {kind: partial(gather, shared.case, weight) for kind, gather in _OF_LAYER.items() if kind in kinds}
    parts, missing = _sorted(wanted)
    return Evidence(
        subject=layer.key.name,
        model=layer.key.model,
        parts={**shared.parts, **parts},
        missing={ClampEvidence: "speaks of one constructed matrix", **shared.missing, **missing},
    )


def counterexample() -> Evidence:
    """The evidence of the one matrix on which clamping breaks LDLQ."""
    return Evidence(
        subject="counterexample",
        parts={ClampEvidence: clamp_evidence(_CLAMP_COLUMNS)},
        missing=dict.fromkeys({*_OF_MOMENT, *_OF_LAYER}, "the constructed matrix stands for the counterexample alone"),
    )
