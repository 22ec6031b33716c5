"""The layer's own weights: incoherence, entropy, and files of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate, NotApplicable
from rdtools.claims.evidence.case import MomentCase
from rdtools.claims.evidence.coded import CodedPoint, coded_points
from rdtools.claims.evidence.rotations import FAILURE, KINDS, draw_rotations, number_of_draws
from rdtools.measure import weighted_error
from rdtools.moments.layer import Layer
from rdtools.theory.incoherence import weight_incoherence
from rdtools.theory.shannon import ATOM_SHARE, differential_entropy
from rdtools.transforms import RotationChoice, is_hadamard_order, new_rotation, rotate, rotate_moment


@dataclass(frozen=True, eq=False)
class Weights:
    """The layer's own weights.

    Attributes
    ----------
    rows : m
    incoherence : μ_W
    failure : δ of the probabilistic bound
    rotated_incoherence : μ_W after each draw of rotations on both sides, by kind; empty where an order cannot be built
    loss_change : largest relative change of tr(W H Wᵀ) under a rotation of W and H, over kinds
    variance : mean square
    row_variances : (m,)
    entropy : differential entropy of an entry, estimated; None where one value makes up more than ATOM_SHARE of the weights
    entropy_bias_bits : what that may be off beside its standard error
    coded : files of the weights; empty without an entropy or if H is singular
    """

    rows: int
    incoherence: float
    failure: float
    rotated_incoherence: Mapping[str, Float64Array]
    loss_change: float
    variance: float
    row_variances: Float64Array
    entropy: Estimate | None
    entropy_bias_bits: float
    coded: tuple[CodedPoint, ...]


def _rotated_weights(weight: Float64Array, kind: RotationChoice, generator: np.random.Generator) -> Float64Array:
    """μ_W after each draw of rotations of this kind on both sides; empty where an order cannot be built."""
    m, n = weight.shape
    if kind == "hadamard" and not (is_hadamard_order(m) and is_hadamard_order(n)):
        return np.zeros(0)
    incoherence = []
    for _ in range(number_of_draws(n)):
        right, left = (new_rotation(kind, order, int(generator.integers(2**63))) for order in (n, m))
        incoherence.append(weight_incoherence(rotate(np.ascontiguousarray(rotate(weight, right).T), left)))
    return np.array(incoherence)


def gather_weights(case: MomentCase, weight: Float64Array) -> Weights:
    """The weights' incoherence before and after rotation, what rotation does to the loss, their entropy, and files of them."""
    if not weight.any():
        raise NotApplicable("the weights are all zero")
    generator = case.generator("weights")
    zero = np.zeros_like(weight)
    loss = weighted_error(weight, zero, case.matrix).mean
    change = 0.0
    for kind in KINDS:
        for rotation in draw_rotations(case, kind)[:1]:
            turned = weighted_error(rotate(weight, rotation), zero, rotate_moment(case.matrix, rotation)).mean
            change = max(change, abs(turned / loss - 1) if loss > 0 else 0.0)
    entropy = differential_entropy(weight) if weight.size > 1 else None
    has_density = entropy is not None and entropy.largest_share <= ATOM_SHARE
    return Weights(
        rows=len(weight),
        incoherence=weight_incoherence(weight),
        failure=FAILURE,
        rotated_incoherence={kind: _rotated_weights(weight, kind, generator) for kind in KINDS},
        loss_change=change,
        variance=float(np.mean(weight**2)),
        row_variances=np.mean(weight**2, axis=1),
        entropy=Estimate(entropy.entropy_bits, entropy.stderr_bits) if entropy is not None and has_density else None,
        entropy_bias_bits=entropy.bias_bound_bits if entropy is not None and has_density else 0.0,
        coded=coded_points(Layer.of(weight, case.matrix, name=case.name)) if case.factor is not None and has_density else (),
    )
