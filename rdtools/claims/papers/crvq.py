"""CRVQ: a finer code for critical channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rdtools.claims.evidence.base import Estimate, Evidence
from rdtools.claims.evidence.critical_channels import CriticalChannels
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.papers.terms import ours, summing
from rdtools.claims.record import Source, Statement
from rdtools.theory.critical_channels import critical_share, relaxed_distortion, two_level_allocation
from rdtools.theory.waterfilling import distortion_rate


def _source(equation: str) -> Source:
    return Source("CRVQ 2412.09282", "", equation)


def _diagonal(e: Evidence) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.diagonal(e[Moment].matrix)


def _relaxed_ratio(e: Evidence) -> float:
    c = e[CriticalChannels]
    return relaxed_distortion(_diagonal(e), c.fraction, basic=c.basic, extended=c.extended) / (float(np.mean(_diagonal(e))) * c.basic)


def _short_of_even(e: Evidence) -> Estimate:
    """``D(0) 4^−ΔR − D(λ)``, what the finer code gains over spreading its bits evenly, where φ(λ) says that it gains, else its negative."""
    c, diagonal = e[CriticalChannels], _diagonal(e)
    even = 4.0 ** -(c.rate_bits - c.basic_bits)
    pays = critical_share(diagonal, c.fraction) * (1 - c.extended / c.basic) > 1 - even
    gain = float(np.mean(diagonal)) * c.basic * even - c.selected.value
    return replace(c.selected, value=gain if pays else -gain)


CLAIMS = (
    Statement(
        "crvq.relaxation",
        "D(λ)/D(0) = 1 − (1 − c_e/c_b) φ(λ) under diag(H), codes chosen without weighting",
        ours("CRVQ 2412.09282 under a diagonal H"),
    ).equal(
        lambda e: e[CriticalChannels].selected.scaled(1 / (float(np.mean(_diagonal(e))) * e[CriticalChannels].basic)),
        _relaxed_ratio,
        "ratio",
        tolerance=summing(1.0),
    ),
    Statement(
        "crvq.selection", "critical channels of largest H_jj cost no more than channels drawn at random", _source("importance")
    ).at_most(lambda e: e[CriticalChannels].selected, lambda e: e[CriticalChannels].unselected, "distortion"),
    Statement(
        "crvq.waterfilling", "D of two codes ≥ D of waterfilling over channels at their average rate", ours("two-level allocation")
    ).at_least(
        lambda e: e[CriticalChannels].selected,
        lambda e: float(distortion_rate(e[CriticalChannels].rate_bits, _diagonal(e)).distortion),
        "distortion",
    ),
    Statement(
        "crvq.two-level", "D of two codes ≥ D of ideal codes for the same channels at the best two rates", ours("two-level allocation")
    ).at_least(
        lambda e: e[CriticalChannels].selected,
        lambda e: two_level_allocation(_diagonal(e), e[CriticalChannels].fraction, e[CriticalChannels].rate_bits).distortion,
        "distortion",
    ),
    Statement(
        "crvq.marginal",
        "a finer code for critical channels gains more than 6.02 dB per bit exactly where φ(λ) > (1 − 4^−ΔR)/(1 − c_e/c_b)",
        ours("marginal test"),
    ).at_least(_short_of_even, 0.0, "distortion", tolerance=summing(lambda e: e[CriticalChannels].selected.value)),
)
