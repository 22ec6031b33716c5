"""Column orders and random feedback."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.linalg.blas import dtrmm

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.case import MomentCase
from rdtools.errors import NotPositiveSemidefinite
from rdtools.linalg import cholesky
from rdtools.records import Spectrum
from rdtools.theory.ldlq import feedback_matrix
from rdtools.transforms.orders import ORDERS

#: Random feedback matrices ``(I + U)(I + s N/√n) − I``, U that of LDLQ and N standard normal below the diagonal: so many for each s. They
#: stray by a factor: what is added to U grows without end in ``(I + U)⁻¹`` where U is large.
_FEEDBACK_DRAWS = 8
_STRAYING = (1e-3, 1e-1, 1.0)


@dataclass(frozen=True, eq=False)
class Moment:
    """A second moment, taken apart.

    Attributes
    ----------
    matrix : (r, r) H
    root : (r, r) ``S = H^{1/2}``, symmetric
    spectrum : of H
    pivots : (r,) ``D_ii = ℓ_ii²``, of a singular H too
    factor : (r, r) L of ``H = L Lᵀ``, None if H is singular
    n_tokens : behind H; 0 where it is exact
    order_diagonals : ``ℓ_ii²`` after factoring in other column orders, by name of the order; empty if H is singular
    feedback_traces : ``tr((I+U)⁻¹ H (I+U)⁻ᵀ)`` of U drawn at random, near and far from LDLQ's; empty if H is singular
    """

    matrix: Float64Array
    root: Float64Array
    spectrum: Spectrum
    pivots: Float64Array
    factor: Float64Array | None
    n_tokens: int
    order_diagonals: Mapping[str, Float64Array]
    feedback_traces: Float64Array

    @property
    def columns(self) -> int:
        """Number of active columns, r."""
        return len(self.matrix)

    @property
    def resolution(self) -> float:
        """``r ε λ_max/λ_min``: relative accuracy of the smallest eigenvalue and of the smallest ℓ_ii² in float64; inf if singular."""
        smallest = float(self.spectrum.eigenvalues[-1])
        eps = float(np.finfo(np.float64).eps)
        return self.columns * eps * float(self.spectrum.eigenvalues[0]) / smallest if self.factor is not None and smallest > 0 else np.inf


def _trace(unit: Float64Array, factor: Float64Array) -> float:
    """``tr((I+U)⁻¹ H (I+U)⁻ᵀ)`` as the squared norm of ``(I+U)⁻¹ L``, as `rdtools.theory.ldlq.feedback_trace`; inf beyond float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = scipy.linalg.solve_triangular(unit, factor, lower=True, unit_diagonal=True, check_finite=False)
        trace = float(np.sum(half**2))
    return trace if math.isfinite(trace) else math.inf


def gather_moment(case: MomentCase) -> Moment:
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
        unit = np.eye(len(H)) + feedback_matrix(L)
        for straying in _STRAYING:
            for _ in range(_FEEDBACK_DRAWS):
                N = straying / np.sqrt(len(H)) * np.tril(generator.standard_normal(H.shape), -1)
                traces.append(_trace(unit + dtrmm(1.0, unit, N, lower=1, diag=1), L))
        traces.append(_trace(np.eye(len(H)), L))
    # H = Sᵀ S with S = QR gives L = Rᵀ whatever the rank of H
    pivots = np.diagonal(np.linalg.qr((case.eigen.vectors * np.sqrt(case.eigen.values)).T, mode="r")) ** 2
    return Moment(H, case.eigen.root(), case.spectrum, pivots, L, case.n_tokens, diagonals, np.array(traces))
