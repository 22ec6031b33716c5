"""The base of every method: its settings, its checks, and the one way in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np

from rdtools.arrays import Matrix, is_tensor, place_of
from rdtools.devices import float32_products
from rdtools.docstrings import complete_fields
from rdtools.errors import BackendUnavailable, UsageError, WrongType, check_type
from rdtools.moments.layer import Layer
from rdtools.ops import ON_DEVICE, choose_backend, device_backend
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem, prepare
from rdtools.quantizers.row_bias import with_bias
from rdtools.quantizers.search.rate import MAX_RATE_BITS, check_rate
from rdtools.quantizers.settings import check_damping, check_file_coding, check_types
from rdtools.records import ActivationGrid, ActivationMoments, Coding, InputMoments, LayerParts, QuantizedLayer, QuantizedWeight, Symbols
from rdtools.records.error_models import ErrorModel
from rdtools.records.quantized import NO_PARTS
from rdtools.seeds import check_seed
from rdtools.threads import one_blas_thread


@dataclass(frozen=True, eq=False)
class Solution:
    """A prepared layer quantized.

    Attributes
    ----------
    symbols : what is stored, beside the basis
    rate_bits : bits per active weight, as in `QuantizedLayer` for all weights
    error_model : kind of its error
    parts : what runs beside the weights
    note : what a reader of the result should know; empty for nothing
    """

    symbols: Symbols
    rate_bits: float
    error_model: ErrorModel
    parts: LayerParts = NO_PARTS
    note: str = ""


def check_layer(layer: object) -> None:
    """Refuse anything but a `Layer`.

    Raises
    ------
    WrongType
    """
    if not isinstance(layer, Layer):
        shape = getattr(layer, "shape", None)
        description = type(layer).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
        raise WrongType(f"quantize: got {description}, expected a Layer; make one of the weight and its Hessian: Layer.of(weight, hessian)")


#: Of a setting that came later: it tells settings apart only where it is not its default, so that rows made without it stay theirs.
LATER = {"later": True}


def shares_file(quantizer: Quantizer) -> bool:
    """True for a method that puts layers of one input into one file where that is smaller."""
    return bool(getattr(quantizer, "one_file", False))


@dataclass(frozen=True, kw_only=True)
class Quantizer(ABC):
    """A method with its settings: a frozen record with one verb.

    Attributes
    ----------
    rate_bits : target rate
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"; for a layer on a device None, "triton" or "torch"
    file_coding : "exact", or "sampled": when it is measured, a part of its file is coded, see `rdtools.measure.point.sampled`
    """

    rate_bits: float
    damping: float | None = None
    backend: str | None = None
    file_coding: Coding = field(default="exact", metadata=LATER)

    #: Highest rate that the method may be asked for.
    max_rate_bits: ClassVar[float] = MAX_RATE_BITS
    #: True where it takes a layer on a device and does everything there; else it works in main memory alone.
    on_device: ClassVar[bool] = False
    #: True where it is a method of its own on output heads alone.
    heads_alone: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        complete_fields(cls)

    def __post_init__(self) -> None:
        for setting in fields(self):
            if isinstance(value := getattr(self, setting.name), np.generic):  # written and compared like the number that it stands for
                object.__setattr__(self, setting.name, value.item())
        check_rate(self.rate_bits, self.max_rate_bits)
        check_damping(self.damping)
        check_types(self, [setting.name for setting in fields(self)])
        check_file_coding(type(self).__name__, self.file_coding, several=shares_file(self))

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer; entropy-coded integers have every rate on some.

        Parameters
        ----------
        name : of the method, or of the layer and the class, for the message

        Raises
        ------
        InvalidRate, RateUnreachable
        """
        check_rate(self.rate_bits, self.max_rate_bits)

    @abstractmethod
    def for_layer(self, layer: Layer, *, seed: int = 0) -> SettledQuantizer:
        """The method with the settings that it has on this layer, none left open."""

    def check_place(self, layer: Layer) -> None:
        """Refuse a layer on a device for a method that works in main memory alone, and a backend that does not work where the layer is.

        Raises
        ------
        BackendUnavailable
        """
        if not is_tensor(layer.weight):
            choose_backend(self.backend)
        elif not self.on_device:
            where = f"{type(self).__name__} works in main memory, the layer is on {layer.device}"
            raise BackendUnavailable(f"{layer.key.name}: {where}; give it layer.in_memory")
        elif self.backend not in ON_DEVICE and layer.weight.device.type == "cpu":
            choose_backend(self.backend)

    def prepare(self, layer: Layer, *, seed: int = 0, drift: InputMoments | None = None) -> Problem:
        """Make a layer ready; methods whose `preparation` agrees may share the answer, at every rate.

        Parameters
        ----------
        layer : weight and Hessian of the input that the weights were made for
        seed : of the run
        drift : moments of the input that the layer has instead; see `quantize`

        Raises
        ------
        WrongType, UnsupportedOrder, NotPositiveSemidefinite, ShapeMismatch
        """
        check_layer(layer)
        preparation = self.for_layer(layer.host or layer, seed=seed).preparation
        return prepare(layer, preparation if drift is None else replace(preparation, drift=drift), seed=seed)

    def quantize(
        self,
        layer: Layer,
        *,
        seed: int = 0,
        problem: Problem | None = None,
        drift: InputMoments | None = None,
        activations: ActivationMoments | None = None,
    ) -> QuantizedLayer:
        """Quantize one layer, with one thread of BLAS: many small products are far slower with several.

        With drift the integers minimize the error of the output on the input x̂ that the layer has; the target is that of `prepare`.
        Against the original input, which is what `rdtools.measure` looks at, they are further off than without;
        `rdtools.measure.error` with these moments has the error that they are made for.

        Parameters
        ----------
        layer : weight and Hessian of the input that the weights were made for; one that `Layer.on` gave is worked on on its device
        seed : of the run; rotations and stochastic rounding are drawn from it and the layer's name
        problem : what `prepare` gave for this layer, seed and drift, to be used again at another rate; made beforehand, it has as many
            threads of BLAS as the caller allows
        drift : moments of the input that the layer has, if the layers before it are quantized
        activations : moments of the error of the activations that the method quantizes, see `rdtools.quantizers.activations`; None for
            a method that leaves them alone

        Raises
        ------
        RateUnreachable
            If no setting has the rate; the message says which rates exist.
        WrongType, UnsupportedOrder, NotPositiveSemidefinite, NotConverged, ScaleOutOfRange, ShapeMismatch, BackendUnavailable
        UsageError
            For a seed outside 0 … 2^63 − 1. If both a problem and a drift are given: a problem has its drift already. If moments of
            quantized activations are missing, or given to a method that does not quantize them.
        """
        check_layer(layer)
        seed = check_seed(seed)
        for value, kind, source in (
            (problem, Problem, "as prepare(layer) gives"),
            (drift, InputMoments, "such as InputMoments.drifted(reference, actual, cross)"),
            (activations, ActivationMoments, "as rdtools.moments.activations sums them"),
        ):
            if value is not None:
                check_type("quantize", type(value), kind, source)
        if problem is not None and drift is not None:
            raise UsageError(f"{layer.key.name}: a prepared problem and a drift; expected one of them: `prepare` takes the drift")
        self.check_place(layer)
        self.check_reachable(f"{layer.key.name}: {type(self).__name__}")
        with one_blas_thread(), float32_products(place_of(layer.weight)):
            settled = self.for_layer(layer.host or layer, seed=seed if problem is None else problem.seed)
            problem = settled.prepare(layer, seed=seed, drift=drift) if problem is None else problem
            solution = settled.answer(problem, activations)
            weight = QuantizedWeight(problem.basis, solution.symbols.in_memory, solution.parts)
            if problem.preparation.centred:
                weight = with_bias(weight, layer)
        return QuantizedLayer(
            key=layer.key,
            weight_checksum=layer.weight_checksum,
            weight=weight,
            target_rate_bits=self.rate_bits,
            symbol_rate_bits=solution.rate_bits * problem.active_fraction,
            damping=problem.damping,
            seed=problem.seed,
            backend=settled.backend_at(problem.target),
            device=place_of(problem.target),
            dtype=settled.computes_in,
            error_model=solution.error_model,
            note=solution.note,
            layer=layer,
        )


