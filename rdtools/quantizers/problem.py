"""What every quantizer works on: live columns, rotated, put in order and factored."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import round_to_bfloat16
from rdtools.errors import UsageError
from rdtools.hessians.drift import Drift
from rdtools.hessians.layer import Layer
from rdtools.linalg import cholesky, cross_target
from rdtools.orders import ORDERS
from rdtools.quantizers.incoherence_processing import column_scales
from rdtools.records import Basis, LayerKey, Rotation
from rdtools.transforms import RotationChoice, new_rotation, rotate, rotate_moment

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """A layer made ready.

    Attributes
    ----------
    key : which matrix
    weight : (m, r) float64, live columns of W, times Q if rotated
    target : (m, r) float64, what is rounded in place of the weights
    ideal : (m, r) float64, the reconstruction of least error, ridge apart: the weights themselves, unless the input drifts or columns
        are dropped that are not dead; the same as `target` without a ridge
    factor : (r, r) float64, L of the damped and rotated moment plus ridge, columns in `order`; None for a method that does not look at it
    order : (r,) columns of the weights in the order of the factor's, the last decided first
    damping : relative damping that was used
    ridge : penalty of the reconstruction's energy, relative to the mean diagonal
    penalty : the same, absolute
    basis : where decoded values belong
    seed : run seed
    """

    key: LayerKey
    weight: Float64Array
    target: Float64Array
    ideal: Float64Array
    factor: Float64Array | None
    order: NDArray[np.intp]
    damping: float
    ridge: float
    penalty: float
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


def live_features(layer: Layer, dead_threshold: float | None, drift: Drift | None) -> NDArray[np.bool_]:
    """(n,) columns that are quantized: those whose input is not always zero, nor zero whenever it has drifted, and has at least
    `dead_threshold` times the median energy of the inputs that the weights were made for.
    """
    live = layer.live
    if dead_threshold is not None:
        energies = np.diagonal(layer.hessian.matrix)
        # the median: gated inputs have outliers, next to whose mean most others would look dead
        live = live & (energies >= dead_threshold * np.median(energies))
    return live if drift is None else live & (np.diagonal(drift.moment) > 0)


def _rotate_rows(values: Float64Array, turn: Rotation) -> Float64Array:
    return np.ascontiguousarray(rotate(np.ascontiguousarray(values.T), turn).T)


def _correction(layer: Layer, live: NDArray[np.bool_], moment: Float64Array, drift: Drift | None) -> Float64Array | None:
    """``C = W Σ_Xx̂ + S − W_live Σ_x̂`` on the live columns of x̂, (m, r): what the error still has in common with the input when V = W.

    The ideal reconstruction is ``W_live + C Σ_x̂⁻¹``. Without drift it is what dropped columns share with the others; None where that is
    nothing.
    """
    if drift is None and live.sum() == layer.live.sum():
        return None
    difference = (layer.hessian.matrix if drift is None else drift.cross)[:, live]
    # before the product with W, so that it is exactly zero without drift
    difference[live] -= moment
    shared = layer.weight @ difference
    return shared if drift is None or drift.residual is None else shared + drift.residual[:, live]


def prepare(
    layer: Layer,
    *,
    rotation: RotationChoice | None = None,
    damping: float | None = None,
    order: str = "natural",
    ridge: float = 0.0,
    row_rotation: RotationChoice | None = None,
    rescale: bool = False,
    dead_threshold: float | None = None,
    drift: Drift | None = None,
    factor: bool = True,
    seed: int = 0,
) -> Problem:
    """Drop dead columns, rescale, rotate, put in order, factor.

    With a ridge μ the quantizer minimizes ``tr((W − V) H (W − V)ᵀ) + μ ‖V‖²``, which is successive cancellation under ``H + μ I`` of the
    target ``T = W H (H + μ I)⁻¹``.

    With drift, the layer's input being x̂ in place of x, it minimizes ``E‖W x + r − V x̂‖² + δ ‖W − V‖² + μ ‖V‖²``, r being what the
    residual stream lacks and δ the damping: successive cancellation under ``Σ_x̂ + (δ + μ) I`` of

        T = (W (Σ_xx̂ + δ I) + S) (Σ_x̂ + (δ + μ) I)⁻¹ = W + (W (Σ_xx̂ − Σ_x̂) + S − μ W) (Σ_x̂ + (δ + μ) I)⁻¹

    The second form is exactly W without drift and ridge. Rotations, scales and orders of columns apply to x̂ throughout.

    Parameters
    ----------
    layer : what to quantize
    rotation : None for the natural basis; "auto" takes a randomized Hadamard matrix where one exists, else Haar
    damping : relative to the mean diagonal; None for none unless H is singular, see `rdtools.linalg.cholesky`
    order : name in `rdtools.orders.ORDERS`
    ridge : μ relative to the mean diagonal
    row_rotation : of the outputs, which leaves H alone; as `rotation`
    rescale : bring columns to the scales of `rdtools.quantizers.incoherence_processing.column_scales` first
    dead_threshold : columns whose input has less than this share of the median energy are dropped too, and what they have in common with
        the others is added to the target; None for none but those that are always zero
    drift : moments of the inputs that the layer has, if they are not those that the weights were made for; μ, δ and the order of columns
        are then by Σ_x̂
    factor : whether the Hessian is wanted at all
    seed : of the run

    Raises
    ------
    UnsupportedOrder
        If a Hadamard rotation is asked for by name and its order cannot be built.
    NotPositiveSemidefinite
        If H cannot be factored with the damping asked for, or the drift contradicts the Hessian.
    ShapeMismatch
        If the drift is not of this layer.
    UsageError
        For a drift, or columns dropped, without a factor.
    """
    if not factor and not (drift is None and dead_threshold is None):
        raise UsageError(
            f"{layer.key.name}: drift and dead_threshold change the target by way of the Hessian; expected a method that uses it"
        )
    if drift is not None:
        drift.check(layer)
    live = live_features(layer, dead_threshold, drift)
    weight = layer.live_weight if live.sum() == layer.live.sum() else layer.weight[:, live]
    m, r = weight.shape
    moment = layer.hessian.matrix if drift is None else drift.moment
    moment = moment if live.all() else moment[np.ix_(live, live)]
    correction = _correction(layer, live, moment, drift)
    scales = turn = row_turn = None
    if rescale:
        # as the decoder has them: rounded, and the other way up
        scales = round_to_bfloat16(1.0 / column_scales(weight, moment))
        weight, moment = weight / scales, moment * scales[:, None] * scales
        correction = None if correction is None else correction * scales
    generator = layer_generator(seed, layer.key.name)
    if rotation is not None and r > 0:
        turn = new_rotation(rotation, r, generator)
        weight = rotate(weight, turn)
        correction = None if correction is None else rotate(correction, turn)
    if row_rotation is not None and r > 0:
        row_turn = new_rotation(row_rotation, m, generator)
        weight = _rotate_rows(weight, row_turn)
        correction = None if correction is None else _rotate_rows(correction, row_turn)
    basis = Basis(m, live, turn, row_turn, scales)
    natural = np.arange(r)
    if not factor:
        return Problem(layer.key, weight, weight, weight, None, natural, 0.0, 0.0, 0.0, basis, seed)
    if turn is not None:
        moment = rotate_moment(moment, turn)
    columns = ORDERS[order](moment)
    if order != "natural":
        moment = moment[np.ix_(columns, columns)]
    penalty = ridge * float(np.mean(np.diagonal(moment))) if ridge > 0 else 0.0
    penalized = moment
    if penalty > 0:
        penalized = moment.copy()
        penalized[np.diag_indices(r)] += penalty
    found = cholesky(penalized, damping=damping, name=layer.key.name)

    def solved(values: Float64Array, lower: Float64Array) -> Float64Array:
        answer = np.empty_like(values)
        answer[:, columns] = cross_target(values[:, columns], lower)
        return answer

    target = ideal = weight
    if penalty > 0:
        target = weight - penalty * solved(weight, found.lower)
    if correction is not None:
        target = target + solved(correction, found.lower)
        plain = found if penalty == 0 else cholesky(moment, damping=damping, name=layer.key.name)
        ideal = target if penalty == 0 else weight + solved(correction, plain.lower)
    return Problem(layer.key, weight, target, ideal, found.lower, columns, found.damping, ridge, penalty, basis, seed)
