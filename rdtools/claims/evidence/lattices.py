"""BlockLDLQ with lattices: the vector quantizers for which its theorem is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate, NotApplicable
from rdtools.claims.evidence.case import MomentCase, budget
from rdtools.theory.lattice import NORMALIZED_SECOND_MOMENTS
from rdtools.theory.ldlq import blocks

#: Weights are uniform over a cube of this side, which is a period of every lattice here.
_PERIOD = 8


@dataclass(frozen=True)
class LatticePoint:
    """BlockLDLQ with a lattice, for weights uniform modulo it.

    Attributes
    ----------
    block : dimension g of the lattice
    error_variance : of its Voronoi cell, per dimension
    loss : of a row
    identity_error : largest difference of ``E H Eᵀ`` and ``Σ_k η_k D_k η_kᵀ`` over rows, in units of tr H
    """

    block: int
    error_variance: float
    loss: Estimate
    identity_error: float


@dataclass(frozen=True)
class Lattices:
    """Block rounding.

    Attributes
    ----------
    points : by name of the lattice
    """

    points: Mapping[str, LatticePoint]


def nearest_d(x: Float64Array) -> Float64Array:
    """Nearest integer vectors of even sum: round, and where the sum is odd take the second choice of the coordinate that is least sure.

    References
    ----------
    Conway and Sloane, Sphere Packings, Lattices and Groups, 3rd ed., chapter 20, section 2.
    """
    rounded = np.rint(x)
    odd = np.flatnonzero(rounded.sum(axis=-1) % 2)
    doubt = x[odd] - rounded[odd]
    least_sure = np.abs(doubt).argmax(axis=-1)
    rounded[odd, least_sure] += np.where(doubt[np.arange(len(odd)), least_sure] < 0, -1.0, 1.0)
    return rounded


def nearest_e8(x: Float64Array) -> Float64Array:
    """Nearest point of ``E8 = D8 ∪ (D8 + ½)``: the nearer of the two candidates."""
    integral, half = nearest_d(x), nearest_d(x - 0.5) + 0.5
    nearer = ((x - integral) ** 2).sum(axis=-1) <= ((x - half) ** 2).sum(axis=-1)
    return np.where(nearer[:, None], integral, half)


@dataclass(frozen=True)
class _Lattice:
    dimension: int
    cell_volume: float
    nearest: Callable[[Float64Array], Float64Array]


_LATTICES = {"D4": _Lattice(4, 2.0, nearest_d), "E8": _Lattice(8, 1.0, nearest_e8)}


def gather_lattices(case: MomentCase) -> Lattices:
    """Losses of block rounding on each lattice whose dimension divides the number of columns."""
    H, L = case.matrix, case.factor
    if L is None:
        raise NotApplicable("H is singular")
    n = len(H)
    points = {}
    for name, lattice in _LATTICES.items():
        if n % lattice.dimension:
            continue
        W = _PERIOD * case.generator(name).random((budget(n), n))
        rounded = np.empty_like(W)
        explained = np.zeros(len(W))
        for part in blocks(n, lattice.dimension):
            # column block k is given W_k + (W − Ŵ)_{>k} L_{>k,k} L_kk⁻¹
            after = slice(part.stop, n)
            carried = (W[:, after] - rounded[:, after]) @ L[after, part]
            target = W[:, part] + scipy.linalg.solve_triangular(L[part, part], carried.T, lower=True, trans="T").T
            rounded[:, part] = lattice.nearest(target)
            explained += (((target - rounded[:, part]) @ L[part, part]) ** 2).sum(axis=1)
        error = W - rounded
        losses = np.einsum("ij,ij->i", error @ H, error)
        points[name] = LatticePoint(
            block=lattice.dimension,
            error_variance=NORMALIZED_SECOND_MOMENTS[name] * lattice.cell_volume ** (2 / lattice.dimension),
            loss=Estimate.of(losses),
            identity_error=float(np.abs(losses - explained).max() / np.sum(L**2)),
        )
    return Lattices(points)
