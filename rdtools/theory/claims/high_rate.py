"""WaterSIC and High-Rate Quantized Matrix Multiplication: the limit, and how far scalar schemes stay from it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rdtools.linalg import log2_am_over_gm
from rdtools.theory.claims.evidence import Evidence
from rdtools.theory.claims.parts import (
    BIN_DEVIATIONS,
    HIGH_RATE_SHARE,
    CodedPoint,
    Estimate,
    MomentEvidence,
    NormalEvidence,
    RotationEvidence,
)
from rdtools.theory.claims.record import Assumption, Claim, Source
from rdtools.theory.claims.terms import POSITIVE_DEFINITE, RESOLVED, factor_rounding, ours
from rdtools.theory.high_rate import mean_log2
from rdtools.theory.rotation import rotated_gptq_gap_bits
from rdtools.theory.waterfilling import rate_distortion
from rdtools.units import SCALAR_LOSS_BITS

_WATERSIC = "WaterSIC 2603.04956"
_PART_II = "High-Rate Quantized MatMul II 2605.13768"


def _has(scheme: str) -> Assumption:
    return Assumption(
        f"every column of {scheme} adds at most λ_min/{round(1 / HIGH_RATE_SHARE)} to the distortion below 20 bits",
        lambda e: scheme in e.normal.high_rate,
    )


def _limit(distortion: Estimate, e: Evidence) -> Estimate:
    """R_WF at a measured distortion, for weights of variance one; ``dR/dD = −1/(2 τ ln 2)`` per weight."""
    values = e.moment.spectrum.eigenvalues
    point = rate_distortion(min(distortion.value, float(np.mean(values))), values)
    return Estimate(float(point.rate_bits), distortion.stderr / (2 * math.log(2) * float(point.water_level)), distortion.degrees)


def _gap(scheme: str) -> Callable[[Evidence], Estimate]:
    def gap(e: Evidence) -> Estimate:
        point = e.normal.high_rate[scheme]
        limit = _limit(point.distortion, e)
        # rate and distortion of a row may err together
        stderr = point.rate_bits.stderr + limit.stderr
        return Estimate(point.rate_bits.value - limit.value, stderr, min(point.rate_bits.degrees, limit.degrees))

    return gap


def _rate_bits(e: Evidence) -> float:
    """What may add to the rate: undecided columns, whose e_i and η_i have at most the share of a weight's variance each, and the bins."""
    return 0.5 * math.log2(1 + 4 * HIGH_RATE_SHARE) + BIN_DEVIATIONS**2 / (24 * math.log(2)) + factor_rounding(e, 1.0)


def _tightest(e: Evidence) -> CodedPoint:
    """Of the files, the one nearest to violating the converse; five standard errors are about what is granted."""

    def slack(point: CodedPoint) -> float:
        limit = _limit(point.distortion, e)
        return point.coded_bits - limit.value + 5 * limit.stderr

    return min(e.normal.coded, key=slack)


def _average_limit(e: Evidence) -> Estimate:
    return _limit(_tightest(e).distortion, e)


def _gap_claim(name: str, scheme: str, statement: str, source: Source, gap: Callable[[Evidence], float]) -> Claim:
    return Claim(
        name,
        statement,
        source,
        (MomentEvidence, NormalEvidence),
        left=_gap(scheme),
        right=gap,
        relation="=",
        unit="bit",
        assumptions=(POSITIVE_DEFINITE, RESOLVED, _has(scheme)),
        tolerance=_rate_bits,
    )


