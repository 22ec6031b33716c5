"""Claims of theory on the layers of a run as tasks: all layers of an input together, so that what is drawn about it is drawn once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from rdtools import claims as registry
from rdtools.claims.run import EvidenceMemory, layer_verdicts
from rdtools.moments.layer import Layer
from rdtools.runs.journal import Record
from rdtools.runs.keys import verdict_key
from rdtools.runs.run_manifest import LayerEntry
from rdtools.runs.store import Run, open_run
from rdtools.sweep.plan import Work, input_groups, key_of_layer


@dataclass(frozen=True)
class LayerClaims:
    """Claims to be checked on a layer: its name, theirs, and the keys of the verdicts."""

    name: str
    claims: tuple[str, ...]
    keys: tuple[str, ...]

    def without(self, done: Collection[str]) -> LayerClaims:
        """The claims that are left."""
        remaining = [(claim, key) for claim, key in zip(self.claims, self.keys, strict=True) if key not in done]
        return replace(self, claims=tuple(claim for claim, _ in remaining), keys=tuple(key for _, key in remaining))


@dataclass(frozen=True)
class ClaimTask(Work):
    """Claims on all layers of one input."""

    kind: ClassVar[Literal["quantize", "verify"]] = "verify"
    layers: tuple[LayerClaims, ...]


def _on_layer(run: Run, entry: LayerEntry, claims: Sequence[registry.Claim], seed: int) -> LayerClaims:
    key = partial(verdict_key, key_of_layer(run, entry), model=run.model_name, seed=seed)
    return LayerClaims(
        entry.name, tuple(c.name for c in claims), tuple(key(claim=claim.name, statement=claim.statement) for claim in claims)
    )


def plan_claims(run: Run, claims: Sequence[registry.Claim], *, seed: int) -> list[ClaimTask]:
    """One task for each input of a run, in the order of the run."""
    return [
        ClaimTask(run.path, index, tuple(_on_layer(run, entry, claims, seed) for entry in group), seed)
        for index, group in input_groups(run, None)
    ]


def _named(names: Sequence[str]) -> list[registry.Claim]:
    known = {claim.name: claim for claim in registry.CLAIMS}
    return [known[name] for name in names]


class ClaimMemory(EvidenceMemory):
    """State that tasks done before in this process have left: the run, and the evidence about the input that was worked on last."""

    def __init__(self) -> None:
        super().__init__()
        self._run: Run | None = None

    def run_at(self, path: Path) -> Run:
        """A run; its files are compared with their hashes as they are read."""
        if self._run is None or self._run.path != path:
            self._run = open_run(path)
        return self._run


def run_claims(task: ClaimTask, memory: ClaimMemory | None = None) -> Iterator[Record]:
    """Verdicts of a task, each as soon as it is there; a layer that cannot be read has failed ones."""
    memory = memory or ClaimMemory()

    def read(name: str) -> Layer:
        return memory.run_at(task.run)[name]

    for work in task.layers:
        verdicts = layer_verdicts(work.name, partial(read, work.name), _named(work.claims), memory, seed=task.seed)
        for key, verdict in zip(work.keys, verdicts, strict=True):
            yield Record(key, "verdict", verdict.to_row())


def failed_claims(run: Run, work: LayerClaims, error: BaseException, *, seed: int) -> Iterator[Record]:
    """Verdicts of a layer of which nothing came about."""
    for key, claim in zip(work.keys, _named(work.claims), strict=True):
        yield Record(key, "verdict", registry.no_verdict(claim, work.name, "failed", f"{type(error).__name__}: {error}").to_row())
