from __future__ import annotations

import math
import re

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from rdtools.claims import CLAIMS, FALSE_ALARM, Assumption, Claim, Estimate, Evidence, Source, Statement, check
from rdtools.claims.evidence.base import Absent
from rdtools.claims.evidence.clamping import Clamping
from rdtools.claims.evidence.unit_rounding import UnitRounding

NOTHING = Evidence("nothing")


def _claim(left, right, relation, **more) -> Claim:
    return Claim("a.b", "l ? r", Source("paper", "v1", "eq. 1"), lambda e: left, right, relation, "bit", **more)


def test_the_registry_covers_every_system_and_says_where_each_claim_comes_from():
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names) >= 45
    assert {name.partition(".")[0] for name in names} >= {"quip", "quip#", "babai", "watersic", "matmul-ii", "crvq", "qllm", "lrc"}
    for claim in CLAIMS:
        assert str(claim.source), claim.name
        assert "\n" not in claim.statement, claim.name


@pytest.mark.parametrize(
    ("left", "relation", "right", "margin"),
    [(1.0, "≤", 3.0, 2.0), (3.0, "≤", 1.0, -2.0), (3.0, "≥", 1.0, 2.0), (1.0, "≥", 3.0, -2.0), (1.0, "=", 1.0, 0.0), (1.0, "=", 3.0, -2.0)],
)
def test_margin_is_the_distance_to_being_violated(left, relation, right, margin):
    verdict = check(_claim(left, right, relation), NOTHING)
    assert verdict.margin == margin
    assert verdict.status == ("holds" if margin >= 0 else "violated")
    assert (verdict.stderr, verdict.false_alarm) == (0, 0)


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 3), st.sampled_from("≤=≥"))
def test_tolerance_moves_the_margin_and_nothing_else(left, right, tolerance, relation):
    without = check(_claim(left, right, relation), NOTHING)
    granted = check(_claim(left, right, relation, tolerance=lambda e: tolerance), NOTHING)
    assert granted.margin == without.margin + tolerance
    assert granted.allowance == tolerance
    assert (granted.status == "holds") == (granted.margin >= 0)


def test_what_is_not_a_number_is_not_compared():
    for relation in "≤=≥":
        for left, right in ((math.nan, 1.0), (1.0, Estimate(math.nan, 0.1, 10)), (math.inf, Estimate(2.0, math.nan, 10))):
            verdict = check(_claim(left, right, relation), NOTHING)
            assert verdict.status == "failed"
            assert math.isnan(verdict.margin)
            assert re.search(r"left .*nan.*cannot be compared", verdict.assumption)


def test_infinite_sides():
    assert check(_claim(math.inf, math.inf, "="), NOTHING).status == "holds"
    assert check(_claim(1.0, math.inf, "≤"), NOTHING).margin == math.inf
    assert check(_claim(math.inf, 1.0, "≤"), NOTHING).status == "violated"


@pytest.mark.parametrize("degrees", [3, 40, math.inf])
def test_statistical_error_is_granted_by_students_law(degrees):
    verdict = check(_claim(Estimate(1.0, 0.1, degrees), 0.0, "="), NOTHING, false_alarm=0.01)
    quantile = scipy.stats.norm.isf(0.0005) if math.isinf(degrees) else scipy.stats.t.isf(0.0005, degrees)
    assert verdict.allowance == pytest.approx(0.1 * quantile, rel=1e-9)
    assert (verdict.low, verdict.high) == pytest.approx((1 - 0.1 * quantile, 1 + 0.1 * quantile), rel=1e-9)
    assert verdict.false_alarm == 0.01


def test_errors_of_both_sides_add_in_squares_and_the_fewer_degrees_count():
    verdict = check(_claim(Estimate(1.0, 3.0, 5), Estimate(1.0, 4.0, 50), "="), NOTHING)
    assert verdict.stderr == 5.0
    assert verdict.allowance == pytest.approx(5.0 * scipy.stats.t.isf(FALSE_ALARM / 20, 5), rel=1e-9)


def _statement() -> Statement:
    return Statement("a.b", "s", Source("p", "", ""))


def test_missing_evidence_makes_a_claim_not_applicable_and_says_why():
    claim = _statement().at_most(lambda e: e[UnitRounding].corner, 1.0, "bit")
    verdict = check(claim, Evidence("x", {UnitRounding: lambda: Absent("too large")}))
    assert (verdict.status, verdict.assumption) == ("not applicable", "too large")
    assert "UnitRounding" in check(claim, NOTHING).assumption


def test_no_side_is_computed_where_an_assumption_is_not_met():
    def never(evidence: Evidence) -> float:
        raise AssertionError("a side was computed")

    unmet = _statement().at_most(never, never, "bit", Assumption("n > 1", lambda e: True), Assumption("n > 2", lambda e: False))
    verdict = check(unmet, NOTHING)
    assert (verdict.status, verdict.assumption) == ("not applicable", "not met: n > 2")
    assert math.isnan(verdict.margin)


def _raise(error: BaseException) -> float:
    raise error


@pytest.mark.parametrize("error", [ValueError("planted"), ZeroDivisionError("planted"), TypeError("planted"), MemoryError("planted")])
@pytest.mark.parametrize("where", ["left", "right", "tolerance", "chance", "assumption"])
def test_an_error_anywhere_in_a_claim_is_its_status(where, error):
    parts = {part: (lambda e: _raise(error)) if part == where else 1.0 for part in ("left", "right", "tolerance", "chance")}
    assumptions = (Assumption("planted", lambda e: _raise(error)),) if where == "assumption" else ()
    claim = Claim("a.b", "s", Source("p", "", ""), relation="≤", unit="bit", assumptions=assumptions, **parts)
    verdict = check(claim, NOTHING)
    assert (verdict.status, verdict.assumption) == ("failed", f"{type(error).__name__}: planted")
    assert math.isnan(verdict.lhs)
    assert math.isnan(verdict.false_alarm)


def test_an_interrupt_is_no_status():
    with pytest.raises(KeyboardInterrupt):
        check(_statement().equal(lambda e: _raise(KeyboardInterrupt()), 0.0, "bit"), NOTHING)


def test_statements_become_claims_of_their_relation():
    s = _statement()
    assert [check(make(1.0, 2.0, "bit"), NOTHING).status for make in (s.at_most, s.at_least, s.equal)] == ["holds", "violated", "violated"]


def test_a_statement_about_probability_carries_its_own_chance():
    assert check(_claim(0.0, 1.0, "≤", chance=lambda e: 0.25), NOTHING).false_alarm == 0.25


def test_rows_are_flat_and_complete():
    row = check(_claim(1.0, 2.0, "≤", assumptions=(Assumption("always", lambda e: True),)), NOTHING).to_row()
    assert row["claim"] == "a.b"
    assert row["subject"] == "nothing"
    assert row["source"] == "paper v1 eq. 1"
    assert row["assumption"] == "always"
    assert (row["lhs"], row["relation"], row["rhs"], row["margin"], row["unit"]) == (1.0, "≤", 2.0, 1.0, "bit")


def test_evidence_with_a_part_replaced_is_another_evidence():
    first = Clamping(4, 1.0, 2.0, 0.5)
    evidence = NOTHING.having(first)
    assert evidence[Clamping] is first
    assert evidence.having(Clamping(4, 1.0, 2.0, 0.7))[Clamping].unclamped == 0.7
    assert evidence[Clamping].unclamped == 0.5
    assert NOTHING.sources == {}
