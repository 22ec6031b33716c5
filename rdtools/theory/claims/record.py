"""A claim: two sides that can be computed, which way they must lie, and under which assumptions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scipy.special import ndtri, stdtrit

from rdtools.theory.claims.evidence import Evidence
from rdtools.theory.claims.parts import Estimate

Relation = Literal["≤", "=", "≥"]
Status = Literal["holds", "violated", "not applicable"]
Side = Callable[[Evidence], "float | Estimate"]

#: Probability that a true claim with a statistical side is called violated, for each check.
FALSE_ALARM = 1e-5
#: By how much the law of a mean is allowed to differ from Student's so far out: of 1024 draws of the most skewed kind that occurs (squares
#: of a normal variable), 7e-6 were seen where Student's law has 1e-6.
_SKEW = 10.0


@dataclass(frozen=True)
class Source:
    """Where a statement comes from.

    Attributes
    ----------
    paper : short name and arXiv number; "rdtools" where it was derived for this project
    version : of the paper that was read, empty where the text came from notes
    equation : theorem, lemma, equation or section
    """

    paper: str
    version: str
    equation: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.paper, self.version, self.equation) if part)


@dataclass(frozen=True)
class Assumption:
    """A condition of the statement: its text, and whether the evidence meets it."""

    text: str
    met: Callable[[Evidence], bool]


def _exact(evidence: Evidence) -> float:
    return 0.0


@dataclass(frozen=True)
class Claim:
    """A statement of theory that can be held against a layer.

    Attributes
    ----------
    name : system.statement
    statement : the formula, one line
    source : where it stands
    needs : kinds of evidence that the sides read
    left, right : the two sides, numbers or estimates with a standard error
    relation : how left lies to right
    unit : of both sides and of the margin
    assumptions : checked before the sides are computed
    tolerance : what rounding, or a stated accuracy of the claim, may add on either side, in `unit`
    chance : probability that the statement itself fails on the draws looked at, where it is one about probability
    """

    name: str
    statement: str
    source: Source
    needs: tuple[type, ...]
    left: Side
    right: Side
    relation: Relation
    unit: str
    assumptions: tuple[Assumption, ...] = ()
    tolerance: Callable[[Evidence], float] = _exact
    chance: Callable[[Evidence], float] = _exact


@dataclass(frozen=True)
class Verdict:
    """What became of a claim on one layer.

    Attributes
    ----------
    claim : which one
    subject : layer or family
    status : holds, violated or not applicable
    lhs, rhs : the two sides, nan where not applicable
    margin : distance to being violated, in the claim's unit: how far the sides lie on the right side of each other, plus `allowance`;
        negative if and only if violated
    allowance : tolerance and statistical error granted
    stderr : standard error of the difference of the sides, 0 where nothing is drawn
    low, high : confidence interval of lhs − rhs, at 1 − `false_alarm`
    false_alarm : probability that a true claim is called violated; 0 where nothing is drawn
    assumption : the assumptions that were checked; where not applicable, the one that failed, or what could not be gathered
    """

    claim: Claim
    subject: str
    status: Status
    lhs: float
    rhs: float
    margin: float
    allowance: float
    stderr: float
    low: float
    high: float
    false_alarm: float
    assumption: str

    def to_row(self) -> dict[str, str | float]:
        """A flat row for tables."""
        return {
            "subject": self.subject,
            "claim": self.claim.name,
            "status": self.status,
            "lhs": self.lhs,
            "relation": self.claim.relation,
            "rhs": self.rhs,
            "margin": self.margin,
            "unit": self.claim.unit,
            "allowance": self.allowance,
            "stderr": self.stderr,
            "low": self.low,
            "high": self.high,
            "false_alarm": self.false_alarm,
            "statement": self.claim.statement,
            "assumption": self.assumption,
            "source": str(self.claim.source),
        }


def check(claim: Claim, evidence: Evidence, *, false_alarm: float = FALSE_ALARM) -> Verdict:
    """Hold a claim against evidence.

    A statistical side is granted its standard error times the two-sided quantile of Student's law at a tenth of `false_alarm`, because
    means of skewed draws leave it more often. A side that is NaN violates.
    """

    def not_applicable(reason: str) -> Verdict:
        nan = math.nan
        return Verdict(claim, evidence.subject, "not applicable", nan, nan, nan, nan, nan, nan, nan, nan, reason)

    for kind in claim.needs:
        if kind not in evidence.parts:
            return not_applicable(evidence.missing.get(kind, f"{kind.__name__} was not gathered"))
    for assumption in claim.assumptions:
        if not assumption.met(evidence):
            return not_applicable(f"not met: {assumption.text}")
    left, right = _estimate(claim.left(evidence)), _estimate(claim.right(evidence))
    stderr = math.hypot(left.stderr, right.stderr)
    allowance = claim.tolerance(evidence)
    reach = 0.0
    if stderr > 0:
        degrees, tail = min(left.degrees, right.degrees), false_alarm / _SKEW / 2
        reach = stderr * -float(ndtri(tail) if math.isinf(degrees) else stdtrit(degrees, tail))
    allowance += reach
    margin = _slack(left.value, right.value, claim.relation) + allowance
    return Verdict(
        claim=claim,
        subject=evidence.subject,
        status="holds" if margin >= 0 else "violated",
        lhs=left.value,
        rhs=right.value,
        margin=margin,
        allowance=allowance,
        stderr=stderr,
        low=left.value - right.value - reach,
        high=left.value - right.value + reach,
        false_alarm=claim.chance(evidence) + (false_alarm if stderr > 0 else 0.0),
        assumption="; ".join(assumption.text for assumption in claim.assumptions),
    )


def _estimate(side: float | Estimate) -> Estimate:
    return side if isinstance(side, Estimate) else Estimate(float(side), 0.0)


def _slack(left: float, right: float, relation: Relation) -> float:
    """How far the sides lie on the right side of each other; 0 for equal infinities, nan if either side is."""
    if left == right:
        return 0.0
    difference = right - left
    return {"≤": difference, "≥": -difference, "=": -abs(difference)}[relation]
