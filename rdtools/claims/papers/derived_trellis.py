"""Trellis-coded successive cancellation: that its files decode, and that it is as near to R(D) as the recursion says."""

from __future__ import annotations

import math
from functools import cache

from rdtools.claims.evidence.base import Estimate, Evidence
from rdtools.claims.evidence.learnt_models import LearntModels
from rdtools.claims.evidence.trellis_walks import STATES, TrellisWalks, WalkPoint
from rdtools.claims.papers.terms import REGULAR, factor, ours, rate_limit
from rdtools.claims.record import FALSE_ALARM, Assumption, Statement
from rdtools.theory.finite_rate import FiniteRatePoint, sic_at_finite_rate
from rdtools.theory.trellis_channel import COLUMNS, granular_gain_db, simulated, trellis_channel

_SOURCE = ours("trellis-coded successive cancellation")
#: What the prediction of a gap is good to from 2 bits on, while feedback is below `_MAX_FEEDBACK_BITS`. The file's distributions have one
#: noise variance for all columns; where feedback differs among them, integers take more than their entropy: 0.003 bit at 0.05 bit of
#: feedback, 0.03 at 0.2, 0.09 at 0.5.
_ACCURACY_BITS = 0.01
_MAX_FEEDBACK_BITS = 0.1


@cache
def _predict(e: Evidence, point: WalkPoint, *, trellis: bool) -> FiniteRatePoint:
    return sic_at_finite_rate(factor(e), point.steps, lmmse=False, channel=trellis_channel(STATES) if trellis else None)


def _points(e: Evidence) -> list[WalkPoint]:
    return [point for point in e[TrellisWalks].points if _predict(e, point, trellis=True).feedback_bits < _MAX_FEEDBACK_BITS]


def _gap(e: Evidence, point: WalkPoint) -> Estimate:
    """Rate of the file's distributions above R(D). Errors of rate and distortion are added, as if the worst of both fell together."""
    limit = rate_limit(point.distortion, e)
    return Estimate(point.rate_bits.value - limit.value, point.rate_bits.stderr + limit.stderr, point.rate_bits.degrees)


def _predicted_gap(e: Evidence, point: WalkPoint, *, trellis: bool) -> float:
    predicted = _predict(e, point, trellis=trellis)
    return predicted.rate_bits - rate_limit(Estimate(predicted.distortion, 0.0), e).value


def _farthest_from_prediction(e: Evidence) -> Estimate:
    differences = [(_gap(e, p), _predicted_gap(e, p, trellis=True)) for p in _points(e)]
    shifted = [Estimate(gap.value - predicted, gap.stderr, gap.degrees) for gap, predicted in differences]
    return max(shifted, key=lambda estimate: abs(estimate.value) - 5 * estimate.stderr)


def _least_gap(e: Evidence) -> Estimate:
    return min((_gap(e, p) for p in e[TrellisWalks].points), key=lambda gap: gap.value + 5 * gap.stderr)


def _least_gain(e: Evidence) -> Estimate:
    """The least saving over scalar integers of the same steps, whose gap is predicted."""
    gains = [(_gap(e, p), _predicted_gap(e, p, trellis=False)) for p in _points(e)]
    return min((Estimate(scalar - gap.value, gap.stderr, gap.degrees) for gap, scalar in gains), key=lambda gain: gain.value)


def _of_several(e: Evidence) -> float:
    """Chance of the points beside the one counted anyway: the farthest of several is looked at."""
    return FALSE_ALARM * (len(e[TrellisWalks].points) - 1)


def _fine(e: Evidence) -> Estimate:
    fine = e[TrellisWalks].fine_distortion
    assert fine is not None  # an assumption of the claim
    return fine


def _first_rows(e: Evidence) -> float:
    """The first ν rows of a walk, which is not free in them, distort like scalar rounding at worst; and the table has an error."""
    finest = dict(zip(COLUMNS, simulated(STATES)[0], strict=True))
    begin = math.log2(STATES) * (1 - 10 ** (-granular_gain_db(STATES) / 10)) / e[TrellisWalks].rows
    return float(begin + 5 * 12 * finest["distortion_stderr"] / 4 ** finest["log2_step"])


_PREDICTED = Assumption(f"a point with less than {_MAX_FEEDBACK_BITS:g} bit of feedback", lambda e: bool(_points(e)))

CLAIMS = (
    Statement(
        "trellis.parity",
        "every integer is as odd as the state of its walk, so that a decoder knows its parity (faults seen)",
        _SOURCE,
    ).equal(lambda e: e[TrellisWalks].parity_faults, 0.0, "integers", *REGULAR),
    Statement("trellis.decodes", "a file decodes to the integers that were written (those that differ)", _SOURCE).equal(
        lambda e: e[TrellisWalks].decoding_faults, 0.0, "integers", *REGULAR
    ),
    Statement(
        "trellis.granular-gain",
        f"at high rate a column distorts by α² ℓ_ii²/12 over the granular gain of the trellis ({STATES} states)",
        _SOURCE,
    ).equal(
        _fine,
        10 ** (-granular_gain_db(STATES) / 10),
        "relative",
        *REGULAR,
        Assumption("columns fine enough within 20 bits", lambda e: e[TrellisWalks].fine_distortion is not None),
        tolerance=_first_rows,
    ),
    Statement(
        "trellis.predicted-gap",
        "rate − R(D), less what the covariance recursion predicts with the trellis as its channel, = 0 within 0.01 bit at 2, 3 and 4 bits "
        "(the farthest)",
        _SOURCE,
    ).equal(_farthest_from_prediction, 0.0, "bit", *REGULAR, _PREDICTED, tolerance=_ACCURACY_BITS, chance=_of_several),
    Statement("trellis.above-limit", "rate of the files' integers ≥ R(D) on iid normal weights (the least)", _SOURCE).at_least(
        _least_gap, 0.0, "bit", *REGULAR, chance=_of_several
    ),
    Statement(
        "trellis.better-than-scalar",
        "rate − R(D) of the files' integers ≤ that of scalar integers of the same steps (the least difference)",
        _SOURCE,
    ).at_least(_least_gain, 0.0, "bit", *REGULAR, _PREDICTED, chance=_of_several),
    Statement(
        "trellis.learnt-models-decode",
        "integers under models that the decoder learns decode to themselves (those that differ)",
        _SOURCE,
    ).equal(lambda e: e[LearntModels].decoding_faults, 0.0, "integers"),
    Statement(
        "trellis.learnt-models-cost",
        "a file with models that the decoder learns is at most 8 bits larger than one of the same integers without",
        _SOURCE,
    ).at_most(lambda e: e[LearntModels].learnt_bits, lambda e: e[LearntModels].plain_bits + 8, "bits"),
)
