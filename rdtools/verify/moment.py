"""Column orders and random feedback."""

from __future__ import annotations

import contextlib

import numpy as np

from rdtools.errors import NotPositiveSemidefinite
from rdtools.linalg import cholesky
from rdtools.orders import ORDERS
from rdtools.theory.claims.parts import Float64Array, MomentEvidence
from rdtools.theory.ldlq import feedback_matrix, feedback_trace
from rdtools.verify.case import MomentCase

#: Random feedback matrices, and how far they stray from LDLQ's: as multiples of its own size.
_FEEDBACK_DRAWS = 8
_STRAYING = (1e-3, 1e-1, 1.0)


def moment_evidence(case: MomentCase) -> MomentEvidence:
    """Factor H in other orders, and try other feedback than LDLQ's."""
    H, L = case.matrix, case.factor
    diagonals: dict[str, Float64Array] = {}
    traces: list[float] = []
    if L is not None:
        generator = case.generator("feedback")
        orders = {name: order(H) for name, order in ORDERS.items()} | {"random": generator.permutation(len(H))}
        for name, p in orders.items():
            with contextlib.suppress(NotPositiveSemidefinite):  # on the edge of float64 one order may factor and another not
                diagonals[name] = np.diagonal(cholesky(H[np.ix_(p, p)], damping=0.0).lower) ** 2
        U = feedback_matrix(L)
        size = max(float(np.sqrt(np.mean(U**2))), 1.0 / len(U))
        for straying in _STRAYING:
            for _ in range(_FEEDBACK_DRAWS):
                traces.append(feedback_trace(H, U + straying * size * np.tril(generator.standard_normal(U.shape), -1)))
        traces.append(feedback_trace(H, np.zeros_like(U)))
    # H = Sᵀ S with S = QR gives L = Rᵀ whatever the rank of H
    pivots = np.diagonal(np.linalg.qr((case.eigen.vectors * np.sqrt(case.eigen.values)).T, mode="r")) ** 2
    return MomentEvidence(H, case.eigen.root(), case.spectrum, pivots, L, case.n_tokens, diagonals, np.array(traces))
