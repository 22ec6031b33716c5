"""A second moment over tokens that calibration has not seen, read by parts so that no worker holds it beside the Hessian."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.lapack import dpotri

from rdtools.arrays import Float64Array, Matrix, beside, check_count, is_tensor, panels, row_dots
from rdtools.errors import ShapeMismatch
from rdtools.linalg import as_float64, check_moment, cholesky
from rdtools.moments.layer import Layer
from rdtools.moments.spectrum import active_channels, eigendecomposition
from rdtools.records import Hessian
from rdtools.reprs import short_repr
from rdtools.widths import missing_spectrum_reason

#: Entries of the moment that go to a device at a time.
_DEVICE_ENTRIES = 2**24


@dataclass(frozen=True, eq=False, repr=False)
class HeldoutMoment:
    """E[x xᵀ] over held-out tokens, H′, as its lower triangle by rows.

    Attributes
    ----------
    columns : n
    n_tokens : tokens in the mean; 0 for an exact one
    read : (first, last) → those of the n(n+1)/2 numbers
    name : which input, for messages
    mean : (n,) E[x] over the same tokens; None where it was not recorded
    """

    columns: int
    n_tokens: int
    read: Callable[[int, int], NDArray[np.float64]]
    name: str = "held-out moment"
    mean: Float64Array | None = None
    _energies: WeakKeyDictionary[Layer, float] = field(default_factory=WeakKeyDictionary, init=False, repr=False)
    __repr__ = short_repr

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_tokens", check_count(self.n_tokens, name=f"{self.name}: `n_tokens`"))

    @classmethod
    def of(cls, moment: ArrayLike, *, n_tokens: int = 0, name: str = "held-out moment", mean: ArrayLike | None = None) -> HeldoutMoment:
        """From a matrix (n, n) in memory, and from E[x], (n,), without which nothing is measured beside a bias per row.

        Raises
        ------
        ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite, WrongType
        """
        matrix = check_moment(moment, name=name)
        packed = np.concatenate([np.zeros(0), *(row[: i + 1] for i, row in enumerate(matrix))])
        known = None if mean is None else as_float64(mean, name=f"{name}: mean")
        if known is not None and known.shape != (len(matrix),):
            raise ShapeMismatch(f"{name}: a mean of shape {known.shape}, expected ({len(matrix)},)")
        return cls(len(matrix), n_tokens, lambda first, last: packed[first:last], name, known)

    def _panels(self, **entries: int) -> Iterator[tuple[slice, Float64Array]]:
        """Rows, and their entries up to the last one's diagonal, zeros above the diagonal; so many `entries` at a time."""
        for rows in panels(self.columns, self.columns, **entries):
            start = rows.start * (rows.start + 1) // 2
            packed = self.read(start, rows.stop * (rows.stop + 1) // 2)
            part = np.zeros((rows.stop - rows.start, rows.stop))
            for row in range(rows.start, rows.stop):
                first = row * (row + 1) // 2 - start
                part[row - rows.start, : row + 1] = packed[first : first + row + 1]
            yield rows, part

    def quadratic_form(self, errors: Matrix) -> Float64Array:
        """``e H′ eᵀ`` of each row e of an array or tensor (m, n), shape (m,) in main memory; needs little memory beside it.

        Raises
        ------
        ShapeMismatch
        """
        if errors.ndim != 2 or errors.shape[1] != self.columns:
            raise ShapeMismatch(f"{self.name}: a held-out moment of {self.columns} inputs beside weights {errors.shape}, expected (m, n)")
        values = np.zeros(len(errors))
        for columns, part in self._panels(entries=_DEVICE_ENTRIES) if is_tensor(errors) else ():
            diagonal, moment = beside(np.diagonal(part[:, columns]), errors), beside(part, errors)
            e = errors[:, columns]
            values += 2 * row_dots(e @ moment, errors[:, : columns.stop]) - row_dots(e * diagonal, e)
        for columns, part in () if is_tensor(errors) else self._panels():
            diagonal = np.diagonal(part[:, columns])
            for rows in panels(len(errors), columns.stop):
                e = errors[rows, columns]
                values[rows] += 2 * np.einsum("ij,ij->i", e @ part, errors[rows, : columns.stop]) - e**2 @ diagonal
        return np.maximum(values, 0.0)

    def energy(self, layer: Layer) -> float:
        """``D₀′ = tr(W H′ Wᵀ)/(m n)`` of a layer's weights, computed once for as long as the layer lives."""
        host = layer.in_memory
        if host not in self._energies:
            self._energies[host] = self._loss(layer.weight)
        return self._energies[host]

    def distortion(self, layer: Layer, reconstruction: Matrix) -> float:
        """``D′ = tr((W − Ŵ) H′ (W − Ŵ)ᵀ)/(m n)``."""
        return self._loss(layer.weight - reconstruction)

    def _loss(self, errors: Matrix) -> float:
        return float(self.quadratic_form(errors).mean()) / self.columns

    def inner(self, matrix: Float64Array, active: NDArray[np.bool_]) -> float:
        """``tr(A H′)`` over the r active columns, A the symmetric matrix whose lower triangle is that of an array (r, r)."""
        indices, total = np.flatnonzero(active), 0.0
        for rows, part in self._panels():
            first, last = np.searchsorted(indices, (rows.start, rows.stop))
            block = part[np.ix_(indices[first:last] - rows.start, indices[:last])]
            products = block * matrix[first:last, :last]  # zero above the diagonal, as the block is
            total += 2 * float(products.sum()) - float(np.trace(products[:, first:]))
        return total


def mean_ratio(hessian: Hessian, heldout: HeldoutMoment) -> float:
    """``tr(H⁻¹ H′)/r`` over the r active columns: held-out energy over calibrated energy, mean over whitened directions.

    nan for a singular H.
    """
    active = active_channels(hessian.matrix)
    if not active.any():
        return math.nan
    factor = cholesky(hessian.matrix[np.ix_(active, active)], name=hessian.name)
    if factor.damping:
        return math.nan
    inverse, info = dpotri(factor.lower.T, lower=0, overwrite_c=1)  # in place: the transpose lies as LAPACK wants it
    return heldout.inner(inverse.T, active) / len(inverse) if info == 0 else math.nan


def is_resolved(hessian: Hessian, heldout: HeldoutMoment, rank: int) -> bool:
    """True if held-out inputs have no energy, but for rounding, in the directions that a singular H of this rank lacks.

    Such directions are a property of the layer's input, as that of a LayerNorm without bias, and not a want of tokens. False where H is too
    wide for its eigenvectors.
    """
    active = active_channels(hessian.matrix)
    if missing_spectrum_reason(int(active.sum())):
        return False
    missing = eigendecomposition(hessian.matrix, name=hessian.name).vectors[:, rank:]
    energy = heldout.inner(np.eye(len(missing)), active)
    return bool(heldout.inner(missing @ missing.T, active) <= len(missing) * np.finfo(np.float64).eps * energy)
