"""GPTQ as Babai's nearest plane: the same integers, a box, and the range of what an order of columns can change."""

from __future__ import annotations

import numpy as np

from rdtools.claims.evidence.base import Evidence
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.evidence.nearest_plane import NearestPlane
from rdtools.claims.papers.terms import (
    CORNER_SHARE,
    POSITIVE_DEFINITE,
    REGULAR,
    factor_rounding,
    factoring,
    ours,
    summing,
    trace_h,
)
from rdtools.claims.record import Assumption, Source, Statement
from rdtools.theory.high_rate import mean_log2
from rdtools.theory.ldlq import nearest_plane_ratio_bound, nearest_plane_sharp_ratio_bound


def _source(equation: str) -> Source:
    return Source("Chen et al. 2507.18553", "", equation)


#: Rounding moves what is rounded by about the resolution; with so few decisions as near to a tie as that, none is expected to flip.
_NO_TIES = Assumption(
    "no code is expected within rounding of a tie: integers × r ε λ_max/λ_min < 0.01",
    lambda e: e[NearestPlane].decisions * e[Moment].resolution < 0.01,
)


def _box(e: Evidence) -> float:
    return float((e[NearestPlane].lengths ** 2).sum())


def _order_traces(e: Evidence) -> list[float]:
    return [float(diagonal.sum()) for diagonal in e[Moment].order_diagonals.values()]


CLAIMS = (
    Statement(
        "babai.textbook",
        "the sweep and the textbook recursion of GPTQ on H⁻¹ give the same integers (integers that differ)",
        _source("Theorem 4"),
    ).equal(lambda e: e[NearestPlane].textbook_mismatches, 0.0, "codes", POSITIVE_DEFINITE, _NO_TIES),
    Statement(
        "babai.nearest-plane",
        "the sweep and Babai's nearest plane on any square root of H give the same integers (integers that differ)",
        _source("Theorem 4"),
    ).equal(lambda e: e[NearestPlane].plane_mismatches, 0.0, "codes", POSITIVE_DEFINITE, _NO_TIES),
    Statement(
        "babai.idempotent", "a further pass over its own answer changes nothing (integers that differ)", _source("discussion of Theorem 4")
    ).equal(lambda e: e[NearestPlane].repeated_mismatches, 0.0, "codes", *REGULAR),
    Statement(
        "babai.box", "|y_i| ≤ ½ α_i ℓ_ii for every residual (largest ratio)", Source("WaterSIC 2603.04956", "v1", "Lemma 3.2")
    ).at_most(lambda e: e[NearestPlane].box_excess, 1.0, "relative", *REGULAR, tolerance=factoring(1.0)),
    Statement("babai.worst-case", "‖y‖² ≤ ¼ Σ (α_i ℓ_ii)² in every row (the largest)", _source("Theorem 5")).at_most(
        lambda e: e[NearestPlane].worst_row, lambda e: _box(e) / 4, "loss", POSITIVE_DEFINITE, tolerance=factoring(_box)
    ),
    Statement("babai.worst-case-tight", "‖y‖² = ¼ Σ (α_i ℓ_ii)² at a corner of the box", _source("Theorem 5")).equal(
        lambda e: e[NearestPlane].corner_row,
        lambda e: _box(e) / 4,
        "loss",
        *REGULAR,
        tolerance=lambda e: CORNER_SHARE * _box(e) / 4 + factor_rounding(e, _box(e)),
    ),
    Statement("babai.uniform", "mean ‖y‖² = Σ (α_i ℓ_ii)²/12 for targets uniform in the box", _source("Theorem 5, expectation")).equal(
        lambda e: e[NearestPlane].uniform_row, lambda e: _box(e) / 12, "loss", *REGULAR, tolerance=factoring(_box)
    ),
    Statement(
        "babai.ratio",
        "‖y‖ ≤ √(1 + max_j Σ_{j'≤j} d_j'²/d_j²) · distance of the closest point, up to four columns (largest ratio)",
        _source("Theorem 5, relative form"),
    ).at_most(
        lambda e: e[NearestPlane].closest_ratio,
        lambda e: nearest_plane_ratio_bound(e[NearestPlane].closest_lengths),
        "ratio",
        *REGULAR,
        tolerance=factoring(1.0),
    ),
    Statement(
        "babai.sharp-ratio",
        "‖y‖ ≤ √(max_j Σ_{j'≤j} d_j'²/d_j²) · distance of the closest point, up to four columns (largest ratio)",
        ours("Babai's argument"),
    ).at_most(
        lambda e: e[NearestPlane].closest_ratio,
        lambda e: nearest_plane_sharp_ratio_bound(e[NearestPlane].closest_lengths),
        "ratio",
        *REGULAR,
        tolerance=factoring(1.0),
    ),
    Statement(
        "babai.order-product",
        "mean log2 D_ii is the same in every order of the columns (farthest from mean log2 λ)",
        _source("section on order"),
    ).equal(
        lambda e: max(
            (float(np.log2(diagonal).mean()) for diagonal in e[Moment].order_diagonals.values()),
            key=lambda value: abs(value - mean_log2(e[Moment].spectrum)),
        ),
        lambda e: mean_log2(e[Moment].spectrum),
        "bit",
        *REGULAR,
        tolerance=factoring(1.0),
    ),
    Statement("babai.order-least", "tr D ≥ n |H|^{1/n} in every order of the columns (the least)", _source("section on order")).at_least(
        lambda e: min(_order_traces(e)),
        lambda e: e[Moment].columns * 2.0 ** mean_log2(e[Moment].spectrum),
        "trace",
        *REGULAR,
        tolerance=factoring(lambda e: min(_order_traces(e))),
    ),
    Statement("babai.order-most", "tr D ≤ tr H in every order of the columns (the largest)", _source("section on order")).at_most(
        lambda e: max(_order_traces(e)), trace_h, "trace", POSITIVE_DEFINITE, tolerance=summing(trace_h)
    ),
)
