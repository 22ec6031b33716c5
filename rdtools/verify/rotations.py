"""Drawn rotations."""

from __future__ import annotations

import numpy as np

from rdtools.hessians.layer import Layer
from rdtools.linalg import cholesky
from rdtools.measure import weighted_error
from rdtools.records import Rotation
from rdtools.theory.claims.layer_parts import WeightEvidence
from rdtools.theory.claims.parts import Estimate, Float64Array, RotationEvidence
from rdtools.theory.claims.record import FALSE_ALARM
from rdtools.theory.incoherence import weight_incoherence
from rdtools.theory.shannon import ATOM_SHARE, differential_entropy
from rdtools.transforms import RotationChoice, is_hadamard_order, new_rotation, rotate, rotate_moment
from rdtools.verify.case import MomentCase, budget
from rdtools.verify.normal import coded_points

_MOST_DRAWS = 64
#: δ of the bounds that hold with probability 1 − δ: so small that all draws keep them but for the false-alarm rate.
_FAILURE = FALSE_ALARM / _MOST_DRAWS
_KINDS: tuple[RotationChoice, ...] = ("haar", "kronecker", "hadamard")
#: Entries of rotated eigenvectors beyond this many of their deviations 1/√n are counted.
_TAIL_DEVIATIONS = 2.5


def _number(columns: int) -> int:
    return budget(columns**2, work=2**22, least=8, most=_MOST_DRAWS)


def _draws(case: MomentCase, kind: RotationChoice) -> list[Rotation]:
    if kind == "hadamard" and not is_hadamard_order(case.columns):
        return []
    generator = case.generator(kind)
    return [new_rotation(kind, case.columns, generator) for _ in range(_number(case.columns))]


def rotation_evidence(case: MomentCase) -> RotationEvidence:
    """Rotate eigenvectors, which takes no new decomposition, and factor after Haar rotations."""
    n, L = case.columns, case.factor
    eigenvectors = np.ascontiguousarray(case.eigen.vectors.T)
    threshold = _TAIL_DEVIATIONS / np.sqrt(n)
    incoherence: dict[str, Float64Array] = {}
    fractions: list[float] = []
    traces, determinants = [], []
    for kind in _KINDS:
        largest = []
        for rotation in _draws(case, kind):
            entries = np.abs(rotate(eigenvectors, rotation))
            largest.append(np.sqrt(n) * float(entries.max()))
            if kind == "hadamard":
                fractions.append(float(np.mean(entries >= threshold)))
            if kind == "haar" and L is not None:
                squares = np.diagonal(cholesky(rotate_moment(case.matrix, rotation), damping=0.0).lower) ** 2
                traces.append(float(squares.sum()))
                determinants.append(float(np.log2(squares).mean()))
        incoherence[kind] = np.array(largest)
    return RotationEvidence(
        failure=_FAILURE,
        incoherence=incoherence,
        tail_threshold=threshold,
        tail_fraction=Estimate.of(np.array(fractions)) if fractions else None,
        haar_traces=np.array(traces),
        haar_log2_determinants=np.array(determinants),
    )


def _rotated_weights(weight: Float64Array, kind: RotationChoice, generator: np.random.Generator) -> Float64Array:
    """μ_W after each draw of rotations of this kind on both sides; empty where an order cannot be built."""
    m, n = weight.shape
    if kind == "hadamard" and not (is_hadamard_order(m) and is_hadamard_order(n)):
        return np.zeros(0)
    incoherence = []
    for _ in range(_number(n)):
        right, left = new_rotation(kind, n, generator), new_rotation(kind, m, generator)
        incoherence.append(weight_incoherence(rotate(np.ascontiguousarray(rotate(weight, right).T), left)))
    return np.array(incoherence)


def weight_evidence(case: MomentCase, weight: Float64Array) -> WeightEvidence | str:
    """The weights' incoherence before and after rotation, what rotation does to the loss, their entropy, and files of them."""
    if not weight.any():
        return "the weights are all zero"
    generator = case.generator("weights")
    zero = np.zeros_like(weight)
    loss = weighted_error(weight, zero, case.matrix).mean
    change = 0.0
    for kind in _KINDS:
        for rotation in _draws(case, kind)[:1]:
            turned = weighted_error(rotate(weight, rotation), zero, rotate_moment(case.matrix, rotation)).mean
            change = max(change, abs(turned / loss - 1) if loss > 0 else 0.0)
    entropy = differential_entropy(weight) if weight.size > 1 else None
    has_density = entropy is not None and entropy.largest_share <= ATOM_SHARE
    return WeightEvidence(
        rows=len(weight),
        incoherence=weight_incoherence(weight),
        failure=_FAILURE,
        rotated_incoherence={kind: _rotated_weights(weight, kind, generator) for kind in _KINDS},
        loss_change=change,
        variance=float(np.mean(weight**2)),
        row_variances=np.mean(weight**2, axis=1),
        entropy=Estimate(entropy.entropy_bits, entropy.stderr_bits) if entropy is not None and has_density else None,
        entropy_bias_bits=entropy.bias_bound_bits if entropy is not None and has_density else 0.0,
        coded=coded_points(Layer.of(weight, case.matrix, name=case.name)) if case.factor is not None and has_density else (),
    )
