"""GPTQ as Babai's nearest plane: the same integers, a box, and what the order of columns can change."""

from __future__ import annotations

import numpy as np

from rdtools.theory.claims.evidence import Evidence
from rdtools.theory.claims.layer_parts import PlaneEvidence
from rdtools.theory.claims.parts import MomentEvidence
from rdtools.theory.claims.quip import CORNER_SHARE
from rdtools.theory.claims.record import Assumption, Claim, Source
from rdtools.theory.claims.terms import POSITIVE_DEFINITE, RESOLVED, factor_rounding, ours, sum_rounding, trace_h
from rdtools.theory.high_rate import mean_log2
from rdtools.theory.ldlq import nearest_plane_ratio_bound, nearest_plane_sharp_ratio_bound


def _source(equation: str) -> Source:
    return Source("Chen et al. 2507.18553", "", equation)


#: Rounding moves what is rounded by about the resolution; with so few decisions as near to a tie as that, none is expected to flip.
_NO_TIES = Assumption(
    "no code is expected within rounding of a tie: codes × r ε λ_max/λ_min < 0.01",
    lambda e: e.planes.decisions * e.moment.resolution < 0.01,
)


def _box(e: Evidence) -> float:
    return float((e.planes.lengths**2).sum())


def _order_traces(e: Evidence) -> list[float]:
    return [float(diagonal.sum()) for diagonal in e.moment.order_diagonals.values()]


CLAIMS = (
    Claim(
        "babai.textbook",
        "the sweep and the textbook recursion of GPTQ on H⁻¹ give the same integers (codes that differ)",
        _source("Theorem 4"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: e.planes.textbook_mismatches,
        right=lambda e: 0.0,
        relation="=",
        unit="codes",
        assumptions=(POSITIVE_DEFINITE, _NO_TIES),
    ),
    Claim(
        "babai.nearest-plane",
        "the sweep and Babai's nearest plane on any square root of H give the same integers (codes that differ)",
        _source("Theorem 4"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: e.planes.plane_mismatches,
        right=lambda e: 0.0,
        relation="=",
        unit="codes",
        assumptions=(POSITIVE_DEFINITE, _NO_TIES),
    ),
    Claim(
        "babai.idempotent",
        "a further pass over its own answer changes nothing (codes that differ)",
        _source("discussion of Theorem 4"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: e.planes.repeated_mismatches,
        right=lambda e: 0.0,
        relation="=",
        unit="codes",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
    ),
    Claim(
        "babai.box",
        "|y_i| ≤ ½ α_i ℓ_ii for every residual (largest ratio)",
        Source("WaterSIC 2603.04956", "v1", "Lemma 3.2"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: e.planes.box_excess,
        right=lambda e: 1.0,
        relation="≤",
        unit="relative",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, 1.0),
    ),
    Claim(
        "babai.worst-case",
        "‖y‖² ≤ ¼ Σ (α_i ℓ_ii)² in every row (the largest)",
        _source("Theorem 5"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: e.planes.worst_row,
        right=lambda e: _box(e) / 4,
        relation="≤",
        unit="loss",
        assumptions=(POSITIVE_DEFINITE,),
        tolerance=lambda e: factor_rounding(e, _box(e)),
    ),
    Claim(
        "babai.worst-case-tight",
        "‖y‖² = ¼ Σ (α_i ℓ_ii)² at a corner of the box",
        _source("Theorem 5"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: e.planes.corner_row,
        right=lambda e: _box(e) / 4,
        relation="=",
        unit="loss",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: CORNER_SHARE * _box(e) / 4 + factor_rounding(e, _box(e)),
    ),
    Claim(
        "babai.uniform",
        "mean ‖y‖² = Σ (α_i ℓ_ii)²/12 for targets uniform in the box",
        _source("Theorem 5, expectation"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: e.planes.uniform_row,
        right=lambda e: _box(e) / 12,
        relation="=",
        unit="loss",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, _box(e)),
    ),
    Claim(
        "babai.ratio",
        "‖y‖ ≤ √(1 + max_j Σ_{j'≤j} d_j'²/d_j²) · distance of the closest point, up to four columns (largest ratio)",
        _source("Theorem 5, relative form"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: e.planes.closest_ratio,
        right=lambda e: nearest_plane_ratio_bound(e.planes.closest_lengths),
        relation="≤",
        unit="ratio",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, 1.0),
    ),
    Claim(
        "babai.sharp-ratio",
        "‖y‖ ≤ √(max_j Σ_{j'≤j} d_j'²/d_j²) · distance of the closest point, up to four columns (largest ratio)",
        ours("Babai's argument"),
        (MomentEvidence, PlaneEvidence),
        left=lambda e: e.planes.closest_ratio,
        right=lambda e: nearest_plane_sharp_ratio_bound(e.planes.closest_lengths),
        relation="≤",
        unit="ratio",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, 1.0),
    ),
    Claim(
        "babai.order-product",
        "mean log2 D_ii is the same in every order of the columns (farthest from mean log2 λ)",
        _source("section on order"),
        (MomentEvidence,),
        left=lambda e: max(
            (float(np.log2(diagonal).mean()) for diagonal in e.moment.order_diagonals.values()),
            key=lambda value: abs(value - mean_log2(e.moment.spectrum)),
        ),
        right=lambda e: mean_log2(e.moment.spectrum),
        relation="=",
        unit="bit",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, 1.0),
    ),
    Claim(
        "babai.order-least",
        "tr D ≥ n |H|^{1/n} in every order of the columns (the least)",
        _source("section on order"),
        (MomentEvidence,),
        left=lambda e: min(_order_traces(e)),
        right=lambda e: e.moment.columns * 2.0 ** mean_log2(e.moment.spectrum),
        relation="≥",
        unit="trace",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: factor_rounding(e, min(_order_traces(e))),
    ),
    Claim(
        "babai.order-most",
        "tr D ≤ tr H in every order of the columns (the largest)",
        _source("section on order"),
        (MomentEvidence,),
        left=lambda e: max(_order_traces(e)),
        right=trace_h,
        relation="≤",
        unit="trace",
        assumptions=(POSITIVE_DEFINITE,),
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
)
