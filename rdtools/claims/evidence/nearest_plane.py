"""Successive rounding three ways: the sweep, the textbook recursion of GPTQ, and Babai's nearest plane; and the closest point itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate, NotApplicable
from rdtools.claims.evidence.case import MomentCase, budget
from rdtools.ops import sic_sweep

_CLOSEST_COLUMNS = 4
_CLOSEST_ROWS = 16
#: Of the recursions that are written for reading.
_TEXTBOOK_ROWS = 256


@dataclass(frozen=True, eq=False)
class NearestPlane:
    """Successive rounding seen as Babai's nearest plane, with column steps.

    Attributes
    ----------
    decisions : number of integers compared
    lengths : (r,) α_i ℓ_ii
    textbook_mismatches : integers in which the sweep and the textbook recursion on the inverse Hessian differ
    plane_mismatches : integers in which the sweep and nearest plane on a QR factorization differ
    repeated_mismatches : integers that a second pass over its own answer changes
    textbook_variances : (r,) ``1/T_ii²`` of ``H⁻¹ = Tᵀ T`` in the textbook's order, turned to ours
    box_excess : largest ``|y_i| / (½ α_i ℓ_ii)`` of the residuals y of the layer's own weights
    worst_row : largest squared residual of a row
    corner_row : squared residual at a corner of the box
    uniform_row : squared residual of targets uniform in the box
    closest_ratio : largest ratio of nearest plane's distance to the closest point's on the last columns, by enumeration, less rounding
    closest_lengths : α_i ℓ_ii of those columns
    """

    decisions: int
    lengths: Float64Array
    textbook_mismatches: int
    plane_mismatches: int
    repeated_mismatches: int
    textbook_variances: Float64Array
    box_excess: float
    worst_row: float
    corner_row: float
    uniform_row: Estimate
    closest_ratio: float
    closest_lengths: Float64Array


def textbook_gptq(
    weight: Float64Array,  # (m, n)
    moment: Float64Array,  # (n, n)
    steps: Float64Array,  # (n,)
) -> tuple[NDArray[np.int64], Float64Array]:
    """Columns from the first to the last, with ``H⁻¹ = Tᵀ T``, T upper triangular.

    For k = 1 … n: ``q = α_k rint(w_k/α_k)``, then ``w_:k.. −= (w_k − q)/T_kk · T_k,k..``. For tests and verification, on small problems;
    the library itself never inverts H.

    Returns
    -------
    integers : (m, n)
    variances : (n,) ``1/T_kk²``

    References
    ----------
    Frantar et al., arXiv 2210.17323, Algorithm 1.
    """
    n = len(moment)
    inverse = scipy.linalg.cho_solve((scipy.linalg.cholesky(moment, lower=True), True), np.eye(n))
    T = scipy.linalg.cholesky(0.5 * (inverse + inverse.T), lower=False)
    W = weight.copy()
    integers = np.empty(weight.shape, dtype=np.int64)
    for k in range(n):
        integers[:, k] = np.rint(W[:, k] / steps[k])
        error = (W[:, k] - steps[k] * integers[:, k]) / T[k, k]
        W[:, k:] -= np.outer(error, T[k, k:])
    return integers, np.diagonal(T) ** -2.0


def nearest_plane(basis: Float64Array, targets: Float64Array) -> NDArray[np.int64]:
    """Babai: integer combinations of the columns of a basis near each target, from the last basis vector to the first.

    Parameters
    ----------
    basis : (d, n), independent columns
    targets : (m, d)

    Returns
    -------
    (m, n) coefficients
    """
    Q, R = np.linalg.qr(basis)
    residual = targets @ Q
    integers = np.empty((len(targets), basis.shape[1]), dtype=np.int64)
    for i in range(basis.shape[1] - 1, -1, -1):
        integers[:, i] = np.rint(residual[:, i] / R[i, i])
        residual -= np.outer(integers[:, i], R[:, i])
    return integers


def reduced_basis(basis: Float64Array) -> Float64Array:
    """Another basis (rows) of the same lattice, whose Gram–Schmidt lengths fall by no more than √2 from one vector to the next.

    Parameters
    ----------
    basis : (k, k), independent rows

    References
    ----------
    Lenstra, Lenstra and Lovász, Factoring polynomials with rational coefficients, Math. Ann. 261 (1982), with δ = ¾.
    """
    B = basis.copy()
    k = 1
    while k < len(B):
        _, R = np.linalg.qr(B.T)
        for j in range(k - 1, -1, -1):
            times = np.rint(R[j, k] / R[j, j])
            B[k] -= times * B[j]
            R[:, k] -= times * R[:, j]
        if R[k, k] ** 2 + R[k - 1, k] ** 2 >= 0.75 * R[k - 1, k - 1] ** 2:
            k += 1
        else:
            B[[k - 1, k]] = B[[k, k - 1]]
            k = max(k - 1, 1)
    return B


def closest_points(factor: Float64Array, targets: Float64Array) -> Float64Array:
    """Squared distance of each target ``y`` (rows) to the lattice ``z L``, by enumeration inside the ball that nearest plane reaches.

    On a reduced basis: where lengths rise from the first decision to the last, as for a first channel a thousand times its neighbours,
    the ball holds more points than can be counted.

    Parameters
    ----------
    factor : (k, k) lower triangular L, k small
    targets : (m, k)
    """
    Q, R = np.linalg.qr(reduced_basis(factor).T)
    factor, targets = R.T, targets @ Q
    k = len(factor)
    diagonal = np.diagonal(factor)
    distances = np.empty(len(targets))
    for row, y in enumerate(targets):
        plane = y.copy()
        for i in range(k - 1, -1, -1):
            plane -= np.rint(plane[i] / diagonal[i]) * factor[i]
        radius = float((plane**2).sum()) * (1 + 1e-9)
        # level i fixes z_i given the residual of those above it, whatever has not left the ball
        level: list[tuple[Float64Array, float]] = [(y, 0.0)]
        for i in range(k - 1, -1, -1):
            following = []
            for residual, spent in level:
                center, reach = residual[i] / diagonal[i], np.sqrt(max(radius - spent, 0.0)) / abs(diagonal[i])
                # the nearest always, lest rounding leave none; on the last level only it can be best
                nearest = int(np.rint(center))
                beyond = (int(np.ceil(center - reach)), int(np.floor(center + reach))) if i else (nearest, nearest)
                choices = range(min(nearest, beyond[0]), max(nearest, beyond[1]) + 1)
                for z in choices:
                    rest = residual - z * factor[i]
                    following.append((rest, spent + float(rest[i]) ** 2))
            level = following
        distances[row] = min(spent for _, spent in level)
    return distances


def gather_nearest_plane(case: MomentCase, weight: Float64Array) -> NearestPlane:
    """The layer's own weights, at two bits, rounded by all three."""
    H, L = case.matrix, case.factor
    if L is None:
        raise NotApplicable("H is singular")
    n = len(H)
    generator = case.generator("planes")
    scale = float(np.sqrt(np.mean(weight**2)))
    if scale == 0:
        raise NotApplicable("the weights are all zero")
    W = weight[: budget(n)] / scale
    # unequal steps, so that neither form can do with one
    steps = np.exp2(-1.0 + 0.5 * generator.random(n))
    integers, residual = sic_sweep(W, L, steps)
    some = slice(None, _TEXTBOOK_ROWS)
    textbook, variances = textbook_gptq(W[some, ::-1], H[::-1, ::-1], steps[::-1])
    root = (case.eigen.vectors * np.sqrt(case.eigen.values)).T  # a square root of H that is not triangular
    planes = nearest_plane(root * steps, W[some] @ root.T)
    again, _ = sic_sweep(integers * steps, L, steps)
    lengths = steps * np.diagonal(L)
    points = generator.integers(-4, 5, (budget(n), n)) * steps
    corner = points + _solve(L, (0.5 - 1e-6) * lengths * generator.choice([-1.0, 1.0], points.shape))
    uniform = points + _solve(L, lengths * (generator.random(points.shape) - 0.5))
    k = min(n, _CLOSEST_COLUMNS)
    leading, leading_steps = L[:k, :k], steps[:k]
    targets = W[:_CLOSEST_ROWS, :k] @ leading
    _, leading_residual = sic_sweep(W[:_CLOSEST_ROWS, :k].copy(), leading.copy(), leading_steps.copy())
    closest = closest_points(leading * leading_steps[:, None], targets)
    # a target that is itself a lattice point, such as a row of zeros, has no ratio: both distances are rounding, if anything
    rounding = 8 * k * np.finfo(np.float64).eps * np.sqrt((targets**2).sum(axis=1))
    off_lattice = closest > rounding**2
    ratios = np.sqrt(np.divide((leading_residual**2).sum(axis=1), closest, out=np.ones_like(closest), where=off_lattice))
    # distances are differences of longer vectors: each ratio less what that rounding can be
    ratios *= 1.0 - np.divide(rounding, np.sqrt(closest), out=np.zeros_like(closest), where=off_lattice)
    return NearestPlane(
        decisions=textbook.size,
        lengths=lengths,
        textbook_mismatches=int((integers[some] != textbook[:, ::-1]).sum()),
        plane_mismatches=int((integers[some] != planes).sum()),
        repeated_mismatches=int((integers != again).sum()),
        textbook_variances=variances[::-1],
        box_excess=float((np.abs(residual) / (0.5 * lengths)).max()),
        worst_row=float((residual**2).sum(axis=1).max()),
        corner_row=float((sic_sweep(corner, L, steps)[1] ** 2).sum(axis=1).mean()),
        uniform_row=Estimate.of((sic_sweep(uniform, L, steps)[1] ** 2).sum(axis=1)),
        closest_ratio=float(ratios.max()),
        closest_lengths=lengths[:k],
    )


def _solve(L: Float64Array, y: Float64Array) -> Float64Array:
    """``y L⁻¹``."""
    return np.asarray(scipy.linalg.solve_triangular(L, y.T, lower=True, trans="T", check_finite=False).T)
