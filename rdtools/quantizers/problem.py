"""The problem that every quantizer works on: the active columns of a layer, rotated, put in order and factored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Matrix, beside, contiguous, copied, diagonal, mean_square, put_columns, submatrix, take_columns
from rdtools.coding import round_to_bfloat16
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.moments.layer import Layer, active_columns
from rdtools.quantizers.grids.balance import balancing_scales
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.prepared_input import PreparedInput, shared_input
from rdtools.records import Basis, InputMoments, LayerKey, Rotation
from rdtools.seeds import rotation_seed
from rdtools.transforms import RotationChoice, new_rotation, rotate, rotate_rows
from rdtools.triangular import solved


@dataclass(frozen=True, eq=False)
class Problem:
    """A layer made ready, its matrices on the device of the layer.

    Attributes
    ----------
    key : which matrix
    preparation : how it was made ready
    shared : the part that layers of one input share; None for a method that does not look at the Hessian
    weight : (m, r) float64, active columns of W, times Q if rotated
    target : (m, r) float64, what is rounded in place of the weights
    ideal : (m, r) float64, the reconstruction of least error, ridge apart: the weights themselves, unless the input drifts or columns
        are dropped that are not dead; the same as `target` without a ridge
    basis : where decoded values belong
    seed : run seed
    active_fraction : r/n
    weight_std : root mean square of the active weights; a rotation leaves it as it is
    damping : relative damping that was used; 0 if the Hessian is not looked at
    """

    key: LayerKey
    preparation: Preparation
    shared: PreparedInput | None
    weight: Matrix
    target: Matrix
    ideal: Matrix
    basis: Basis
    seed: int
    active_fraction: float
    weight_std: float
    damping: float

    @property
    def prepared_input(self) -> PreparedInput:
        """The shared part of a problem that has one.

        Raises
        ------
        UsageError
        """
        if self.shared is None:
            raise UsageError(f"{self.key.name}: prepared without a factor of the Hessian; expected a preparation with factor=True")
        return self.shared

    @property
    def factor(self) -> Matrix:
        """(r, r) float64, L of the damped and rotated moment plus ridge, columns in `order`; raises as `prepared_input`."""
        return self.prepared_input.factor

    @property
    def order(self) -> NDArray[np.intp]:
        """(r,) columns of the weights in the order of the factor's, the last decided first; raises as `prepared_input`."""
        return self.prepared_input.order


def _check_drift(layer: Layer, drift: InputMoments) -> None:
    name, H = layer.key.name, (layer.host or layer).hessian.matrix
    drift.check(layer.weight.shape, name=name)
    if drift.actual_inputs != drift.inputs:
        raise ShapeMismatch(f"{name}: drift to {drift.actual_inputs} inputs, expected {drift.inputs}; likely moments behind an input map")
    if drift.reference is not H and not np.array_equal(drift.reference, H):
        raise UsageError(
            f"{name}: the reference moment of the drift is not the layer's Hessian, expected moments of the same tokens: make the layer "
            "with the reference moment"
        )


def quantized_channels(layer: Layer, dead_threshold: float | None, drift: InputMoments | None) -> NDArray[np.bool_]:
    """(n,) columns that are quantized: those whose input is not always zero, nor zero whenever it has drifted, and has at least
    `dead_threshold` times the median energy of the inputs that the weights were made for.
    """
    active = layer.active
    if dead_threshold is not None:
        energies = diagonal((layer.host or layer).hessian.matrix)
        # the median: gated inputs have outliers, next to whose mean most others would look dead
        active = active & (energies >= dead_threshold * np.median(energies))
    return active if drift is None else active & (np.diagonal(drift.actual) > 0)


#: Types of the layers whose input "inner" rotates: those that read no residual stream, which `rdtools rotate` turns in the weights.
INNER_TYPES = ("o_proj", "down_proj")


