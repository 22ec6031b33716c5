"""WaterSIC: the rate–distortion bound, and the gap of scalar schemes to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rdtools.claims.evidence.base import Estimate, Evidence
from rdtools.claims.evidence.coded import CodedPoint
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.evidence.normal_weights import BIN_STDS, HIGH_RATE_SHARE, NormalWeights
from rdtools.claims.evidence.rotations import Rotations
from rdtools.claims.papers.terms import (
    REGULAR,
    factor_rounding,
    factoring,
    ours,
    rate_limit,
)
from rdtools.claims.record import Assumption, Claim, Source, Statement
from rdtools.linalg import log2_am_over_gm
from rdtools.theory.high_rate import mean_log2
from rdtools.theory.waterfilling import rate_distortion
from rdtools.units import SCALAR_LOSS_BITS


def _source(equation: str) -> Source:
    return Source("WaterSIC 2603.04956", "v1", equation)


def _has(scheme: str) -> Assumption:
    return Assumption(
        f"every column of {scheme} adds at most λ_min/{round(1 / HIGH_RATE_SHARE)} to the distortion below 20 bits",
        lambda e: scheme in e[NormalWeights].high_rate,
    )


def _gap(scheme: str) -> Callable[[Evidence], Estimate]:
    def gap(e: Evidence) -> Estimate:
        point = e[NormalWeights].high_rate[scheme]
        limit = rate_limit(point.distortion, e)
        # rate and distortion of a row may err together
        stderr = point.rate_bits.stderr + limit.stderr
        return Estimate(point.rate_bits.value - limit.value, stderr, min(point.rate_bits.degrees, limit.degrees))

    return gap


def _rate_bits(e: Evidence) -> float:
    """Bits that undecided columns, whose e_i and η_i have at most the share of a weight's variance each, and the bins may add."""
    return 0.5 * math.log2(1 + 4 * HIGH_RATE_SHARE) + BIN_STDS**2 / (24 * math.log(2)) + factor_rounding(e, 1.0)


def _tightest(e: Evidence) -> CodedPoint:
    """The file nearest to violating the converse; five standard errors are about what is granted."""

    def slack(point: CodedPoint) -> float:
        limit = rate_limit(point.distortion, e)
        return point.total_bpw - limit.value + 5 * limit.stderr

    return min(e[NormalWeights].coded, key=slack)


def _average_bound(e: Evidence) -> Estimate:
    return rate_limit(_tightest(e).distortion, e)


def _middle(e: Evidence) -> float:
    values = e[Moment].spectrum.eigenvalues
    return math.sqrt(float(values[-1]) * float(values.mean()))


def _gap_claim(name: str, scheme: str, statement: str, source: Source, gap: Callable[[Evidence], float]) -> Claim:
    return Statement(name, statement, source).equal(_gap(scheme), gap, "bit", *REGULAR, _has(scheme), tolerance=_rate_bits)