@dataclass(frozen=True, kw_only=True)
class SettledQuantizer(Quantizer):
    """A method whose settings are the same for every layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        hash(self.preparation)  # which refuses settings that cannot be meant, and is a key

    def for_layer(self, layer: Layer, *, seed: int = 0) -> SettledQuantizer:
        """The method itself."""
        return self

    @property
    @abstractmethod
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""

    @property
    def calls_kernels(self) -> bool:
        """False if NumPy alone decides the integers, whatever the backend."""
        return True

    @property
    def operation(self) -> str:
        """Operation of `rdtools.ops` that decides the integers."""
        return "sic_sweep"

    @property
    def computes_in(self) -> str:
        """The dtype in which the integers are decided; everything before and after is float64."""
        return str(getattr(self, "precision", "float64"))

    def backend_at(self, target: Matrix) -> str:
        """The backend that decides the integers of a target, where it is."""
        device = target.device.type if is_tensor(target) else "cpu"
        if not self.calls_kernels:
            return "torch" if is_tensor(target) else "numpy"
        if device != "cpu":
            return self.backend or device_backend(self.operation, device)
        return self.backend if self.backend in ON_DEVICE else choose_backend(self.backend)

    @property
    def activation(self) -> ActivationGrid | None:
        """Grid of the activations that the layer runs with; None where they are left alone."""
        return None

    def check_activations(self, problem: Problem, activations: ActivationMoments | None) -> None:
        """Refuse moments of quantized activations that are not those of this method on this layer.

        Raises
        ------
        UsageError
        """
        if activations is not None:
            raise UsageError(
                f"{problem.key.name}: moments of activations quantized by {activations.grid}, expected none: {type(self).__name__} with "
                "these settings does not quantize activations"
            )

    def answer(self, problem: Problem, activations: ActivationMoments | None) -> Solution:
        """Quantize a prepared layer, beside the moments of its activations where the method quantizes these.

        Raises
        ------
        UsageError
            As `check_activations`.
        """
        self.check_activations(problem, activations)
        return self.solve(problem)

    @abstractmethod
    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
