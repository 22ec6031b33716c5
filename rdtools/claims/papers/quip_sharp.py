"""QuIP#: randomized Hadamard rotations and block LDLQ."""

from __future__ import annotations

from collections.abc import Callable

from rdtools.claims.evidence.base import Estimate, Evidence
from rdtools.claims.evidence.lattices import Lattices
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.evidence.rotations import Rotations
from rdtools.claims.evidence.weights import Weights
from rdtools.claims.papers.terms import (
    POSITIVE_DEFINITE,
    REGULAR,
    RESOLVED,
    factor,
    factoring,
    ours,
    root_trace,
    summing,
    trace_d,
    trace_h,
)
from rdtools.claims.record import Assumption, Claim, Source, Statement
from rdtools.theory.incoherence import (
    hadamard_incoherence_bound,
    hadamard_tail_probability,
    hadamard_weight_incoherence_bound,
    hessian_incoherence,
)
from rdtools.theory.ldlq import block_proxy_loss_bound, block_trace, block_trace_bound

_BLOCK = 8


def _source(equation: str) -> Source:
    return Source("QuIP# 2402.04396", "", equation)


def _hadamard_exists(e: Evidence) -> bool:
    return e[Rotations].incoherence["hadamard"].size > 0


_HADAMARD = Assumption("a Hadamard matrix of order n can be built", _hadamard_exists)
_BOTH_HADAMARD = Assumption(
    "Hadamard matrices of orders m and n can be built", lambda e: e[Weights].rotated_incoherence["hadamard"].size > 0
)


def _tail(e: Evidence) -> Estimate:
    fraction = e[Rotations].tail_fraction
    assert fraction is not None  # an assumption of the claim
    return fraction


def _block_trace(e: Evidence, block: int = _BLOCK) -> float:
    return block_trace(factor(e), block)


def _block_bound(e: Evidence) -> float:
    return block_trace_bound(e[Moment].root, _BLOCK)


def _divides(name: str, dimension: int) -> Assumption:
    return Assumption(f"{dimension} divides the number of active columns", lambda e: name in e[Lattices].points)


def _loss(name: str) -> Callable[[Evidence], Estimate]:
    return lambda e: e[Lattices].points[name].loss


def _sharp(name: str) -> Callable[[Evidence], float]:
    return lambda e: e[Lattices].points[name].error_variance * _block_trace(e, e[Lattices].points[name].block)


def _theorem(name: str) -> Callable[[Evidence], float]:
    def bound(e: Evidence) -> float:
        point = e[Lattices].points[name]
        return block_proxy_loss_bound(
            hessian_incoherence(e[Moment].spectrum), root_trace(e), e[Moment].columns, point.block, point.error_variance
        )

    return bound


def _lattice_claims(name: str, dimension: int) -> tuple[Claim, ...]:
    assumptions = (POSITIVE_DEFINITE, RESOLVED, _divides(name, dimension))
    return (
        Statement(
            f"quip#.theorem-4.1-{name}",
            f"mean loss of BlockLDLQ on {name} ≤ (g μ_H² σ²/n) (tr H^½)², W uniform modulo the lattice",
            _source("Theorem 4.1"),
        ).at_most(_loss(name), _theorem(name), "squared step", *assumptions, tolerance=factoring(trace_d)),
        Statement(
            f"quip#.block-loss-{name}",
            f"mean loss of BlockLDLQ on {name} = σ² tr D_block, W uniform modulo the lattice",
            ours("sharp form of QuIP# 2402.04396 Theorem 4.1"),
        ).equal(_loss(name), _sharp(name), "squared step", *assumptions, tolerance=factoring(trace_h)),
        Statement(
            f"quip#.block-identity-{name}",
            f"E H Eᵀ = Σ_k η_k D_k η_kᵀ in every row on {name} (largest difference over tr H)",
            _source("Theorem 4.1, proof"),
        ).equal(lambda e: e[Lattices].points[name].identity_error, 0.0, "relative", *assumptions, tolerance=factoring(1.0)),
    )


CLAIMS = (
    Statement(
        "quip#.lemma-3.1-hessian",
        "μ_H after a randomized Hadamard rotation ≤ √(2 ln(2n²/δ)) with probability 1 − δ (largest drawn)",
        _source("Lemma 3.1"),
    ).at_most(
        lambda e: float(e[Rotations].incoherence["hadamard"].max()),
        lambda e: hadamard_incoherence_bound(e[Moment].columns, failure=e[Rotations].failure),
        "μ",
        _HADAMARD,
        chance=lambda e: e[Rotations].failure * e[Rotations].incoherence["hadamard"].size,
    ),
    Statement(
        "quip#.lemma-3.1-weights",
        "μ_W after randomized Hadamard rotations on both sides ≤ 2 ln(4mn/δ) with probability 1 − δ (largest drawn)",
        _source("Lemma 3.1"),
    ).at_most(
        lambda e: float(e[Weights].rotated_incoherence["hadamard"].max()),
        lambda e: hadamard_weight_incoherence_bound(e[Weights].rows, e[Moment].columns, failure=e[Weights].failure),
        "μ",
        _BOTH_HADAMARD,
        chance=lambda e: e[Weights].failure * e[Weights].rotated_incoherence["hadamard"].size,
    ),
    Statement(
        "quip#.lemma-3.1-tail", "P(|bᵀ H S x| ≥ a) ≤ 2 exp(−a² n/2) over the entries of rotated eigenvectors", _source("Lemma 3.1, proof")
    ).at_most(_tail, lambda e: hadamard_tail_probability(e[Rotations].tail_threshold, e[Moment].columns), "probability", _HADAMARD),
    Statement("quip#.lemma-b.1", f"tr D_block ≤ tr S · ‖S ∘ M‖₂, S = H^½, blocks of {_BLOCK}", _source("Lemma B.1")).at_most(
        _block_trace, _block_bound, "trace", *REGULAR, tolerance=summing(trace_h)
    ),
    Statement("quip#.block-between-scalar", f"tr D ≤ tr D_block, blocks of {_BLOCK}", ours("nesting of block factorizations")).at_most(
        trace_d, _block_trace, "trace", *REGULAR, tolerance=summing(trace_h)
    ),
    Statement("quip#.block-between-plain", f"tr D_block ≤ tr H, blocks of {_BLOCK}", ours("nesting of block factorizations")).at_most(
        _block_trace, trace_h, "trace", POSITIVE_DEFINITE, tolerance=summing(trace_h)
    ),
    *_lattice_claims("D4", 4),
    *_lattice_claims("E8", 8),
)