def input_rotation(choice: RotationChoice | None, input_name: str, layer_type: str, channels: int, *, seed: int) -> Rotation | None:
    """The rotation of so many active channels of the input of a layer; None where none is asked for or nothing is active."""
    if choice is None or channels == 0 or (choice == "inner" and layer_type not in INNER_TYPES):
        return None
    return new_rotation(choice, channels, rotation_seed(seed, "rotation", input_name))


def draw_basis(layer: Layer, preparation: Preparation, *, seed: int = 0) -> Basis:
    """The basis that `prepare` will work in, column scales apart: nothing is rotated yet, only drawn.

    The rotation of the inputs is drawn from the seed and the input's name, so that layers of one input share it and its factor, that of the
    rows from the seed and the layer's name; neither depends on the method, so that methods are compared on equal draws.

    Raises
    ------
    UsageError
        For a seed outside 0 … 2^63 − 1.
    UnsupportedOrder
        If a Hadamard rotation is asked for by name and its order cannot be built.
    """
    active = quantized_channels(layer, preparation.dead_threshold, preparation.drift)
    m, r = len(layer.weight), int(active.sum())
    rotation = input_rotation(preparation.rotation, layer.hessian.name, layer.key.type, r, seed=seed)
    rows = preparation.row_rotation if r else None
    return Basis(m, active, rotation, None if rows is None else new_rotation(rows, m, rotation_seed(seed, "rows", layer.key.name)))


def _made(moment: Matrix | Callable[[], Matrix]) -> Matrix:
    return moment() if callable(moment) else moment


def _scaled_moment(moment: Matrix | Callable[[], Matrix], scales: Matrix) -> Matrix:
    scaled = _made(moment) * scales[:, None]
    scaled *= scales
    return scaled


def _is_own(layer: Layer, active: NDArray[np.bool_], drift: InputMoments | None) -> bool:
    """True if all inputs that are not always zero are those that the weights were made for, so that there is nothing to correct."""
    return drift is None and bool(active.sum() == layer.active.sum())


def _correction(layer: Layer, active: NDArray[np.bool_], drift: InputMoments | None) -> Matrix:
    """``C = W Σ_Xx̂ + S − W_active Σ_x̂`` on the active columns of x̂, (m, r): what the error still has in common with the input when V = W.

    The ideal reconstruction is ``W_active + C Σ_x̂⁻¹``. Without drift it is what dropped columns share with the others.
    """
    moment = submatrix(layer.hessian.matrix if drift is None else beside(drift.actual, layer.weight), active)
    difference = take_columns(layer.hessian.matrix if drift is None else beside(drift.cross, layer.weight), active)
    # before the product with W, so that it is exactly zero without drift
    difference[beside(active, difference)] -= moment
    shared = layer.weight @ difference
    return shared if drift is None or drift.residual is None else shared + beside(drift.residual[:, active], shared)


def _columns_copied(x: Matrix, order: NDArray[np.intp]) -> Matrix:
    """A new matrix, rows one after another, of the columns in this order."""
    columns = take_columns(x, order)
    return copied(x) if columns is x else contiguous(columns)


def _targets(weight: Matrix, correction: Matrix | None, shared: PreparedInput) -> tuple[Matrix, Matrix]:
    """The matrix that is rounded in place of the weights, and the reconstruction of least error."""

    def plus(start: Matrix, factor: float, values: Matrix, lower: Matrix) -> Matrix:
        """``start + factor · C (L Lᵀ)⁻¹`` in twice the memory of C."""
        total = put_columns(solved(_columns_copied(values, shared.order), lower, overwrite=True), shared.order, like=values)
        total *= factor
        total += start
        return total

    target = plus(weight, -shared.penalty, weight, shared.factor) if shared.penalty > 0 else weight
    if correction is None:
        return target, weight
    target = plus(target, 1.0, correction, shared.factor)
    return target, target if shared.penalty == 0 else plus(weight, 1.0, correction, shared.unpenalized_factor)


