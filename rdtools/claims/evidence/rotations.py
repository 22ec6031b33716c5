"""Drawn rotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate
from rdtools.claims.evidence.case import MomentCase, budget
from rdtools.claims.record import FALSE_ALARM
from rdtools.linalg import cholesky
from rdtools.records import Rotation
from rdtools.transforms import RotationChoice, is_hadamard_order, new_rotation, rotate

_MAX_DRAWS = 64
#: δ of the bounds that hold with probability 1 − δ: so small that all draws keep them but for the false-alarm rate.
FAILURE = FALSE_ALARM / _MAX_DRAWS
KINDS: tuple[RotationChoice, ...] = ("haar", "kronecker", "hadamard")
#: Entries of rotated eigenvectors beyond this many of their standard deviations 1/√n are counted.
_TAIL_STDS = 2.5


@dataclass(frozen=True, eq=False)
class Rotations:
    """A second moment after drawn rotations.

    Attributes
    ----------
    failure : δ of the probabilistic bounds
    incoherence : μ_H after each draw, by kind of rotation
    tail_threshold : a, for an entry of a rotated eigenvector
    tail_fraction : share of such entries at or beyond a, over randomized Hadamard rotations; None where the order cannot be built
    haar_traces : ``Σ ℓ_ii²`` after each Haar rotation; empty if H is singular
    haar_log2_determinants : mean ``log2 ℓ_ii²`` after each
    """

    failure: float
    incoherence: Mapping[str, Float64Array]
    tail_threshold: float
    tail_fraction: Estimate | None
    haar_traces: Float64Array
    haar_log2_determinants: Float64Array


def number_of_draws(columns: int) -> int:
    """Rotations drawn of each kind: as many as cost about the same at every size."""
    return budget(columns**2, work=2**22, least=8, most=_MAX_DRAWS)


def draw_rotations(case: MomentCase, kind: RotationChoice) -> list[Rotation]:
    """Rotations of one kind, the same at every call; none where a Hadamard matrix of this order cannot be built."""
    if kind == "hadamard" and not is_hadamard_order(case.columns):
        return []
    generator = case.generator(kind)
    return [new_rotation(kind, case.columns, int(generator.integers(2**63))) for _ in range(number_of_draws(case.columns))]


def gather_rotations(case: MomentCase) -> Rotations:
    """Rotate eigenvectors, which takes no new decomposition, and factor after Haar rotations."""
    n, L = case.columns, case.factor
    eigenvectors = np.ascontiguousarray(case.eigen.vectors.T)
    threshold = _TAIL_STDS / np.sqrt(n)
    incoherence: dict[str, Float64Array] = {}
    fractions: list[float] = []
    traces, determinants = [], []
    for kind in KINDS:
        largest = []
        for rotation in draw_rotations(case, kind):
            rotated = rotate(eigenvectors, rotation)
            entries = np.abs(rotated)
            largest.append(np.sqrt(n) * float(entries.max()))
            if kind == "hadamard":
                fractions.append(float(np.mean(entries >= threshold)))
            if kind == "haar" and L is not None:
                roots = np.sqrt(np.maximum(case.eigen.values, 0.0))[:, None] * rotated
                squares = np.diagonal(cholesky(roots.T @ roots, damping=0.0).lower) ** 2
                traces.append(float(squares.sum()))
                determinants.append(float(np.log2(squares).mean()))
        incoherence[kind] = np.array(largest)
    return Rotations(
        failure=FAILURE,
        incoherence=incoherence,
        tail_threshold=threshold,
        tail_fraction=Estimate.of(np.array(fractions)) if fractions else None,
        haar_traces=np.array(traces),
        haar_log2_determinants=np.array(determinants),
    )
