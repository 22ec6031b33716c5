"""Gathering of the evidence that claims are checked on: one table entry per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from rdtools.claims.evidence.base import Absent, Evidence, outcome
from rdtools.claims.evidence.case import MomentCase, moment_case
from rdtools.claims.evidence.channels import Channels, gather_channels
from rdtools.claims.evidence.clamping import Clamping, gather_clamping
from rdtools.claims.evidence.critical_channels import CriticalChannels, gather_critical_channels
from rdtools.claims.evidence.lattices import Lattices, gather_lattices
from rdtools.claims.evidence.learnt_models import LearntModels, gather_learnt_models
from rdtools.claims.evidence.low_rank import LowRank, gather_low_rank
from rdtools.claims.evidence.mean_input import MeanInput, gather_mean_input
from rdtools.claims.evidence.mismatch import Mismatch, gather_mismatch
from rdtools.claims.evidence.moment import Moment, gather_moment
from rdtools.claims.evidence.nearest_plane import NearestPlane, gather_nearest_plane
from rdtools.claims.evidence.normal_weights import NormalWeights, gather_normal_weights
from rdtools.claims.evidence.output_head import OutputHead, gather_output_head
from rdtools.claims.evidence.principal import PrincipalSplit, gather_principal
from rdtools.claims.evidence.rotations import Rotations, gather_rotations
from rdtools.claims.evidence.trellis_walks import TrellisWalks, gather_trellis_walks
from rdtools.claims.evidence.unit_rounding import UnitRounding, gather_unit_rounding
from rdtools.claims.evidence.weights import Weights, gather_weights
from rdtools.moments.layer import Layer, active_columns
from rdtools.records import Hessian

Source = Callable[[], object]


@dataclass(frozen=True)
class Experiment:
    """The way a kind of evidence is gathered.

    Attributes
    ----------
    gather : takes a `MomentCase`; about a layer, also its weights on active columns; about the counterexample, nothing
    about : what it speaks of; evidence about a second moment is gathered once for all layers that share it
    """

    gather: Callable[..., object]
    about: Literal["moment", "layer", "counterexample"]


#: Every kind of evidence.
EXPERIMENTS: dict[type, Experiment] = {
    Moment: Experiment(gather_moment, "moment"),
    MeanInput: Experiment(gather_mean_input, "moment"),
    Rotations: Experiment(gather_rotations, "moment"),
    UnitRounding: Experiment(gather_unit_rounding, "moment"),
    Lattices: Experiment(gather_lattices, "moment"),
    NormalWeights: Experiment(gather_normal_weights, "moment"),
    Mismatch: Experiment(gather_mismatch, "moment"),
    TrellisWalks: Experiment(gather_trellis_walks, "moment"),
    CriticalChannels: Experiment(gather_critical_channels, "moment"),
    PrincipalSplit: Experiment(gather_principal, "moment"),
    OutputHead: Experiment(gather_output_head, "moment"),
    Weights: Experiment(gather_weights, "layer"),
    NearestPlane: Experiment(gather_nearest_plane, "layer"),
    Channels: Experiment(gather_channels, "layer"),
    LearntModels: Experiment(gather_learnt_models, "layer"),
    LowRank: Experiment(gather_low_rank, "layer"),
    Clamping: Experiment(gather_clamping, "counterexample"),
}


def _sources(about: str, gather: Callable[[Experiment], object]) -> dict[type, Source]:
    return {kind: cache(partial(gather, experiment)) for kind, experiment in EXPERIMENTS.items() if experiment.about == about}


@dataclass(frozen=True, eq=False)
class SharedEvidence:
    """A second moment and the evidence about it.

    Attributes
    ----------
    case : absent where no column is ever used or the moment cannot be decomposed
    sources : of the evidence about it
    """

    case: MomentCase | Absent
    sources: Mapping[type, Source]


def shared_evidence(hessian: Hessian, *, seed: int) -> SharedEvidence:
    """Everything about a second moment, each kind gathered when it is first read."""
    case = outcome(partial(moment_case, seed=seed), hessian)
    return SharedEvidence(case, _sources("moment", lambda e: case if isinstance(case, Absent) else outcome(e.gather, case)))


def layer_evidence(layer: Layer, shared: SharedEvidence) -> Evidence:
    """The evidence about a layer, what it shares with others and the `Layer` itself included."""
    case = shared.case
    weight = cache(lambda: active_columns(layer.weight, layer.active))

    def gather(experiment: Experiment) -> object:
        return case if isinstance(case, Absent) else outcome(lambda: experiment.gather(case, weight()))

    absent = Absent("speaks of one constructed matrix")
    sources = {**shared.sources, **_sources("layer", gather), **_sources("counterexample", lambda _: absent), Layer: lambda: layer}
    return Evidence(layer.key.name, sources, layer.key.model)


def counterexample() -> Evidence:
    """The evidence of the one matrix on which clamping breaks LDLQ."""
    return Evidence("counterexample", _sources("counterexample", lambda experiment: outcome(experiment.gather)))
