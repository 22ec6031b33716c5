"""What claims are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rdtools.theory.claims.layer_parts import ChannelEvidence, LowRankEvidence, PlaneEvidence, WeightEvidence
from rdtools.theory.claims.parts import (
    ClampEvidence,
    CriticalEvidence,
    LatticeEvidence,
    MismatchEvidence,
    MomentEvidence,
    NormalEvidence,
    RotationEvidence,
    RoundingEvidence,
)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that was gathered about one layer.

    Attributes
    ----------
    subject : layer or family
    parts : what was gathered, by kind
    model : that the layer is of
    missing : why a kind was not gathered
    """

    subject: str
    parts: Mapping[type, object]
    model: str = ""
    missing: Mapping[type, str] = field(default_factory=dict)

    def __getitem__(self, kind: type[T]) -> T:
        part = self.parts[kind]
        assert isinstance(part, kind)
        return part

    def having(self, part: object) -> Evidence:
        """The same with one part replaced."""
        return replace(self, parts={**self.parts, type(part): part})

    @property
    def moment(self) -> MomentEvidence:
        """The second moment."""
        return self[MomentEvidence]

    @property
    def weights(self) -> WeightEvidence:
        """The weights."""
        return self[WeightEvidence]

    @property
    def rotations(self) -> RotationEvidence:
        """Drawn rotations."""
        return self[RotationEvidence]

    @property
    def rounding(self) -> RoundingEvidence:
        """Rounding on a unit grid."""
        return self[RoundingEvidence]

    @property
    def clamping(self) -> ClampEvidence:
        """The counterexample."""
        return self[ClampEvidence]

    @property
    def planes(self) -> PlaneEvidence:
        """Nearest plane."""
        return self[PlaneEvidence]

    @property
    def lattices(self) -> LatticeEvidence:
        """Block rounding on lattices."""
        return self[LatticeEvidence]

    @property
    def normal(self) -> NormalEvidence:
        """Quantizers on normal weights."""
        return self[NormalEvidence]

    @property
    def mismatch(self) -> MismatchEvidence:
        """Encoding with another second moment."""
        return self[MismatchEvidence]

    @property
    def channels(self) -> ChannelEvidence:
        """Channels split and merged."""
        return self[ChannelEvidence]

    @property
    def low_rank(self) -> LowRankEvidence:
        """Low-rank correction."""
        return self[LowRankEvidence]

    @property
    def critical(self) -> CriticalEvidence:
        """Critical channels."""
        return self[CriticalEvidence]
