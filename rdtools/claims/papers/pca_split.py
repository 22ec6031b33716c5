"""ResQ and QUAD: a leading subspace of the activations in more bits."""

from __future__ import annotations

import numpy as np

from rdtools.claims.evidence.base import Evidence
from rdtools.claims.evidence.principal import BITS, FINE_BITS, PrincipalSplit
from rdtools.claims.papers.terms import ours
from rdtools.claims.record import Source, Statement


def _tail(e: Evidence) -> float:
    split = e[PrincipalSplit]
    return float(split.eigenvalues[split.channels :].sum())


def _rounding(e: Evidence) -> float:
    """Rounding of eigenvalues and of projected powers, each of the order of the whole power."""
    values = e[PrincipalSplit].eigenvalues
    return 64 * len(values) * float(np.finfo(np.float64).eps) * float(values.sum())


def _noise_bound(e: Evidence) -> float:
    """``Σ over the parts of channels · power / (4 (2^{b−1} − 1)²)``."""
    split = e[PrincipalSplit]
    k, n = split.channels, len(split.eigenvalues)
    parts = ((k, FINE_BITS, float(split.eigenvalues[:k].sum())), (n - k, BITS, _tail(e)))
    return float(sum(channels * power / (4 * (2 ** (bits - 1) - 1) ** 2) for channels, bits, power in parts))


_SOURCE = Source("ResQ 2412.14363", "", "projection onto the subspace of largest variance")

CLAIMS = (
    Statement("pca-split.rest", "outside the k leading eigenvectors of E xxᵀ x has the power Σ_{i>k} λ_i", _SOURCE).equal(
        lambda e: e[PrincipalSplit].left, _tail, "power", tolerance=_rounding
    ),
    Statement("pca-split.optimal", "outside no other k directions has it less (the least of those drawn and stored)", _SOURCE).at_least(
        lambda e: e[PrincipalSplit].left_by_others, _tail, "power", tolerance=_rounding
    ),
    Statement(
        "pca-split.noise",
        "b and b′ bits per token for the rest and the subspace cost at most (n−k) Σ_{i>k} λ_i/(4 (2^{b−1}−1)²) + "
        "k Σ_{i≤k} λ_i/(4 (2^{b′−1}−1)²)",
        ours("half a step per channel, a step of max|x|/(2^{b−1}−1), and max|x| ≤ ‖x‖"),
    ).at_most(lambda e: e[PrincipalSplit].noise, _noise_bound, "power", tolerance=_rounding),
)