CLAIMS = (
    Statement(
        "watersic.converse",
        "coded rate ≥ R_WF(D) for iid normal weights (the tightest of the methods run)",
        _source("Proposition 3.1"),
    ).at_least(lambda e: _tightest(e).total_bpw, _average_bound, "bit"),
    Statement("watersic.high-rate-exact", "R_WF(D) = ½ log2(|H|^{1/n}/D) at D = λ_min", _source("section 3")).equal(
        lambda e: float(rate_distortion(float(e[Moment].spectrum.eigenvalues[-1]), e[Moment].spectrum.eigenvalues).rate_bits),
        lambda e: 0.5 * (mean_log2(e[Moment].spectrum) - math.log2(float(e[Moment].spectrum.eigenvalues[-1]))),
        "bit",
        *REGULAR,
        tolerance=factoring(1.0),
    ),
    Statement("watersic.high-rate-below", "½ log2(|H|^{1/n}/D) ≤ R_WF(D) at D = √(λ_min tr H/n)", _source("section 3")).at_most(
        lambda e: 0.5 * (mean_log2(e[Moment].spectrum) - math.log2(_middle(e))),
        lambda e: float(rate_distortion(_middle(e), e[Moment].spectrum.eigenvalues).rate_bits),
        "bit",
        *REGULAR,
        tolerance=factoring(1.0),
    ),
    _gap_claim(
        "watersic.theorem-3.3-watersic",
        "watersic",
        "R − R_WF(D) = ½ log2(2πe/12) for WaterSIC at high rate",
        _source("Theorem 3.3"),
        lambda e: SCALAR_LOSS_BITS,
    ),
    _gap_claim(
        "watersic.theorem-3.3-gptq",
        "gptq",
        "R − R_WF(D) = ½ log2(2πe/12) + ½ log2(AM/GM of ℓ_ii²) for entropy-coded GPTQ at high rate",
        _source("Theorem 3.3"),
        lambda e: SCALAR_LOSS_BITS + 0.5 * log2_am_over_gm(e[Moment].pivots),
    ),
    _gap_claim(
        "watersic.rtn-gap",
        "rtn",
        "R − R_WF(D) = ½ log2(2πe/12) + ½ log2((tr H/n)/|H|^{1/n}) for entropy-coded rounding at high rate",
        ours("WaterSIC 2603.04956 v1, eqs. 5–11, without feedback"),
        lambda e: (
            SCALAR_LOSS_BITS
            + 0.5 * (math.log2(float(np.trace(e[Moment].matrix)) / e[Moment].columns) - float(np.log2(e[Moment].pivots).mean()))
        ),
    ),
    _gap_claim(
        "watersic.rtn-columns-gap",
        "rtn-columns",
        "R − R_WF(D) = ½ log2(2πe/12) + ½ log2(GM(H_ii)/|H|^{1/n}) for entropy-coded rounding with steps ∝ H_ii^−½ at high rate",
        ours("WaterSIC 2603.04956 v1, eqs. 5–11, without feedback"),
        lambda e: SCALAR_LOSS_BITS + 0.5 * float(np.log2(np.diagonal(e[Moment].matrix)).mean() - np.log2(e[Moment].pivots).mean()),
    ),
    Statement(
        "watersic.renyi",
        "mean H(z_i) = ½ log2(2πe) − mean log2 α_i for WaterSIC at high rate, σ = 1",
        _source("eqs. 5–11, Lemma B.1"),
    ).equal(
        lambda e: e[NormalWeights].high_rate["watersic"].rate_bits,
        lambda e: 0.5 * math.log2(2 * math.pi * math.e) - float(np.log2(e[NormalWeights].high_rate["watersic"].steps).mean()),
        "bit",
        *REGULAR,
        _has("watersic"),
        tolerance=_rate_bits,
    ),
    Statement("watersic.uniform-cells", "D = Σ (α_i ℓ_ii)²/(12 n) for WaterSIC at high rate", _source("eqs. 5–11")).equal(
        lambda e: e[NormalWeights].high_rate["watersic"].distortion,
        lambda e: float(np.mean(e[NormalWeights].high_rate["watersic"].steps ** 2 * e[Moment].pivots)) / 12,
        "distortion",
        *REGULAR,
        _has("watersic"),
        # errors of a normal distribution on cells of step r are uniform to e^(−2π²/r²): nothing at these steps
        tolerance=factoring(lambda e: float(np.mean(e[NormalWeights].high_rate["watersic"].steps ** 2 * e[Moment].pivots))),
    ),
    Statement(
        "watersic.basis-free",
        "|H|^{1/n} from the factor after a Haar rotation is that before (farthest of those drawn, as mean log2)",
        _source("Theorem 3.3"),
    ).equal(
        lambda e: float(max(e[Rotations].haar_log2_determinants, key=lambda value: abs(value - float(np.log2(e[Moment].pivots).mean())))),
        lambda e: float(np.log2(e[Moment].pivots).mean()),
        "bit",
        *REGULAR,
        tolerance=factoring(1.0),
    ),
)
