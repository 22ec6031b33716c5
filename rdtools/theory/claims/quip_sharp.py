"""QuIP#: randomized Hadamard rotations and block LDLQ."""

from __future__ import annotations

from collections.abc import Callable

from rdtools.theory.claims.evidence import Evidence
from rdtools.theory.claims.layer_parts import WeightEvidence
from rdtools.theory.claims.parts import Estimate, LatticeEvidence, MomentEvidence, RotationEvidence
from rdtools.theory.claims.record import Assumption, Claim, Source
from rdtools.theory.claims.terms import POSITIVE_DEFINITE, RESOLVED, factor_rounding, ours, root_trace, sum_rounding, trace_d, trace_h
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
    return e.rotations.incoherence["hadamard"].size > 0


_HADAMARD = Assumption("a Hadamard matrix of order n can be built", _hadamard_exists)
_BOTH_HADAMARD = Assumption(
    "Hadamard matrices of orders m and n can be built", lambda e: e.weights.rotated_incoherence["hadamard"].size > 0
)


def _tail(e: Evidence) -> Estimate:
    assert e.rotations.tail_fraction is not None  # an assumption of the claim
    return e.rotations.tail_fraction


def _block_trace(e: Evidence, block: int = _BLOCK) -> float:
    assert e.moment.factor is not None  # an assumption of every claim that asks
    return block_trace(e.moment.factor, block)


def _block_bound(e: Evidence) -> float:
    return block_trace_bound(e.moment.root, _BLOCK)


def _divides(name: str, dimension: int) -> Assumption:
    return Assumption(f"{dimension} divides the number of live columns", lambda e: name in e.lattices.points)


def _loss(name: str) -> Callable[[Evidence], Estimate]:
    return lambda e: e.lattices.points[name].loss


def _sharp(name: str) -> Callable[[Evidence], float]:
    return lambda e: e.lattices.points[name].error_variance * _block_trace(e, e.lattices.points[name].block)


def _theorem(name: str) -> Callable[[Evidence], float]:
    def bound(e: Evidence) -> float:
        point = e.lattices.points[name]
        return block_proxy_loss_bound(
            hessian_incoherence(e.moment.spectrum), root_trace(e), e.moment.columns, point.block, point.error_variance
        )

    return bound


def _lattice_claims(name: str, dimension: int) -> tuple[Claim, ...]:
    assumptions = (POSITIVE_DEFINITE, RESOLVED, _divides(name, dimension))
    return (
        Claim(
            f"quip#.theorem-4.1-{name}",
            f"mean loss of BlockLDLQ on {name} ≤ (g μ_H² σ²/n) (tr H^½)², W uniform modulo the lattice",
            _source("Theorem 4.1"),
            (MomentEvidence, LatticeEvidence),
            left=_loss(name),
            right=_theorem(name),
            relation="≤",
            unit="squared step",
            assumptions=assumptions,
            tolerance=lambda e: factor_rounding(e, trace_d(e)),
        ),
        Claim(
            f"quip#.block-loss-{name}",
            f"mean loss of BlockLDLQ on {name} = σ² tr D_block, W uniform modulo the lattice",
            ours("sharp form of QuIP# 2402.04396 Theorem 4.1"),
            (MomentEvidence, LatticeEvidence),
            left=_loss(name),
            right=_sharp(name),
            relation="=",
            unit="squared step",
            assumptions=assumptions,
            tolerance=lambda e: factor_rounding(e, trace_h(e)),
        ),
        Claim(
            f"quip#.block-identity-{name}",
            f"E H Eᵀ = Σ_k η_k D_k η_kᵀ in every row on {name} (largest difference over tr H)",
            _source("Theorem 4.1, proof"),
            (MomentEvidence, LatticeEvidence),
            left=lambda e: e.lattices.points[name].identity_error,
            right=lambda e: 0.0,
            relation="=",
            unit="relative",
            assumptions=assumptions,
            tolerance=lambda e: factor_rounding(e, 1.0),
        ),
    )


CLAIMS = (
    Claim(
        "quip#.lemma-3.1-hessian",
        "μ_H after a randomized Hadamard rotation ≤ √(2 ln(2n²/δ)) with probability 1 − δ (largest drawn)",
        _source("Lemma 3.1"),
        (RotationEvidence, MomentEvidence),
        left=lambda e: float(e.rotations.incoherence["hadamard"].max()),
        right=lambda e: hadamard_incoherence_bound(e.moment.columns, failure=e.rotations.failure),
        relation="≤",
        unit="μ",
        assumptions=(_HADAMARD,),
        chance=lambda e: e.rotations.failure * e.rotations.incoherence["hadamard"].size,
    ),
    Claim(
        "quip#.lemma-3.1-weights",
        "μ_W after randomized Hadamard rotations on both sides ≤ 2 ln(4mn/δ) with probability 1 − δ (largest drawn)",
        _source("Lemma 3.1"),
        (WeightEvidence, MomentEvidence),
        left=lambda e: float(e.weights.rotated_incoherence["hadamard"].max()),
        right=lambda e: hadamard_weight_incoherence_bound(e.weights.rows, e.moment.columns, failure=e.weights.failure),
        relation="≤",
        unit="μ",
        assumptions=(_BOTH_HADAMARD,),
        chance=lambda e: e.weights.failure * e.weights.rotated_incoherence["hadamard"].size,
    ),
    Claim(
        "quip#.lemma-3.1-tail",
        "P(|bᵀ H S x| ≥ a) ≤ 2 exp(−a² n/2) over the entries of rotated eigenvectors",
        _source("Lemma 3.1, proof"),
        (RotationEvidence, MomentEvidence),
        left=_tail,
        right=lambda e: hadamard_tail_probability(e.rotations.tail_threshold, e.moment.columns),
        relation="≤",
        unit="probability",
        assumptions=(_HADAMARD,),
    ),
    Claim(
        "quip#.lemma-b.1",
        f"tr D_block ≤ tr S · ‖S ∘ M‖₂, S = H^½, blocks of {_BLOCK}",
        _source("Lemma B.1"),
        (MomentEvidence,),
        left=_block_trace,
        right=_block_bound,
        relation="≤",
        unit="trace",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "quip#.block-between-scalar",
        f"tr D ≤ tr D_block, blocks of {_BLOCK}",
        ours("nesting of block factorizations"),
        (MomentEvidence,),
        left=trace_d,
        right=_block_trace,
        relation="≤",
        unit="trace",
        assumptions=(POSITIVE_DEFINITE, RESOLVED),
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
    Claim(
        "quip#.block-between-plain",
        f"tr D_block ≤ tr H, blocks of {_BLOCK}",
        ours("nesting of block factorizations"),
        (MomentEvidence,),
        left=_block_trace,
        right=trace_h,
        relation="≤",
        unit="trace",
        assumptions=(POSITIVE_DEFINITE,),
        tolerance=lambda e: sum_rounding(e, trace_h(e)),
    ),
    *_lattice_claims("D4", 4),
    *_lattice_claims("E8", 8),
)
