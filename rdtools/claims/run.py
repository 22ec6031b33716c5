"""Check claims on layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from rdtools.claims.evidence.gather import SharedEvidence, counterexample, layer_evidence, shared_evidence
from rdtools.claims.papers import CLAIMS
from rdtools.claims.record import FALSE_ALARM, Claim, ClaimResult, check, no_verdict
from rdtools.moments.layer import Layer
from rdtools.records import Hessian
from rdtools.runs.store import Run


def _named(layers: Iterable[Layer] | Run) -> Iterator[tuple[str, Callable[[], Layer]]]:
    """Names of the layers, and how to get each: those of a run are read from disk, which may fail."""
    if isinstance(layers, Run):
        for name in layers:
            yield name, partial(layers.__getitem__, name)
        return
    for layer in layers:
        yield layer.key.name, partial(lambda layer: layer, layer)


class EvidenceMemory:
    """The evidence about the input that was looked at last, for the layers that share it."""

    def __init__(self) -> None:
        self._last: tuple[Hessian, int, SharedEvidence] | None = None

    def about(self, hessian: Hessian, *, seed: int) -> SharedEvidence:
        """Evidence about a second moment; that about another one is let go."""
        if self._last is None or self._last[0] is not hessian or self._last[1] != seed:
            self._last = hessian, seed, shared_evidence(hessian, seed=seed)
        return self._last[2]


def layer_verdicts(
    name: str,
    read: Callable[[], Layer],
    claims: Sequence[Claim],
    memory: EvidenceMemory,
    *,
    seed: int,
    false_alarm: float = FALSE_ALARM,
) -> Iterator[ClaimResult]:
    """A verdict for each claim on one layer; "failed" ones with the error's type where it cannot be read."""
    try:
        layer = read()
    except Exception as error:
        for claim in claims:
            yield no_verdict(claim, name, "failed", f"could not be read: {type(error).__name__}: {error}")
        return
    evidence = layer_evidence(layer, memory.about(layer.hessian, seed=seed))
    for claim in claims:
        yield check(claim, evidence, false_alarm=false_alarm)


def verify(
    layers: Iterable[Layer] | Run,
    *,
    claims: Sequence[Claim] = CLAIMS,
    seed: int = 0,
    false_alarm: float = FALSE_ALARM,
) -> Iterator[ClaimResult]:
    """A verdict for each claim on each layer.

    A layer that cannot be read, an experiment or a side of a claim that raises has the verdicts "failed" with the error's type, and the
    rest goes on.

    Parameters
    ----------
    layers : neighbours with the same `Hessian` record share what is gathered about it
    claims : to be checked
    seed : of everything that is drawn; the same seed gives the same verdicts
    false_alarm : probability, for each statistical check, that a true claim is called violated

    Examples
    --------
    >>> import numpy as np
    >>> layer = Layer.of(np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> {verdict.status for verdict in verify([layer], claims=[c for c in CLAIMS if c.name == "quip.lemma-2"])}
    {'holds'}
    """
    memory = EvidenceMemory()
    for name, read in _named(layers):
        yield from layer_verdicts(name, read, claims, memory, seed=seed, false_alarm=false_alarm)


def verify_counterexample(claims: Sequence[Claim] = CLAIMS) -> Iterator[ClaimResult]:
    """Verdicts of the claims about the one matrix on which clamping breaks LDLQ."""
    evidence = counterexample()
    for claim in claims:
        verdict = check(claim, evidence)
        if verdict.status != "not applicable":  # reads no other evidence
            yield verdict
