"""Moments between those of the original and of the quantized model, weighted by attention or not, and the search for the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rdtools.arrays import Float64Array
from rdtools.records import InputMoments
from rdtools.records.stored import finished

#: Evaluations of each of the two searches beside the ends of the interval.
STEPS = 6
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Mixture:
    """Shares in which moments are mixed.

    Attributes
    ----------
    original : q, of Σ_x in Σ_x̂ and Σ_xx̂: 0 for the full correction of drift, 1 for none
    unweighted : a, of the moments without weights: 0 for the full weighting by attention, 1 for none
    """

    original: float = 0.0
    unweighted: float = 0.0


def mixed(plain: InputMoments, weighted: InputMoments | None, mixture: Mixture) -> InputMoments:
    """``(1 − a) ((1 − q) Σ^w + q Σ_x^w) + a ((1 − q) Σ + q Σ_x)`` for Σ_x̂ and Σ_xx̂, and ``(1 − a) Σ_x^w + a Σ_x`` for Σ_x.

    Parameters
    ----------
    plain : moments in which all tokens weigh 1
    weighted : moments weighted by attention; None to leave the plain ones in their place
    mixture : q and a

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4 (adaptive mixing).
    """
    q, a = mixture.original, 1.0 if weighted is None else mixture.unweighted
    other = plain if weighted is None else weighted

    def joined(one: Float64Array, two: Float64Array) -> Float64Array:
        return two if a == 1 else one if a == 0 else (1 - a) * one + a * two

    def drifted(moments: InputMoments, field: str) -> Float64Array:
        matrix: Float64Array = getattr(moments, field)
        return matrix if q == 0 or matrix is moments.reference else (1 - q) * matrix + q * moments.reference

    reference = joined(other.reference, plain.reference)
    facts = {"tokens": plain.tokens, "dropped_tokens": plain.dropped_tokens, "distinct_tokens": plain.distinct_tokens, "name": plain.name}
    if (plain.is_plain and other.is_plain) or q == 1:
        return InputMoments.plain(finished(reference), **facts)
    actual, cross = (joined(drifted(other, field), drifted(plain, field)) for field in ("actual", "cross"))
    return InputMoments.drifted(reference, actual, cross, **facts)


def golden_section(value: Callable[[float], float], steps: int) -> float:
    """The place on [0, 1] where a function was least among its ends and `steps` points of a golden section search between them.

    Examples
    --------
    >>> abs(golden_section(lambda t: (t - 0.3) ** 2, 12) - 0.3) < 0.01
    True
    """
    tried = {t: value(t) for t in (0.0, 1.0)}
    low, high = 0.0, 1.0
    inner = [1 - _GOLDEN, _GOLDEN]
    for step in range(steps):
        if step == 0:
            tried[inner[0]] = value(inner[0])
        else:
            new = inner[0] if inner[0] not in tried else inner[1]
            tried[new] = value(new)
            if tried[inner[0]] <= tried[inner[1]]:
                high = inner[1]
                inner = [high - _GOLDEN * (high - low), inner[0]]
            else:
                low = inner[0]
                inner = [inner[1], low + _GOLDEN * (high - low)]
    return min(tried, key=lambda t: (tried[t], t))


def search_mixture(value: Callable[[Mixture], float], *, drift: bool, attention: bool, steps: int = STEPS) -> Mixture:
    """The best mixture: first q with the full weighting by attention, then a at that q; each by golden section.

    Parameters
    ----------
    value : to be made small; each mixture is looked at once
    drift : whether q is searched, or 0
    attention : whether a is searched, or 0
    steps : of each search

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4, where each search takes 15 steps.
    """
    known: dict[Mixture, float] = {}

    def at(mixture: Mixture) -> float:
        if mixture not in known:
            known[mixture] = value(mixture)
        return known[mixture]

    q = golden_section(lambda t: at(Mixture(t, 0.0)), steps) if drift else 0.0
    a = golden_section(lambda t: at(Mixture(q, t)), steps) if attention else 0.0
    return Mixture(q, a)
