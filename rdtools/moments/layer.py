"""A layer: a weight matrix and the second moment of its input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdtools.errors import ShapeMismatch
from rdtools.linalg import check_moment, check_weight
from rdtools.moments.spectrum import live_columns, spectrum_of
from rdtools.ops import quadratic_form
from rdtools.records import Hessian, LayerKey, Spectrum
from rdtools.reprs import short_repr


def _unchangeable(array: object) -> bool:
    """True if neither the array nor the owner of its memory can be written to."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes)


def _private(checked: NDArray[np.float64], given: object) -> NDArray[np.float64]:
    """The checked array, or a copy of it if its memory is the caller's and can be written to."""
    converted = isinstance(given, np.ndarray) and not np.may_share_memory(checked, given)
    if converted or (checked.flags.c_contiguous and _unchangeable(checked)):
        return checked
    return np.array(checked)


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """One linear layer, checked: finite, symmetric, shapes that belong together.

    Attributes
    ----------
    key : which matrix
    weight : (m, n) float64
    hessian : of the layer's input, matrix (n, n) float64
    """

    key: LayerKey
    weight: NDArray[np.float64]
    hessian: Hessian
    __repr__ = short_repr

    @classmethod
    def of(cls, weight: ArrayLike, hessian: ArrayLike | Hessian, *, name: str = "layer", n_tokens: int = 0) -> Layer:
        """A layer from arrays or tensors.

        The layer keeps copies, so that a later change of the caller's arrays cannot disagree with a spectrum computed before. Only a
        read-only float64 array in C order, whose memory no writable array shares, is kept as it is: do not make it writable again.

        Parameters
        ----------
        weight : (m, n), real floating point
        hessian : (n, n) E[x xᵀ], or a `Hessian`, by whose name rotations of the input are drawn
        name : for messages, seeds and tables
        n_tokens : tokens behind the Hessian; 0 where it is exact, as for a synthetic one

        Raises
        ------
        ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite
        """
        given = hessian if isinstance(hessian, Hessian) else Hessian(hessian, n_tokens, name=f"{name}: Hessian")  # type: ignore[arg-type]
        matrix = _private(check_moment(given.matrix, name=f"{name}: Hessian"), given.matrix)
        checked = _private(check_weight(weight, columns=len(matrix), name=name), weight)
        if checked.size == 0:
            raise ShapeMismatch(f"{name}: weight of shape {checked.shape} is empty; expected at least one row and column")
        return cls(LayerKey("", name, name.rpartition(".")[2], -1), checked, replace(given, matrix=matrix))

    @classmethod
    def from_activations(cls, weight: ArrayLike, inputs: ArrayLike, *, name: str = "layer") -> Layer:
        """A layer from its weights and the inputs that it was given: H is their mean x xᵀ.

        Parameters
        ----------
        weight : (m, n), real floating point
        inputs : (tokens, n), real floating point
        name : as `of`

        Raises
        ------
        ShapeMismatch, UnsupportedDtype, NotFiniteInput

        Examples
        --------
        >>> layer = Layer.from_activations(np.ones((3, 2)), np.array([[1.0, 2.0], [3.0, 0.0]]))
        >>> layer.hessian.matrix.tolist(), layer.hessian.n_tokens
        ([[5.0, 1.0], [1.0, 2.0]], 2)
        """
        checked = check_weight(inputs, columns=np.shape(weight)[-1], name=f"{name}: inputs")
        if len(checked) == 0:
            raise ShapeMismatch(f"{name}: inputs of shape {checked.shape} are empty; expected at least one token")
        moment, mean = checked.T @ checked / len(checked), checked.mean(axis=0)
        return cls.of(weight, Hessian(moment, len(checked), name=f"{name}: Hessian", mean=mean), name=name)

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """(n,) bool, columns whose input is not always zero; weights in the others do not matter."""
        return live_columns(self.hessian.matrix)

    @cached_property
    def live_weight(self) -> NDArray[np.float64]:
        """(m, r) the live columns of W; W itself where all are."""
        return self.weight if self.live.all() else self.weight[:, self.live]

    @cached_property
    def row_variances(self) -> NDArray[np.float64]:
        """(m,) mean square of each row over its live columns."""
        live = self.live_weight
        return np.mean(live**2, axis=1) if live.size else np.zeros(len(live))

    @cached_property
    def energy(self) -> float:
        """D₀ = tr(W H Wᵀ)/(m n) with the undamped H: the distortion of all weights zero."""
        rows = np.maximum(quadratic_form(self.weight, self.hessian.matrix), 0.0) / self.weight.shape[1]
        return float(rows.mean())

    @property
    def weight_variance(self) -> float:
        """Mean square of the live weights."""
        return float(self.row_variances.mean())

    @property
    def spectrum(self) -> Spectrum:
        """Spectrum of the Hessian, computed once for all layers that share it."""
        return spectrum_of(self.hessian)
