"""Every claim holds on an honest layer, and is reported violated on evidence that contradicts it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rdtools.claims import CLAIMS, Estimate, Evidence, check
from rdtools.claims.evidence.channels import Channels
from rdtools.claims.evidence.clamping import Clamping
from rdtools.claims.evidence.critical_channels import CriticalChannels
from rdtools.claims.evidence.gather import counterexample, layer_evidence, shared_evidence
from rdtools.claims.evidence.lattices import LatticePoint, Lattices
from rdtools.claims.evidence.learnt_models import LearntModels
from rdtools.claims.evidence.low_rank import LowRank
from rdtools.claims.evidence.mean_input import MeanInput
from rdtools.claims.evidence.mismatch import Mismatch
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.evidence.nearest_plane import NearestPlane
from rdtools.claims.evidence.normal_weights import NormalWeights
from rdtools.claims.evidence.output_head import OutputHead
from rdtools.claims.evidence.principal import PrincipalSplit
from rdtools.claims.evidence.rotations import Rotations
from rdtools.claims.evidence.trellis_walks import TrellisWalks
from rdtools.claims.evidence.unit_rounding import UnitRounding
from rdtools.claims.evidence.weights import Weights
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law

BY_NAME = {claim.name: claim for claim in CLAIMS}
COLUMNS = 64
Plant = Callable[[Evidence], Evidence]


@pytest.fixture(scope="module")
def honest() -> Evidence:
    rng = np.random.default_rng(3)
    H = haar_moment(power_law(COLUMNS, 0.8), rng)
    layer = Layer.of(0.1 * rng.standard_normal((64, COLUMNS)), H, name="honest")
    evidence = layer_evidence(layer, shared_evidence(layer.hessian, seed=0))
    return replace(evidence, model="Llama-3-8B").having(counterexample()[Clamping])


def changed(kind: type) -> Callable[..., Plant]:
    """Plants that replace fields of one kind of evidence by functions of it."""
    return lambda **fields: lambda e: e.having(replace(e[kind], **{k: v(e[kind]) for k, v in fields.items()}))


moment, rotations, rounding, planes, normal = (changed(kind) for kind in (Moment, Rotations, UnitRounding, NearestPlane, NormalWeights))
mismatch, channels, low_rank, critical = (changed(kind) for kind in (Mismatch, Channels, LowRank, CriticalChannels))
walks, learnt, mean_input = changed(TrellisWalks), changed(LearntModels), changed(MeanInput)
principal, head = changed(PrincipalSplit), changed(OutputHead)


def spectrum(**fields) -> Plant:
    return lambda e: e.having(
        replace(e[Moment], spectrum=replace(e[Moment].spectrum, **{k: v(e[Moment].spectrum) for k, v in fields.items()}))
    )


def weights(**fields) -> Plant:
    return lambda e: e.having(replace(e[Weights], **fields))


def incoherence(kind: str, value: float) -> Plant:
    return rotations(incoherence=lambda r: {**r.incoherence, kind: np.append(r.incoherence[kind], value)})


def loss(which: str, kind: str, factor: float) -> Plant:
    return rounding(**{which: lambda r: {**getattr(r, which), kind: getattr(r, which)[kind].scaled(factor)}})


def lattice(name: str, **fields) -> Plant:
    def plant(e: Evidence) -> Evidence:
        point: LatticePoint = e[Lattices].points[name]
        changed = replace(point, **{k: v(point) for k, v in fields.items()})
        return e.having(replace(e[Lattices], points={**e[Lattices].points, name: changed}))

    return plant


def scheme(name: str, field: str, factor: float) -> Plant:
    def plant(e: Evidence) -> Evidence:
        point = e[NormalWeights].high_rate[name]
        changed = replace(point, **{field: getattr(point, field).scaled(factor)})
        return e.having(replace(e[NormalWeights], high_rate={**e[NormalWeights].high_rate, name: changed}))

    return plant


def finite(field: str, change: Callable[[Estimate], Estimate]) -> Plant:
    return normal(
        finite_rate=lambda n: (replace(n.finite_rate[0], **{field: change(getattr(n.finite_rate[0], field))}), *n.finite_rate[1:])
    )


def walk(bits: float) -> Plant:
    """The last file, at 4 bits, so many bits longer."""

    def longer(w: TrellisWalks) -> tuple:
        rate = w.points[-1].rate_bits
        return *w.points[:-1], replace(w.points[-1], rate_bits=replace(rate, value=rate.value + bits))

    return walks(points=longer)


def more(factor: float) -> Callable[[Estimate], Estimate]:
    return lambda estimate: estimate.scaled(factor)


def _coded_too_small(e: Evidence) -> Evidence:
    """A file of the size of one at two bits that claims a hundredth of its distortion."""
    point = e[NormalWeights].coded[0]
    return e.having(replace(e[NormalWeights], coded=(replace(point, distortion=point.distortion.scaled(0.01)),)))


def _one_order(diagonal: Callable[[Moment], np.ndarray]) -> Plant:
    return moment(order_diagonals=lambda m: {**m.order_diagonals, "planted": diagonal(m)})


#: A contradiction for each claim. Measured sides are changed by little where the claim is an equality, and to the wrong side where not.
PLANTS: dict[str, Plant] = {
    "quip.hessian-incoherence-least": spectrum(eigenvector_max=lambda s: 0.9 / math.sqrt(s.active)),
    "quip.hessian-incoherence-most": spectrum(eigenvector_max=lambda s: 1.0001),
    "quip.weight-incoherence-least": weights(incoherence=0.99),
    "quip.weight-incoherence-most": weights(incoherence=math.sqrt(64 * COLUMNS) * 1.001),
    "quip.lemma-2": spectrum(eigenvector_max=lambda s: 0.3 / math.sqrt(s.active)),
    "quip.lemma-2-proof": moment(pivots=lambda m: 4 * m.pivots),
    "quip.lemma-2-order": spectrum(eigenvector_max=lambda s: 0.9 / math.sqrt(s.active)),
    "quip.feedback-helps": moment(pivots=lambda m: m.pivots / m.pivots.sum() * np.trace(m.matrix) * 1.001),
    "quip.low-rank-root": spectrum(rank=lambda s: 2),
    "quip.low-rank": spectrum(rank=lambda s: 1, eigenvector_max=lambda s: 1 / math.sqrt(s.active)),
    "quip.theorem-1-optimal": moment(feedback_traces=lambda m: np.append(m.feedback_traces, 0.999 * m.pivots.sum())),
    "quip.theorem-1-attained": moment(pivots=lambda m: 1.001 * m.pivots),
    "quip.error-identity": rounding(identity_error=lambda r: 1e-6),
    "quip.theorem-1-average-nearest": loss("feedback", "nearest", 1.1),
    "quip.theorem-1-average-stochastic": loss("feedback", "stochastic", 1.1),
    "quip.theorem-1-worst": rounding(corner=lambda r: 1.0001 * r.corner),
    "quip.theorem-1-worst-stochastic": lambda e: e.having(
        replace(e[UnitRounding], stochastic_worst=Estimate(0.26 * e[Moment].pivots.sum(), 1e-4 * e[Moment].pivots.sum(), 1000))
    ),
    "quip.lemma-3-average-nearest": loss("plain", "nearest", 0.9),
    "quip.lemma-3-average-stochastic": loss("plain", "stochastic", 0.9),
    "quip.lemma-3-worst-stochastic": rounding(stochastic_half=lambda r: r.stochastic_half.scaled(1.2)),
    "ldlq.nearest-worst-least": lambda e: e.having(replace(e[UnitRounding], nearest_attained=0.249 * float(np.trace(e[Moment].matrix)))),
    "ldlq.nearest-worst-most": rounding(nearest_attained=lambda r: 1.01 * COLUMNS / 4),
    "quip.theorem-4-witness": rounding(diagonal_mismatches=lambda r: 1),
    "quip.theorem-6": planes(textbook_variances=lambda p: p.textbook_variances * (1 + 1e-6)),
    "quip.rotation-keeps-loss": weights(loss_change=1e-6),
    "rotation.kronecker-incoherence": incoherence("kronecker", 1.001 * math.sqrt(COLUMNS)),
    "quip.clamping-breaks-feedback": lambda e: e.having(replace(e[Clamping], clamped=0.99 * e[Clamping].plain)),
    "quip.without-clamping": lambda e: e.having(replace(e[Clamping], unclamped=1.01 * e[Clamping].plain)),
    "quip#.lemma-3.1-hessian": incoherence("hadamard", 8.0),
    "quip#.lemma-3.1-weights": lambda e: e.having(replace(e[Weights], rotated_incoherence={"hadamard": np.array([80.0])})),
    "quip#.lemma-3.1-tail": rotations(tail_fraction=lambda r: Estimate(0.2, 1e-3, 63)),
    "rotation.haar-incoherence": incoherence("haar", 5.9),
    "quip#.lemma-b.1": moment(factor=lambda m: 3 * m.factor),
    "quip#.block-between-scalar": moment(pivots=lambda m: 3 * m.pivots),
    "quip#.block-between-plain": moment(factor=lambda m: 3 * m.factor),
    **{f"quip#.theorem-4.1-{name}": lattice(name, loss=lambda p: p.loss.scaled(1e4)) for name in ("D4", "E8")},
    **{f"quip#.block-loss-{name}": lattice(name, loss=lambda p: p.loss.scaled(1.1)) for name in ("D4", "E8")},
    **{f"quip#.block-identity-{name}": lattice(name, identity_error=lambda p: 1e-6) for name in ("D4", "E8")},
    "babai.textbook": planes(textbook_mismatches=lambda p: 1),
    "babai.nearest-plane": planes(plane_mismatches=lambda p: 1),
    "babai.idempotent": planes(repeated_mismatches=lambda p: 1),
    "babai.box": planes(box_excess=lambda p: 1.0001),
    "babai.worst-case": planes(worst_row=lambda p: 0.2501 * (p.lengths**2).sum()),
    "babai.worst-case-tight": planes(corner_row=lambda p: 1.0001 * p.corner_row),
    "babai.uniform": planes(uniform_row=lambda p: p.uniform_row.scaled(1.2)),
    "babai.ratio": planes(closest_ratio=lambda p: 100.0),
    "babai.sharp-ratio": planes(closest_ratio=lambda p: 100.0),
    "babai.order-product": _one_order(lambda m: 1.001 * m.pivots),
    "babai.order-least": _one_order(lambda m: np.full(COLUMNS, 0.999 * np.exp(np.log(m.pivots).mean()))),
    "babai.order-most": _one_order(lambda m: np.full(COLUMNS, 1.001 * np.trace(m.matrix) / COLUMNS)),
    "watersic.converse": _coded_too_small,
    # the determinant comes from the Cholesky diagonal, the limit from the eigenvalues
    "watersic.high-rate-exact": spectrum(cholesky_diagonal=lambda s: 1.001 * s.cholesky_diagonal),
    "watersic.high-rate-below": spectrum(cholesky_diagonal=lambda s: 2 * s.cholesky_diagonal),
    "watersic.theorem-3.3-watersic": scheme("watersic", "distortion", 1.1),
    "watersic.theorem-3.3-gptq": scheme("gptq", "distortion", 1.1),
    "watersic.rtn-gap": scheme("rtn", "distortion", 1.1),
    "watersic.rtn-columns-gap": scheme("rtn-columns", "distortion", 1.1),
    "watersic.renyi": scheme("watersic", "rate_bits", 1.02),
    "watersic.uniform-cells": scheme("watersic", "distortion", 1.1),
    "watersic.basis-free": rotations(haar_log2_determinants=lambda r: r.haar_log2_determinants + 1e-6),
    "matmul-ii.rotated-gptq": spectrum(
        eigenvalues=lambda s: power_law(COLUMNS, 4.0), cholesky_diagonal=lambda s: np.sqrt(power_law(COLUMNS, 4.0))
    ),
    "crvq.relaxation": critical(selected=lambda c: c.selected.scaled(1.1)),
    "crvq.selection": critical(unselected=lambda c: c.selected.scaled(0.9)),
    "crvq.waterfilling": critical(selected=lambda c: c.selected.scaled(0.1)),
    "crvq.two-level": critical(selected=lambda c: c.selected.scaled(0.1)),
    "crvq.marginal": critical(selected=lambda c: c.selected.scaled(0.1)),
    "qllm.disassembly": channels(split_error=lambda c: 1e-9),
    "qllm.assembly": channels(merge_distortion=lambda c: c.merge_distortion.scaled(1.3)),
    "qllm.noise": channels(equal_distortion=lambda c: c.equal_distortion.scaled(1.2)),
    "qllm.noise-bound": channels(equal_distortion=lambda c: c.equal_distortion.scaled(1.5)),
    "qllm.staggered": channels(staggered_distortion=lambda c: c.staggered_distortion.scaled(1.2)),
    "qllm.range": channels(spread=lambda c: 1.001),
    "qllm.reassembly": channels(reassembled_distortion=lambda c: c.reassembled_distortion.scaled(1.2)),
    "qllm.correction": low_rank(beside_quantized_sampled=lambda v: v.beside_quantized_sampled * 1.01),
    "lrc.moments": low_rank(sampled=lambda v: v.sampled * (1 + 1e-5)),
    "lrc.weight-step": low_rank(target_sampled=lambda v: v.target_sampled * 1.01),
    "lrc.low-rank-step": low_rank(optimum_sampled=lambda v: v.optimum_sampled * 1.01),
    "lrc.optimal": low_rank(perturbed_sampled=lambda v: v.optimum_sampled * 0.99),
    "lrc.alternation": low_rank(alternation=lambda v: np.append(v.alternation, 1.01 * v.alternation[0])),
    "lrc.initialisation": low_rank(optimum_sampled=lambda v: 0.0),
    "lrc.weight-error-only": low_rank(weight_error_optimum=lambda v: v.weight_error_optimum * 1.01),
    "pca-split.rest": principal(left=lambda p: 1.0001 * p.left),
    "pca-split.optimal": principal(left_by_others=lambda p: 0.9999 * p.eigenvalues[p.channels :].sum()),
    "pca-split.noise": principal(noise=lambda p: p.noise * 30),
    "rotation.haar-weight-incoherence": lambda e: e.having(
        replace(e[Weights], rotated_incoherence={"haar": np.array([1.001 * math.sqrt(64 * COLUMNS)])})
    ),
    "rotation.kronecker-weight-incoherence": lambda e: e.having(
        replace(e[Weights], rotated_incoherence={"kronecker": np.array([1.001 * math.sqrt(64 * COLUMNS)])})
    ),
    "rotation.deterministic-equivalent": rotations(haar_traces=lambda r: 2 * r.haar_traces),
    "rotation.below-incoherent-bound": rotations(haar_traces=lambda r: 3 * r.haar_traces),
    "rotation.above-determinant": rotations(haar_traces=lambda r: np.append(r.haar_traces, 0.5 * r.haar_traces[0])),
    "mixture.shared-histogram": moment(pivots=lambda m: power_law(COLUMNS, 6.0)),
    "finite-rate.distortion": finite("distortion", more(1.06)),
    "finite-rate.rate": finite("rate_bits", lambda r: replace(r, value=r.value + 0.05)),
    "mismatch.damped": mismatch(distortion=lambda m: m.distortion.scaled(1.1)),
    "mismatch.calibration": mismatch(penalties_bits=lambda m: m.penalties_bits + 0.02),
    "mismatch.determinant-bias": mismatch(log_determinants=lambda m: m.log_determinants + 0.05),
    "mismatch.holdout": mismatch(holdout_means=lambda m: 1.05 * m.holdout_means),
    "fixed-rate.absmax": normal(absmax=lambda n: replace(n.absmax, distortion=n.absmax.distortion.scaled(1.1))),
    "weights.entropy": weights(entropy=Estimate(0.0, 1e-3, 1000)),
    "weights.shannon-lower-bound": lambda e: e.having(replace(e[Weights], coded=(replace(e[Weights].coded[0], total_bpw=1.0),))),
    "waterfilling.rows-of-unequal-variance": weights(row_variances=np.full(64, 0.1)),
    "trellis.parity": walks(parity_faults=lambda w: 1),
    "trellis.decodes": walks(decoding_faults=lambda w: 1),
    "trellis.granular-gain": walks(fine_distortion=lambda w: w.fine_distortion.scaled(1.01)),
    "trellis.predicted-gap": walk(0.025),
    "trellis.above-limit": walk(-0.12),
    "trellis.better-than-scalar": walk(0.2),
    "trellis.learnt-models-decode": learnt(decoding_faults=lambda r: 1),
    "trellis.learnt-models-cost": learnt(learnt_bits=lambda r: r.plain_bits + 9),
    "bias.determinant": mean_input(pivots=lambda m: 0.99 * m.pivots),
    "bias.conditional-variances": mean_input(pivots=lambda m: m.pivots * np.where(np.arange(COLUMNS) == 7, 2.1, 1.0)),
    "softwater.class-gain": head(steps=lambda h: {0.1: h.steps[0.1] ** 1.1}),
    "softwater.floor": head(smoothed=lambda h: {0.1: 0.1 * h.smoothed[0.1]}),
    "softwater.step-ratio": head(steps=lambda h: {0.1: h.steps[0.1] * np.where(np.arange(len(h.mean)) == 3, 1e3, 1.0)}),
    "softwater.equal-steps": head(steps=lambda h: {1.0: h.steps[1.0] * np.where(np.arange(len(h.mean)) == 3, 1.001, 1.0)}),
    "softwater.proxy": head(errors=lambda h: 1.3 * h.errors),
    "bias.one-component": mean_input(eigenvalues=lambda m: m.eigenvalues / 4),
}


def test_every_claim_has_a_planted_violation():
    assert set(PLANTS) == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_holds_on_an_honest_layer(honest, name):
    evidence = honest
    verdict = check(BY_NAME[name], evidence)
    assert verdict.status == "holds", verdict


@pytest.mark.parametrize("name", PLANTS)
def test_planted_violation_is_reported(honest, name):
    verdict = check(BY_NAME[name], PLANTS[name](honest))
    assert verdict.status == "violated"
    assert not verdict.margin >= 0
