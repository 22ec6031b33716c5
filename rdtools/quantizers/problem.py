"""What every quantizer works on: live columns, rotated, put in order and factored."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rdtools.coding import round_to_bfloat16
from rdtools.hessians.layer import Layer
from rdtools.linalg import cholesky
from rdtools.orders import ORDERS
from rdtools.quantizers.incoherence_processing import column_scales
from rdtools.records import Basis, LayerKey
from rdtools.transforms import RotationChoice, new_rotation, rotate, rotate_moment

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """A layer made ready.

    Attributes
    ----------
    key : which matrix
    weight : (m, r) float64, live columns of W, times Q if rotated
    target : (m, r) float64, what is rounded in place of the weights; the weights themselves without a ridge
    factor : (r, r) float64, L of the damped and rotated Hessian plus ridge, columns in `order`; None for a method that does not look at it
    order : (r,) columns of the weights in the order of the factor's, the last decided first
    damping : relative damping that was used
    ridge : penalty of the reconstruction's energy, relative to the mean diagonal
    basis : where decoded values belong
    seed : run seed
    """

    key: LayerKey
    weight: Float64Array
    target: Float64Array
    factor: Float64Array | None
    order: NDArray[np.intp]
    damping: float
    ridge: float
    basis: Basis
    seed: int

    @property
    def live_fraction(self) -> float:
        """r/n."""
        return float(self.weight.shape[1] / len(self.basis.live))

    @property
    def weight_std(self) -> float:
        """Root mean square of the live weights; a rotation leaves it as it is."""
        return float(np.sqrt(np.mean(self.weight**2))) if self.weight.size else 0.0

    def by_column(self, ordered: Float64Array) -> Float64Array:
        """Numbers that belong to the factor's columns, as numbers of the weight's columns."""
        values = np.empty_like(ordered)
        values[self.order] = ordered
        return values

    @property
    def noise_gains(self) -> Float64Array:
        """(r,) ``ℓ_ii²`` of each column of the weights, with damping and ridge."""
        assert self.factor is not None  # `prepare` factors for every method that uses the Hessian
        return self.by_column(np.diagonal(self.factor) ** 2)


def layer_generator(seed: int, name: str) -> np.random.Generator:
    """The generator of one layer in one run, the same for every method, so that methods are compared on equal draws."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def prepare(
    layer: Layer,
    *,
    rotation: RotationChoice | None = None,
    damping: float | None = None,
    order: str = "natural",
    ridge: float = 0.0,
    row_rotation: RotationChoice | None = None,
    rescale: bool = False,
    factor: bool = True,
    seed: int = 0,
) -> Problem:
    """Drop dead columns, rescale, rotate, put in order, factor.

    With a ridge μ the quantizer minimizes ``tr((W − V) H (W − V)ᵀ) + μ ‖V‖²``, which is successive cancellation under ``H + μ I`` of the
    target ``T = W H (H + μ I)⁻¹``.

    Parameters
    ----------
    layer : what to quantize
    rotation : None for the natural basis; "auto" takes a randomized Hadamard matrix where one exists, else Haar
    damping : relative to the mean diagonal; None for none unless H is singular, see `rdtools.linalg.cholesky`
    order : name in `rdtools.orders.ORDERS`
    ridge : μ relative to the mean diagonal
    row_rotation : of the outputs, which leaves H alone; as `rotation`
    rescale : bring columns to the scales of `rdtools.quantizers.incoherence_processing.column_scales` first
    factor : whether the Hessian is wanted at all
    seed : of the run

    Raises
    ------
    UnsupportedOrder
        If a Hadamard rotation is asked for by name and its order cannot be built.
    NotPositiveSemidefinite
        If H cannot be factored with the damping asked for.
    """
    live = layer.live
    weight = layer.live_weight
    m, r = weight.shape
    moment = layer.hessian.matrix if live.all() else layer.hessian.matrix[np.ix_(live, live)]
    scales = turn = row_turn = None
    if rescale:
        # as the decoder has them: rounded, and the other way up
        scales = round_to_bfloat16(1.0 / column_scales(weight, moment))
        weight, moment = weight / scales, moment * scales[:, None] * scales
    generator = layer_generator(seed, layer.key.name)
    if rotation is not None and r > 0:
        turn = new_rotation(rotation, r, generator)
        weight = rotate(weight, turn)
    if row_rotation is not None and r > 0:
        row_turn = new_rotation(row_rotation, m, generator)
        weight = np.ascontiguousarray(rotate(np.ascontiguousarray(weight.T), row_turn).T)
    basis = Basis(m, live, turn, row_turn, scales)
    natural = np.arange(r)
    if not factor:
        return Problem(layer.key, weight, weight, None, natural, 0.0, 0.0, basis, seed)
    if turn is not None:
        moment = rotate_moment(moment, turn)
    columns = ORDERS[order](moment)
    if order != "natural":
        moment = moment[np.ix_(columns, columns)]
    if ridge == 0:
        found = cholesky(moment, damping=damping, name=layer.key.name)
        return Problem(layer.key, weight, weight, found.lower, columns, found.damping, 0.0, basis, seed)
    energy = ridge * float(np.mean(np.diagonal(moment)))
    penalized = moment.copy()
    penalized[np.diag_indices(r)] += energy
    found = cholesky(penalized, damping=damping, name=layer.key.name)
    target = np.empty_like(weight)
    target[:, columns] = weight[:, columns] - energy * scipy.linalg.cho_solve((found.lower, True), weight[:, columns].T).T
    return Problem(layer.key, weight, target, found.lower, columns, found.damping, ridge, basis, seed)
