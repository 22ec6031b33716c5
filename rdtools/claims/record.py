"""A claim: two sides that can be computed, which way they must lie, and under which assumptions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scipy.special import ndtri, stdtrit

from rdtools.claims.evidence.base import Estimate, Evidence, MissingEvidence

Relation = Literal["≤", "=", "≥"]
Status = Literal["holds", "violated", "not applicable", "failed"]
Number = float | Callable[[Evidence], float]
Side = float | Callable[[Evidence], float | Estimate]

#: Probability that a true claim with a statistical side is called violated, for each check.
FALSE_ALARM = 1e-5
#: By how much the distribution of a mean is allowed to differ from Student's so far out: of 1024 draws of the most skewed kind that occurs
#: (squares of a normal variable), 7e-6 were seen where Student's distribution has 1e-6.
_SKEW = 10.0


@dataclass(frozen=True)
class Source:
    """Paper and place of a statement.

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


@dataclass(frozen=True)
class Claim:
    """A statement of theory that can be checked on a layer.

    Attributes
    ----------
    name : system.statement
    statement : the formula, one line
    source : paper and theorem
    left, right : the two sides: numbers, or functions of the evidence that return numbers or estimates with a standard error. The
        evidence that they read is gathered when they read it.
    relation : how left lies to right
    unit : of both sides and of the margin
    assumptions : checked before the sides are computed
    tolerance : what rounding, or a stated accuracy of the claim, may add on either side, in `unit`
    chance : probability that the statement itself fails on the draws looked at, where it is one about probability
    """

    name: str
    statement: str
    source: Source
    left: Side
    right: Side
    relation: Relation
    unit: str
    assumptions: tuple[Assumption, ...] = ()
    tolerance: Number = 0.0
    chance: Number = 0.0


@dataclass(frozen=True)
class Statement:
    """A formula with its name and source, to be completed by its two sides."""

    name: str
    text: str
    source: Source

    def equal(self, left: Side, right: Side, unit: str, *assumptions: Assumption, tolerance: Number = 0.0, chance: Number = 0.0) -> Claim:
        """The claim that left = right."""
        return Claim(self.name, self.text, self.source, left, right, "=", unit, assumptions, tolerance, chance)

    def at_most(self, left: Side, right: Side, unit: str, *assumptions: Assumption, tolerance: Number = 0.0, chance: Number = 0.0) -> Claim:
        """The claim that left ≤ right."""
        return Claim(self.name, self.text, self.source, left, right, "≤", unit, assumptions, tolerance, chance)

    def at_least(
        self, left: Side, right: Side, unit: str, *assumptions: Assumption, tolerance: Number = 0.0, chance: Number = 0.0
    ) -> Claim:
        """The claim that left ≥ right."""
        return Claim(self.name, self.text, self.source, left, right, "≥", unit, assumptions, tolerance, chance)


@dataclass(frozen=True)
class ClaimResult:
    """The outcome of a claim on one layer.

    Attributes
    ----------
    claim : which one
    subject : layer or family
    status : holds, violated, not applicable, or failed where an error kept it from being checked
    lhs, rhs : the two sides, nan where there are none
    margin : distance to being violated, in the claim's unit: how far the sides lie on the right side of each other, plus `allowance`;
        negative if and only if violated
    allowance : tolerance and statistical error granted
    stderr : standard error of the difference of the sides, 0 where nothing is drawn
    low, high : confidence interval of lhs − rhs, at 1 − `false_alarm`
    false_alarm : probability that a true claim is called violated; 0 where nothing is drawn
    assumption : the assumptions that were checked; where not applicable, the one that is not met, or why evidence is missing; where
        failed, the error
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


def no_verdict(claim: Claim, subject: str, status: Status, reason: str) -> ClaimResult:
    """The outcome of a claim whose sides could not be computed."""
    nan = math.nan
    return ClaimResult(claim, subject, status, nan, nan, nan, nan, nan, nan, nan, nan, reason)


def check(claim: Claim, evidence: Evidence, *, false_alarm: float = FALSE_ALARM) -> ClaimResult:
    """Check a claim on evidence; an error in gathering it or in a side of the claim makes the status "failed".

    A statistical side is granted its standard error times the two-sided quantile of Student's distribution at a tenth of `false_alarm`,
    because means of skewed draws leave it more often. Where a side, its standard error or the tolerance is nan nothing was compared:
    "failed" as well, with the values in the reason.
    """
    try:
        for assumption in claim.assumptions:
            if not assumption.met(evidence):
                return no_verdict(claim, evidence.subject, "not applicable", f"not met: {assumption.text}")
        return _compare(claim, evidence, false_alarm)
    except MissingEvidence as missing:
        return no_verdict(claim, evidence.subject, "failed" if missing.failed else "not applicable", str(missing))
    except Exception as error:
        return no_verdict(claim, evidence.subject, "failed", f"{type(error).__name__}: {error}")


def _compare(claim: Claim, evidence: Evidence, false_alarm: float) -> ClaimResult:
    left, right = _estimate(claim.left, evidence), _estimate(claim.right, evidence)
    stderr = math.hypot(left.stderr, right.stderr)
    allowance = _number(claim.tolerance, evidence)
    reach = 0.0
    if stderr > 0:
        degrees, tail = min(left.degrees, right.degrees), false_alarm / _SKEW / 2
        reach = stderr * -float(ndtri(tail) if math.isinf(degrees) else stdtrit(degrees, tail))
    allowance += reach
    margin = _slack(left.value, right.value, claim.relation) + allowance
    if math.isnan(margin + stderr):
        reason = f"left {left.value:g} ± {left.stderr:g}, right {right.value:g} ± {right.stderr:g}, allowance {allowance:g}"
        return no_verdict(claim, evidence.subject, "failed", f"{reason}: nan cannot be compared, likely an overflow beyond float64")
    return ClaimResult(
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
        false_alarm=_number(claim.chance, evidence) + (false_alarm if stderr > 0 else 0.0),
        assumption="; ".join(assumption.text for assumption in claim.assumptions),
    )


def _number(number: Number, evidence: Evidence) -> float:
    return number(evidence) if callable(number) else number


def _estimate(side: Side, evidence: Evidence) -> Estimate:
    value = side(evidence) if callable(side) else side
    return value if isinstance(value, Estimate) else Estimate(float(value), 0.0)


def _slack(left: float, right: float, relation: Relation) -> float:
    """Distance by which the sides lie on the right side of each other; 0 for equal infinities, nan if either side is."""
    if left == right:
        return 0.0
    difference = right - left
    return {"≤": difference, "≥": -difference, "=": -abs(difference)}[relation]