def cross_target(
    cross: Matrix,  # (m, n)
    factor: Matrix,  # (n, n), lower triangular
) -> Matrix:
    """The target ``T = C (L Lᵀ)⁻¹`` that is quantized in place of W when the layer's input is not the one that W was made for.

    With inputs x̂ in place of x, ``E‖W x − Ŵ x̂‖² = tr (T − Ŵ) Σ_x̂ (T − Ŵ)ᵀ + constant`` for ``C = W E[x x̂ᵀ]`` and ``L Lᵀ = Σ_x̂``; a
    term that corrects a residual stream is added to C. Cancellation starts at ``Y = T L = C L⁻ᵀ``. With x̂ = x, T = W.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4.
    """
    return solved(cross, factor)


def prepare(layer: Layer, preparation: Preparation | None = None, *, seed: int = 0) -> Problem:
    """Drop dead input channels, rescale, rotate, put in order, factor.

    With a ridge μ the quantizer minimizes ``tr((W − V) H (W − V)ᵀ) + μ ‖V‖²``, which is successive cancellation under ``H + μ I`` of the
    target ``T = W H (H + μ I)⁻¹``.

    With drift, the layer's input being x̂ in place of x, it minimizes ``E‖W x + r − V x̂‖² + δ ‖W − V‖² + μ ‖V‖²``, r being what the
    residual stream lacks and δ the damping: successive cancellation under ``Σ_x̂ + (δ + μ) I`` of

        T = (W (Σ_xx̂ + δ I) + S) (Σ_x̂ + (δ + μ) I)⁻¹ = W + (W (Σ_xx̂ − Σ_x̂) + S − μ W) (Σ_x̂ + (δ + μ) I)⁻¹

    The second form is exactly W without drift and ridge. Rotations, scales and orders of columns apply to x̂ throughout.

    Layers prepared one after another with one Hessian record, one preparation and one rotation share the factor: it is computed once.

    Parameters
    ----------
    layer : what to quantize
    preparation : how; None for the unrotated basis and no damping unless H is singular
    seed : of the run; rotations are drawn from it and the names of input and layer, see `draw_basis`

    Raises
    ------
    UnsupportedOrder
        If a Hadamard rotation is asked for by name and its order cannot be built.
    NotPositiveSemidefinite
        If H cannot be factored with the damping asked for.
    ShapeMismatch, UsageError
        If the drift is not of this layer. If the input is to be centred and its mean is not known.
    """
    preparation = Preparation() if preparation is None else preparation
    drift = preparation.drift
    if drift is not None:
        _check_drift(layer, drift)
    layer = layer.centred if preparation.centred else layer
    basis = draw_basis(layer, preparation, seed=seed)
    active = basis.active
    weight = active_columns(layer.weight, active)
    if preparation.row_steps is not None:
        weight = weight / beside(np.array(preparation.row_steps)[:, None], weight)
    full = layer.hessian.matrix if drift is None else beside(drift.actual, layer.weight)
    moment: Matrix | Callable[[], Matrix] = full if active.all() else partial(submatrix, full, active)
    correction = None if _is_own(layer, active, drift) else _correction(layer, active, drift)
    if preparation.rescale:
        # as the decoder has them: rounded, and the other way up
        scales = round_to_bfloat16(1.0 / balancing_scales(weight, _made(moment)))
        basis, scales = replace(basis, column_scales=scales), beside(scales, weight)
        weight, moment = weight / scales, partial(_scaled_moment, moment, scales)
        correction = None if correction is None else correction * scales
    for turn, rotation in ((rotate, basis.rotation), (rotate_rows, basis.row_rotation)):
        if rotation is not None:  # one after the other, so that what was there before is gone by then
            weight = turn(weight, rotation)
            correction = None if correction is None else turn(correction, rotation)
    shared, damping, target, ideal = None, 0.0, weight, weight
    if preparation.factor:
        shared = shared_input(layer.hessian, moment, preparation, basis.rotation, name=layer.key.name)
        damping = shared.damping
        target, ideal = _targets(weight, correction, shared)
    std = float(np.sqrt(mean_square(weight))) if active.any() else 0.0
    return Problem(layer.key, preparation, shared, weight, target, ideal, basis, seed, float(np.mean(active)), std, damping)
