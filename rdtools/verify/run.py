"""Hold claims against layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rdtools.hessians.layer import Layer
from rdtools.records import Hessian
from rdtools.theory.claims import CLAIMS, FALSE_ALARM, Claim, Verdict, check
from rdtools.theory.claims.parts import ClampEvidence
from rdtools.verify.gather import Shared, counterexample, gather, gather_shared


def verify(
    layers: Iterable[Layer],
    *,
    claims: Sequence[Claim] = CLAIMS,
    seed: int = 0,
    false_alarm: float = FALSE_ALARM,
) -> Iterator[Verdict]:
    """A verdict for each claim on each layer.

    Parameters
    ----------
    layers : neighbours with the same `Hessian` record share what is gathered about it
    claims : which
    seed : of everything that is drawn; the same seed gives the same verdicts
    false_alarm : probability, for each statistical check, that a true claim is called violated

    Examples
    --------
    >>> import numpy as np
    >>> layer = Layer.of(np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> {verdict.status for verdict in verify([layer], claims=[c for c in CLAIMS if c.name == "quip.lemma-2"])}
    {'holds'}
    """
    kinds = {kind for claim in claims for kind in claim.needs}
    known: tuple[Hessian, Shared] | None = None
    for layer in layers:
        if known is None or known[0] is not layer.hessian:
            known = layer.hessian, gather_shared(layer.hessian, kinds, seed=seed)
        evidence = gather(layer, known[1], kinds)
        for claim in claims:
            yield check(claim, evidence, false_alarm=false_alarm)


def verify_counterexample(claims: Sequence[Claim] = CLAIMS) -> Iterator[Verdict]:
    """Verdicts of the claims about the one matrix on which clamping breaks LDLQ."""
    evidence = counterexample()
    for claim in claims:
        if ClampEvidence in claim.needs:
            yield check(claim, evidence)
