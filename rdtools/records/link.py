"""The interface of a linear map on the inputs of a layer, with its effect on weights and moments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, symmetrize
from rdtools.errors import ShapeMismatch


def integer_array(values: Any, *, name: str, expected: str) -> NDArray[np.int64]:
    """A one-dimensional array of whole numbers as int64.

    Raises
    ------
    ShapeMismatch
        For another number of dimensions, no entries, or numbers that are not integers.
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise ShapeMismatch(f"{name}: shape {array.shape} and dtype {array.dtype}, expected {expected}")
    return array.astype(np.int64)


class Link(ABC):
    """A linear map ``x′ = T x`` from n inputs of a layer to n′, and the weights that belong to x′.

    A layer that computes ``W x`` computes ``W′ x′`` behind the link, with ``W′ = weight(W)``. The two are the same for every x where the
    link is `lossless`. Whatever happens to W′ afterwards, the weight V that replaces it acts on x as ``pull_back(V) = V T``.

    T is never formed as a dense (n′, n) matrix. A kind of link defines `inputs`, `outputs`, `lossless`, `bits`, and the four maps on
    checked arrays whose names begin with an underscore.
    """

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Number n of inputs x."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number n′ of inputs x′."""

    @property
    @abstractmethod
    def lossless(self) -> bool:
        """``weight(W) T x = W x`` for every W and every x."""

    @property
    @abstractmethod
    def bits(self) -> float:
        """Side information in bits that a decoder needs to rebuild T, per map and not per weight; the class says how it is counted.

        Constants of a file's header (kinds, sizes, lengths of lists, checksums) are not in it, nor is padding to whole bytes.
        """

    @property
    def shifts(self) -> Float64Array | None:
        """(n′,) shift of each x′ before it is rounded to a grid, in steps of the grid; None for none."""
        return None

    @property
    def copies(self) -> NDArray[np.int64] | None:
        """Number of adjacent outputs that are copies of one channel, for each channel in turn; None where there are no copies."""
        return None

    def apply(self, x: Any) -> Float64Array:
        """``T x`` of inputs along the last axis: (…, n) → (…, n′).

        One-sided moments are mapped by it as well: ``E[r (T x)ᵀ] = E[r xᵀ] Tᵀ`` is `apply` of ``E[r xᵀ]``.

        Raises
        ------
        ShapeMismatch
        """
        return self._apply(self._checked(x, self.inputs, "inputs x", "(…, {})"))

    def weight(self, weight: Any) -> Float64Array:
        """W′ for x′, from W for x: (m, n) → (m, n′).

        Raises
        ------
        ShapeMismatch
        """
        return self._weight(self._checked(weight, self.inputs, "weight W", "(m, {})", dimensions=2))

    def moment(self, moment: Any) -> Float64Array:
        """``T H Tᵀ`` of a second moment H of x, exactly symmetric if H is: (n, n) → (n′, n′).

        Raises
        ------
        ShapeMismatch
        """
        H = self._checked(moment, self.inputs, "moment H", "({0}, {0})", dimensions=2)
        if len(H) != self.inputs:
            raise ShapeMismatch(f"{self!r}: moment H of shape {H.shape}, expected {(self.inputs, self.inputs)}; it must be of x")
        return self._moment(H)

    def pull_back(self, weight: Any) -> Float64Array:
        """The weight on x that does what V does on x′: (m, n′) → (m, n).

        It is ``V T``, so that ``V (T x) = pull_back(V) x`` for every x.

        Raises
        ------
        ShapeMismatch
        """
        return self._pull_back(self._checked(weight, self.outputs, "weight V", "(m, {})", dimensions=2))

    @abstractmethod
    def _apply(self, x: Float64Array) -> Float64Array: ...

    @abstractmethod
    def _weight(self, weight: Float64Array) -> Float64Array: ...

    @abstractmethod
    def _pull_back(self, weight: Float64Array) -> Float64Array: ...

    def _moment(self, moment: Float64Array) -> Float64Array:
        both = self._apply(np.ascontiguousarray(self._apply(moment).T))
        # the two triangles differ by rounding
        return np.asarray(symmetrize(both if both.flags.writeable else both.copy()))

    def _checked(self, array: Any, last: int, label: str, expected: str, dimensions: int | None = None) -> Float64Array:
        values = np.asarray(array)
        if values.ndim < 1 or values.shape[-1] != last or (dimensions is not None and values.ndim != dimensions):
            raise ShapeMismatch(
                f"{self!r}: {label} of shape {values.shape}, expected {expected.format(last)}; likely an array of the other side of the map"
            )
        return values

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inputs} → {self.outputs})"
