"""A layer: a weight matrix and the second moment of its input."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch, WrongType
from rdtools.linalg import as_float64, check_moment, check_weight
from rdtools.moments.spectrum import active_channels, spectrum_of
from rdtools.ops import quadratic_form
from rdtools.records import Hessian, LayerKey, Spectrum
from rdtools.reprs import by_size, html_table


def _unchangeable(array: object) -> bool:
    """True if neither the array nor the owner of its memory can be written to."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes)


def _private(checked: Float64Array, given: object) -> Float64Array:
    """The checked array, or a copy of it if its memory is the caller's and can be written to."""
    converted = isinstance(given, np.ndarray) and not np.may_share_memory(checked, given)
    if converted or (checked.flags.c_contiguous and _unchangeable(checked)):
        return checked
    return np.array(checked)


def active_columns(weight: Float64Array, active: NDArray[np.bool_]) -> Float64Array:
    """The columns of W whose input is not always zero, (m, r); W itself where all are."""
    return weight if active.all() else weight[:, active]


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """Numbers of a layer's weights that all its measurements need.

    Attributes
    ----------
    row_variances : (m,) mean square of each row over its active columns
    weight_variance : mean square of the active weights
    energy : D₀ = tr(W H Wᵀ)/(m n) with the undamped H, the distortion of all weights zero
    """

    row_variances: Float64Array
    weight_variance: float
    energy: float


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """One linear layer, checked: finite, symmetric, shapes that belong together.

    Attributes
    ----------
    key : which matrix
    weight : (m, n) float64
    hessian : of the layer's input, matrix (n, n) float64
    active : (n,) bool, columns whose input is not always zero; weights in the others do not matter
    """

    key: LayerKey
    weight: Float64Array
    hessian: Hessian
    active: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "active", active_channels(self.hessian.matrix))

    def _facts(self) -> list[tuple[str, str]]:
        """What a reader wants to see of it, at no cost."""
        tokens = self.hessian.n_tokens
        dead = int((~self.active).sum())
        facts = [("weights", by_size(*self.weight.shape)), ("Hessian", f"{tokens} tokens" if tokens else "exact")]
        return facts + ([("inputs that are always zero", str(dead))] if dead else [])

    def __repr__(self) -> str:
        (_, shape), (_, tokens), *more = self._facts()
        return f"Layer({self.key.name}: {', '.join([shape, tokens, *(f'{count} {name}' for name, count in more)])})"

    def _repr_html_(self) -> str:
        return html_table(f"Layer {self.key.name}", self._facts())

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
        WrongType
            If the name is no string, or the number of tokens no whole number from 0 on.
        """
        if not isinstance(name, str):
            raise WrongType(f"`name` {name!r}: expected a string, such as '0.q_proj'")
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
        ShapeMismatch, UnsupportedDtype, NotFiniteInput, WrongType

        Examples
        --------
        >>> layer = Layer.from_activations(np.ones((3, 2)), np.array([[1.0, 2.0], [3.0, 0.0]]))
        >>> layer.hessian.matrix.tolist(), layer.hessian.n_tokens
        ([[5.0, 1.0], [1.0, 2.0]], 2)
        """
        checked = as_float64(inputs, name=f"{name}: inputs")
        if checked.ndim != 2 or len(checked) == 0:
            raise ShapeMismatch(f"{name}: inputs of shape {checked.shape}, expected (tokens, n), at least one token")
        moment, mean = checked.T @ checked / len(checked), checked.mean(axis=0)
        return cls.of(weight, Hessian(moment, len(checked), name=f"{name}: Hessian", mean=mean), name=name)

    @cached_property
    def statistics(self) -> LayerStatistics:
        """Variances of the weights and D₀, computed once."""
        weight = active_columns(self.weight, self.active)
        variances = np.mean(weight**2, axis=1) if weight.size else np.zeros(len(weight))
        rows = np.maximum(quadratic_form(self.weight, self.hessian.matrix), 0.0) / self.weight.shape[1]
        return LayerStatistics(variances, float(variances.mean()), float(rows.mean()))

    @cached_property
    def weight_checksum(self) -> int:
        """CRC-32 of the weights, by which a quantized layer is recognized as this one's."""
        return zlib.crc32(np.ascontiguousarray(self.weight).data)

    @property
    def spectrum(self) -> Spectrum:
        """Spectrum of the Hessian, computed once for all layers that share it."""
        return spectrum_of(self.hessian)
