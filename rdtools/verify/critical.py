"""A finer code for the channels that matter: CRVQ's allocation with Lloyd–Max codes."""

from __future__ import annotations

import math

import numpy as np

from rdtools.theory.claims.parts import CriticalEvidence, Estimate, Float64Array
from rdtools.theory.critical_channels import critical_groups
from rdtools.theory.fixed_rate import lloyd_max
from rdtools.verify.case import MomentCase, budget

_FRACTION = 0.125
_GROUP = 8
_BASIC, _EXTENDED = 2, 16


def _errors(weights: Float64Array, levels: int) -> Float64Array:
    code = lloyd_max(levels)
    return np.asarray((weights - code.levels[np.searchsorted(code.boundaries, weights)]) ** 2)


def critical_evidence(case: MomentCase) -> CriticalEvidence | str:
    """Code iid normal weights with two codes; or say why there are no critical channels."""
    n = case.columns
    groups = critical_groups(n, _FRACTION, group=_GROUP)
    if groups == 0:
        return f"an eighth of {n} channels is no whole group of {_GROUP}"
    count = groups * _GROUP
    generator = case.generator("critical")
    weights = generator.standard_normal((budget(n), n))
    diagonal = np.diagonal(case.matrix)
    basic, extended = _errors(weights, _BASIC), _errors(weights, _EXTENDED)

    def distortion(critical: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Estimate:
        errors = basic.copy()
        errors[:, critical] = extended[:, critical]
        return Estimate.of(errors @ diagonal / n)

    largest = np.argsort(-diagonal, kind="stable")[:count]
    return CriticalEvidence(
        fraction=count / n,
        rate_bits=math.log2(_BASIC) + count / n * math.log2(_EXTENDED / _BASIC),
        basic=lloyd_max(_BASIC).distortion,
        extended=lloyd_max(_EXTENDED).distortion,
        selected=distortion(largest),
        unselected=distortion(generator.permutation(n)[:count]),
    )
