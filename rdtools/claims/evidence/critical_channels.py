"""A finer code for the channels that matter: CRVQ's allocation with Lloyd–Max codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate, NotApplicable
from rdtools.claims.evidence.case import MomentCase, budget
from rdtools.theory.critical_channels import critical_groups
from rdtools.theory.fixed_rate import lloyd_max

_FRACTION = 0.125
_GROUP = 8
_BASIC, _EXTENDED = 2, 16


@dataclass(frozen=True, eq=False)
class CriticalChannels:
    """A finer code for a few channels, under the diagonal of H, iid normal weights of variance one; distortions per weight.

    Attributes
    ----------
    fraction : λ of channels in whole groups
    basic_bits, rate_bits : rate of the coarser code, and the average of the two
    basic, extended : squared error per weight of the two codes on a normal distribution of variance one
    selected : distortion with the channels of largest H_jj critical
    unselected : with channels drawn at random
    """

    fraction: float
    basic_bits: float
    rate_bits: float
    basic: float
    extended: float
    selected: Estimate
    unselected: Estimate


def _errors(weights: Float64Array, levels: int) -> Float64Array:
    code = lloyd_max(levels)
    return np.asarray((weights - code.levels[np.searchsorted(code.boundaries, weights)]) ** 2)


def gather_critical_channels(case: MomentCase) -> CriticalChannels:
    """Code iid normal weights with two codes."""
    n = case.columns
    groups = critical_groups(n, _FRACTION, group=_GROUP)
    if groups == 0:
        raise NotApplicable(f"an eighth of {n} channels is no whole group of {_GROUP}")
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
    return CriticalChannels(
        fraction=count / n,
        basic_bits=math.log2(_BASIC),
        rate_bits=math.log2(_BASIC) + count / n * math.log2(_EXTENDED / _BASIC),
        basic=lloyd_max(_BASIC).distortion,
        extended=lloyd_max(_EXTENDED).distortion,
        selected=distortion(largest),
        unselected=distortion(generator.permutation(n)[:count]),
    )
