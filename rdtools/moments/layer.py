"""A layer: a weight matrix and the second moment of its input."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdtools.arrays import Float64Array, Matrix, panels, place_of, take_columns
from rdtools.devices import check_device
from rdtools.errors import ShapeMismatch, UsageError, WrongType
from rdtools.linalg import as_float64, check_moment, check_weight
from rdtools.moments.per_hessian import per_hessian
from rdtools.moments.spectrum import active_channels, spectrum_of
from rdtools.ops import quadratic_form
from rdtools.records import Hessian, LayerKey, Spectrum
from rdtools.records.stored import finished
from rdtools.reprs import by_size, html_table


def _unchangeable(array: object) -> bool:
    """True if neither the array nor the owner of its memory can be written to."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes)


def _private(checked: Float64Array, source: object) -> Float64Array:
    """The checked array, or a copy of it if its memory is the caller's and can be written to."""
    converted = isinstance(source, np.ndarray) and not np.may_share_memory(checked, source)
    if converted or (checked.flags.c_contiguous and _unchangeable(checked)):
        return checked
    return np.array(checked)


def active_columns(weight: Matrix, active: NDArray[np.bool_]) -> Matrix:
    """The columns of W whose input is not always zero, (m, r); W itself where all are."""
    return weight if active.all() else take_columns(weight, active)


#: Weights that statistics are computed of in one go.
_BLOCK_ENTRIES = 2**22

#: The last copy of a Hessian on a device, by the Hessian: layers of one input share it, and one at most is kept.
_ON_DEVICE: WeakKeyDictionary[Hessian, tuple[str, Hessian]] = WeakKeyDictionary()


def _hessian_on(hessian: Hessian, device: str) -> Hessian:
    known = _ON_DEVICE.get(hessian)
    if known is None or known[0] != device:
        del known
        _ON_DEVICE.clear()  # before the next one takes its memory
        matrix = import_module("torch").from_numpy(np.array(hessian.matrix)).to(device)
        _ON_DEVICE[hessian] = known = device, replace(hessian, matrix=matrix)
    return known[1]


#: Variance of a channel over its energy below which it is constant: what is left of it is rounding.
_CONSTANT = 1e-12


@per_hessian
def _covariance(hessian: Hessian) -> Hessian:
    """``C = H − μ μᵀ`` with zeros for channels that are constant, its mean zero; layers of one input share the record."""
    mean = hessian.mean
    if mean is None:
        origin = f"{hessian.origin} has none" if hessian.origin else "collect the Hessians again, which records it"
        raise UsageError(f"{hessian.name}: no mean of the input, which a bias per row needs; {origin}, or choose a method without +bias")
    energies = np.diagonal(hessian.matrix)
    varies = energies - mean**2 > _CONSTANT * energies
    matrix = hessian.matrix - np.outer(mean, mean)
    if not varies.all():
        matrix *= np.outer(varies, varies)
    return replace(hessian, matrix=finished(matrix), mean=np.zeros(len(mean)))


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
    host : the layer in main memory that this one is a copy of, on a device; None for one that is in main memory itself
    active : (n,) bool, columns whose input is not always zero; weights in the others do not matter
    """

    key: LayerKey
    weight: Matrix
    hessian: Hessian
    host: Layer | None = None
    active: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "active", active_channels(self.hessian.matrix) if self.host is None else self.host.active)

    @property
    def in_memory(self) -> Layer:
        """The layer in main memory: itself, or the one that it is a copy of."""
        return self if self.host is None else self.host

    @property
    def device(self) -> str:
        """Name of the device that weight and Hessian are on; "cpu" for main memory."""
        return place_of(self.weight)

    def on(self, device: Any) -> Layer:
        """A copy whose weight and Hessian are torch tensors on a device: what is done with it is done there.

        Layers of one Hessian record share its copy, and so its factor. `in_memory` goes back.

        Parameters
        ----------
        device : of torch, such as "cuda"; "cpu" gives tensors in main memory

        Raises
        ------
        UsageError
            If torch cannot use it here.

        Examples
        --------
        >>> layer = Layer.of(np.ones((3, 2)), np.eye(2))
        >>> layer.on("cpu").weight.shape, layer.on("cpu").in_memory is layer
        (torch.Size([3, 2]), True)
        """
        check_device(str(device))
        host = self.in_memory
        weight = import_module("torch").from_numpy(np.array(host.weight)).to(device)
        return Layer(host.key, weight, _hessian_on(host.hessian, str(device)), host)

    def _facts(self) -> list[tuple[str, str]]:
        """Facts that a representation shows, none of which has to be computed."""
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
        stated = hessian if isinstance(hessian, Hessian) else Hessian(hessian, n_tokens, name=f"{name}: Hessian")
        matrix = _private(check_moment(stated.matrix, name=f"{name}: Hessian"), stated.matrix)
        checked = _private(check_weight(weight, columns=len(matrix), name=name), weight)
        if checked.size == 0:
            raise ShapeMismatch(f"{name}: weight of shape {checked.shape} is empty; expected at least one row and column")
        return cls(LayerKey("", name, name.rpartition(".")[2], -1), checked, replace(stated, matrix=matrix))

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
    def centred(self) -> Layer:
        """The layer with the covariance ``H − μ μᵀ`` of its input in place of H, which is what it has beside the best bias per row.

        Inputs that are constant are not active in it: a bias does all that they do.

        Raises
        ------
        UsageError
            If the Hessian has no mean.
        """
        host = Layer(self.key, self.in_memory.weight, _covariance(self.in_memory.hessian))
        return host if self.host is None else Layer(self.key, self.weight, _hessian_on(host.hessian, self.device), host)

    @cached_property
    def statistics(self) -> LayerStatistics:
        """Variances of the weights and D₀, computed once."""
        if self.host is not None:
            return self.host.statistics
        (m, n), variances, losses = self.weight.shape, np.zeros(len(self.weight)), np.zeros(len(self.weight))
        for rows in panels(m, n, _BLOCK_ENTRIES):
            weight = active_columns(self.weight[rows], self.active)
            variances[rows] = np.mean(weight**2, axis=1) if weight.size else 0.0
            losses[rows] = quadratic_form(self.weight[rows], self.hessian.matrix)
        return LayerStatistics(variances, float(variances.mean()), float((np.maximum(losses, 0.0) / n).mean()))

    @cached_property
    def weight_checksum(self) -> int:
        """CRC-32 of the weights, by which a quantized layer is recognized as this one's."""
        return zlib.crc32(np.ascontiguousarray(self.weight).data) if self.host is None else self.host.weight_checksum

    @property
    def spectrum(self) -> Spectrum:
        """Spectrum of the Hessian, computed once for all layers that share it."""
        return spectrum_of(self.in_memory.hessian)
