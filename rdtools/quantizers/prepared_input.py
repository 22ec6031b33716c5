"""The part of a prepared layer that all layers of one input share: its second moment, rotated, put in order and factored."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, add_to_diagonal, diagonal, is_tensor, panels, submatrix
from rdtools.linalg import cholesky
from rdtools.quantizers.preparation import Preparation
from rdtools.records import Hessian, Rotation
from rdtools.transforms import rotate_moment
from rdtools.transforms.orders import ORDERS
from rdtools.triangular import moment_shares

#: The last one that was made, by its Hessian: one factor at most is kept, and no longer than its Hessian.
_LAST: WeakKeyDictionary[Hessian, tuple[tuple[Preparation, Rotation | None], PreparedInput]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class MomentSource:
    """A second moment that is made where it is needed, so that none is kept beside its factor.

    Attributes
    ----------
    given : (r, r) float64, of the active input channels, rescaled if the preparation says so; or a function that makes it anew
    rotation : of the channels, or None
    """

    given: Matrix | Callable[[], Matrix]
    rotation: Rotation | None

    @property
    def is_new(self) -> bool:
        """True if each call makes a matrix of its own, which may be overwritten."""
        return callable(self.given) or self.rotation is not None

    def __call__(self) -> Matrix:
        """(r, r) float64, in the basis that is quantized."""
        moment = self.given() if callable(self.given) else self.given
        return moment if self.rotation is None else rotate_moment(moment, self.rotation)


@dataclass(frozen=True, eq=False)
class PreparedInput:
    """An input made ready: everything that no weight takes part in.

    Matrices have their columns in `order`, all but the moment's, and are on the device of the Hessian; vectors are arrays in main memory.

    Attributes
    ----------
    moment : makes the second moment of the active input channels in the basis that is quantized, columns as those of the weights, without
        damping and ridge; it is the layer's own array where the basis is its own
    factor : (r, r) float64, L of that moment plus damping and ridge
    order : (r,) columns of the weights in the order of the factor's, the last decided first
    damping : relative damping that was used
    penalty : ridge, absolute
    damping_added : damping, absolute
    added : damping and ridge together, absolute: ``L Lᵀ = moment + added · I``
    preparation : what was asked for
    name : for messages
    noise_gains : (r,) ``ℓ_ii²`` of each column of the weights, with damping and ridge
    energies : (r,) H_ii of each column of the weights, without damping and ridge
    """

    moment: MomentSource
    factor: Matrix
    order: NDArray[np.intp]
    damping: float
    penalty: float
    damping_added: float
    added: float
    preparation: Preparation
    name: str
    noise_gains: Float64Array
    energies: Float64Array

    @property
    def damped_moment(self) -> Matrix:
        """(r, r) ``L Lᵀ``: the moment with damping and ridge, without multiplying it back from the factor."""
        return self.moment_in(self.order, self.added)

    def moment_in(self, order: NDArray[np.intp], added: float) -> Matrix:
        """(r, r) a new matrix of the moment, its columns in this order, with so much added to the diagonal."""
        return _made(self.moment, order, added)

    @property
    def unpenalized_moment(self) -> Callable[[], Matrix]:
        """Makes the moment (r, r) with damping and without ridge, its columns those of the weights, anew each time."""
        return partial(_made, self.moment, np.arange(len(self.order)), self.damping_added)

    @cached_property
    def noise_weights(self) -> Float64Array:
        """(r,) ``ℓ_ii² [L⁻¹ H L⁻ᵀ]_ii`` of each column of the weights: distortion under the H without damping and ridge, per unit of
        squared step over 12.
        """
        return self.noise_gains * _by_column(moment_shares(self.factor, self.added), self.order)

    @cached_property
    def unpenalized_factor(self) -> Matrix:
        """(r, r) float64, the factor without the ridge, damped by the same rule."""
        if self.penalty == 0:
            return self.factor
        return cholesky(lambda: self.moment_in(self.order, 0.0), damping=self.preparation.damping, name=self.name).lower


def _by_column(ordered: Float64Array, order: NDArray[np.intp]) -> Float64Array:
    """Numbers that belong to the factor's columns, as numbers of the weight's columns."""
    values = np.empty_like(ordered)
    values[order] = ordered
    return values


def _made(moment: MomentSource, order: NDArray[np.intp], added: float) -> Matrix:
    return _ordered(moment(), moment.is_new, order, added)


def _ordered(moment: Matrix, is_new: bool, order: NDArray[np.intp], added: float) -> Matrix:
    """A moment with its columns in this order and so much added to the diagonal, in its own memory where it is new."""
    if not is_new or is_tensor(moment):
        moment = submatrix(moment, order)
    elif not np.array_equal(order, np.arange(len(order))):
        for some in panels(len(order), len(order)):
            moment[:, some] = moment[order, some]
        for some in panels(len(order), len(order)):
            moment[some] = moment[some][:, order]
    if added:
        add_to_diagonal(moment, added)
    return moment


def prepare_input(
    moment: Matrix | Callable[[], Matrix], preparation: Preparation, rotation: Rotation | None, *, name: str
) -> PreparedInput:
    """Rotate, put in order, factor.

    Parameters
    ----------
    moment : as `MomentSource.given`
    preparation : rotation, order, damping and ridge are read
    rotation : that was drawn
    name : of the input or layer, for messages

    Raises
    ------
    NotPositiveSemidefinite
        If it cannot be factored with the damping asked for.
    """
    source = MomentSource(moment, rotation)
    first = [source()]
    order, energies = ORDERS[preparation.order](first[0]), diagonal(first[0]).copy()
    penalty = preparation.ridge * float(np.mean(energies[order])) if preparation.ridge > 0 else 0.0

    def penalized() -> Matrix:  # a new matrix each time, which the factor takes the place of; the first is there already
        return _ordered(first.pop() if first else source(), source.is_new, order, penalty)

    factored = cholesky(penalized, damping=preparation.damping, name=name)
    damping_added = factored.damping * math.fsum(energies[order] + penalty) / max(len(energies), 1)
    return PreparedInput(
        moment=source,
        factor=factored.lower,
        order=order,
        damping=factored.damping,
        penalty=penalty,
        damping_added=damping_added,
        added=damping_added + penalty,
        preparation=preparation,
        name=name,
        noise_gains=_by_column(diagonal(factored.lower) ** 2, order),
        energies=energies,
    )


def shared_input(
    hessian: Hessian, moment: Matrix | Callable[[], Matrix], preparation: Preparation, rotation: Rotation | None, *, name: str
) -> PreparedInput:
    """`prepare_input`, or its last result where the Hessian record, the preparation and the rotation are the same again.

    A preparation that looks at weights is made anew each time.
    """
    if preparation.per_layer:
        return prepare_input(moment, preparation, rotation, name=name)
    key = replace(preparation, row_rotation=None), rotation
    known = _LAST.get(hessian)
    if known is not None and known[0] == key:
        return known[1]
    del known
    _LAST.clear()  # before the next one takes its memory
    prepared = prepare_input(moment, preparation, rotation, name=name)
    _LAST[hessian] = key, prepared
    return prepared