CLAIMS = (
    Claim(
        "watersic.converse",
        "coded rate ≥ R_WF(D) for iid normal weights (the tightest of the methods run)",
        Source(_WATERSIC, "v1", "Proposition 3.1"),
        (MomentEvidence, NormalEvidence),
        left=lambda e: _tightest(e).coded_bits,
        right=_average_limit,
        relation="≥",
        unit="bit",
    ),
    Claim(
        "watersic.high-rate-exact",
        "R_WF(D) = ½ log2(|H|^{1/n}/D) at D = λ_min",
        Source(_WATERSIC, "v1", "section 3"),
        (MomentEvidence,),
        left=lambda e: float(rate_distortion(float(e.moment.spectrum.eigenvalues[-1]), e.moment.spectrum.eigenvalues).rate_bits),
        right=lambda e: 0.5 * (mean_log2(e.moment.spectrum) - math.log2(float(e.moment.spectrum.eigenvalues[-1]))),
        relation="=",
        unit="bit",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, 1.0),
    ),
    Claim(
        "watersic.high-rate-below",
        "½ log2(|H|^{1/n}/D) ≤ R_WF(D) at D = √(λ_min tr H/n)",
        Source(_WATERSIC, "v1", "section 3"),
        (MomentEvidence,),
        left=lambda e: 0.5 * (mean_log2(e.moment.spectrum) - math.log2(_middle(e))),
        right=lambda e: float(rate_distortion(_middle(e), e.moment.spectrum.eigenvalues).rate_bits),
        relation="≤",
        unit="bit",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, 1.0),
    ),
    _gap_claim(
        "watersic.theorem-3.3-watersic",
        "watersic",
        "R − R_WF(D) = ½ log2(2πe/12) for WaterSIC at high rate",
        Source(_WATERSIC, "v1", "Theorem 3.3"),
        lambda e: SCALAR_LOSS_BITS,
    ),
    _gap_claim(
        "watersic.theorem-3.3-gptq",
        "gptq",
        "R − R_WF(D) = ½ log2(2πe/12) + ½ log2(AM/GM of ℓ_ii²) for entropy-coded GPTQ at high rate",
        Source(_WATERSIC, "v1", "Theorem 3.3"),
        lambda e: SCALAR_LOSS_BITS + 0.5 * log2_am_over_gm(e.moment.pivots),
    ),
    _gap_claim(
        "watersic.rtn-gap",
        "rtn",
        "R − R_WF(D) = ½ log2(2πe/12) + ½ log2((tr H/n)/|H|^{1/n}) for entropy-coded rounding at high rate",
        ours("WaterSIC 2603.04956 v1, eqs. 5–11, without feedback"),
        lambda e: (
            SCALAR_LOSS_BITS
            + 0.5 * (math.log2(float(np.trace(e.moment.matrix)) / e.moment.columns) - float(np.log2(e.moment.pivots).mean()))
        ),
    ),
    _gap_claim(
        "watersic.rtn-columns-gap",
        "rtn-columns",
        "R − R_WF(D) = ½ log2(2πe/12) + ½ log2(GM(H_ii)/|H|^{1/n}) for entropy-coded rounding with steps ∝ H_ii^−½ at high rate",
        ours("WaterSIC 2603.04956 v1, eqs. 5–11, without feedback"),
        lambda e: SCALAR_LOSS_BITS + 0.5 * float(np.log2(np.diagonal(e.moment.matrix)).mean() - np.log2(e.moment.pivots).mean()),
    ),
    Claim(
        "watersic.renyi",
        "mean H(z_i) = ½ log2(2πe) − mean log2 α_i for WaterSIC at high rate, σ = 1",
        Source(_WATERSIC, "v1", "eqs. 5–11, Lemma B.1"),
        (MomentEvidence, NormalEvidence),
        left=lambda e: e.normal.high_rate["watersic"].rate_bits,
        right=lambda e: 0.5 * math.log2(2 * math.pi * math.e) - float(np.log2(e.normal.high_rate["watersic"].steps).mean()),
        relation="=",
        unit="bit",
        assumptions=(POSITIVE_DEFINITE, RESOLVED, _has("watersic")),
        tolerance=_rate_bits,
    ),
    Claim(
        "watersic.uniform-cells",
        "D = Σ (α_i ℓ_ii)²/(12 n) for WaterSIC at high rate",
        Source(_WATERSIC, "v1", "eqs. 5–11"),
        (MomentEvidence, NormalEvidence),
        left=lambda e: e.normal.high_rate["watersic"].distortion,
        right=lambda e: float(np.mean(e.normal.high_rate["watersic"].steps ** 2 * e.moment.pivots)) / 12,
        relation="=",
        unit="distortion",
        assumptions=(POSITIVE_DEFINITE, RESOLVED, _has("watersic")),
        # errors of a normal law on cells of step r are uniform to e^(−2π²/r²): nothing at these steps
        tolerance=lambda e: factor_rounding(e, float(np.mean(e.normal.high_rate["watersic"].steps ** 2 * e.moment.pivots))),
    ),
    Claim(
        "watersic.basis-free",
        "|H|^{1/n} from the factor after a Haar rotation is that before (farthest of those drawn, as mean log2)",
        Source(_WATERSIC, "v1", "Theorem 3.3"),
        (MomentEvidence, RotationEvidence),
        left=lambda e: float(
            max(e.rotations.haar_log2_determinants, key=lambda value: abs(value - float(np.log2(e.moment.pivots).mean())))
        ),
        right=lambda e: float(np.log2(e.moment.pivots).mean()),
        relation="=",
        unit="bit",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, 1.0),
    ),
    Claim(
        "matmul-ii.rotated-gptq",
        "randomly rotated GPTQ is within 0.1 bit of WaterSIC at high rate on Llama-3-8B",
        Source(_PART_II, "", "abstract"),
        (MomentEvidence,),
        left=lambda e: rotated_gptq_gap_bits(e.moment.spectrum),
        right=lambda e: 0.1,
        relation="≤",
        unit="bit",
        assumptions=(
            Assumption("the layer is of Llama-3-8B", lambda e: "llama-3-8b" in e.model.lower()),
            POSITIVE_DEFINITE,
            RESOLVED,
            Assumption(
                "H comes from at least ten tokens a column", lambda e: e.moment.n_tokens == 0 or e.moment.n_tokens >= 10 * e.moment.columns
            ),
        ),
    ),
)


def _middle(e: Evidence) -> float:
    values = e.moment.spectrum.eigenvalues
    return math.sqrt(float(values[-1]) * float(values.mean()))
