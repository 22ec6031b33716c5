"""The protocol behind which every method stands, and what the scalar methods share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import RateUnreachable, UsageError
from rdtools.hessians.layer import Layer
from rdtools.ops import choose_backend
from rdtools.orders import ORDERS
from rdtools.quantizers.entropy_grid import entropy_coded
from rdtools.quantizers.grid import Rounding, fixed_rate, levels_for
from rdtools.quantizers.problem import Problem, prepare
from rdtools.quantizers.rate_search import Candidate, check_rate
from rdtools.quantizers.settings import check_damping, check_rotation
from rdtools.quantizers.sweep import Precision
from rdtools.records import CodeModelKind, QuantizedLayer, QuantizedWeight
from rdtools.transforms import RotationChoice


class Quantizer(Protocol):
    """A method with its settings: a frozen record with one verb."""

    @property
    def method(self) -> str:
        """Name in result tables."""
        ...

    @property
    def rate_bits(self) -> float:
        """Target rate."""
        ...

    @property
    def preparation(self) -> tuple[Hashable, ...]:
        """Settings that `prepare` depends on: methods that agree in them may share its answer."""
        ...

    def check_reachable(self, name: str) -> None:
        """Refuse, with `RateUnreachable`, a rate that the method cannot have on any layer; `name` is for the message."""
        ...

    def prepare(self, layer: Layer, *, seed: int = 0) -> Problem:
        """Make a layer ready; randomness comes from the seed and the layer's name alone."""
        ...

    def quantize(self, layer: Layer, *, seed: int = 0, problem: Problem | None = None) -> QuantizedLayer:
        """Quantize one layer; `problem` is what `prepare` gave for this layer and seed."""
        ...


@dataclass(frozen=True, kw_only=True)
class ScalarQuantizer(ABC):
    """Settings that RTN, GPTQ and WaterSIC share.

    Attributes
    ----------
    rate_bits : target rate of the codes in bits per live weight; scales and models come on top and are counted apart
    coding : how codes are coded, and so what kind of rate the target is: "fixed" (levels of a per-row absmax grid), "shared"
        (one histogram) or "column" (a normal law a column)
    rotation : None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists)
    damping : relative to the mean diagonal of H; None for none unless H is singular
    order : in which columns are decided, a name in `rdtools.orders.ORDERS`
    precision : of the sweep, "float64" or "float32"; factors are float64 always
    backend : None, "numba" or "reference"
    """

    rate_bits: float
    coding: CodeModelKind
    rotation: RotationChoice | None = None
    damping: float | None = None
    order: str = "natural"
    precision: Precision = "float64"
    backend: str | None = None

    def __post_init__(self) -> None:
        check_rate(self.rate_bits)
        check_damping(self.damping)
        check_rotation(self.rotation)
        if self.coding not in self._codings():
            raise UsageError(f"{type(self).__name__}: coding {self.coding!r}, expected one of {', '.join(self._codings())}")
        if self.order not in ORDERS:
            raise UsageError(f"order {self.order!r}: expected one of {', '.join(ORDERS)}")
        if self.precision not in ("float64", "float32"):
            raise UsageError(f"precision {self.precision!r}: expected 'float64' or 'float32'")

    @staticmethod
    def _codings() -> tuple[CodeModelKind, ...]:
        return ("fixed", "shared", "column", "histogram")

    @property
    @abstractmethod
    def base_name(self) -> str:
        """Method name without the rotation."""

    @property
    def method(self) -> str:
        """Name in result tables."""
        suffix = {None: "", "auto": "+rotation"}.get(self.rotation, f"+{self.rotation}")
        order = "" if self.order == "natural" else f"+{self.order}"
        return self.base_name + "-f32" * (self.precision == "float32") + suffix + order

    #: Whether the method looks at the Hessian.
    uses_hessian: ClassVar[bool] = True

    @abstractmethod
    def _rounding(self, problem: Problem) -> Rounding:
        """How codes are decided at given steps."""

    def relative_steps(self, problem: Problem) -> NDArray[np.float64] | None:
        """Column steps up to a common factor, (r,); None for equal ones."""
        return None

    @property
    def _shrinks(self) -> bool:
        return False

    def solve(self, problem: Problem) -> Candidate[QuantizedWeight]:
        """Quantize a prepared layer; the rate is per live weight."""
        name = f"{problem.key.name}: {self.method}"
        rounding = self._rounding(problem)
        if self.coding == "fixed":
            return fixed_rate(problem, rounding, rate_bits=self.rate_bits, name=name)
        return entropy_coded(
            problem,
            rounding,
            rate_bits=self.rate_bits,
            coding=self.coding,
            relative_steps=self.relative_steps(problem),
            shrink=self._shrinks,
            name=name,
        )

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer.

        Parameters
        ----------
        name : of the method, or of the layer and the method, for the message

        Raises
        ------
        RateUnreachable
        """
        if self.coding == "fixed":
            levels_for(self.rate_bits, name)

    @property
    def absmax_rows(self) -> bool:
        """Whether a fixed rate means one grid a row from −max|row| to max|row|."""
        return True

    @property
    def _ridge(self) -> float:
        return 0.0

    @property
    def preparation(self) -> tuple[Hashable, ...]:
        """Settings that `prepare` depends on: methods that agree in them may share its answer."""
        return (self.rotation, self.uses_hessian and (self.damping, self.order, self._ridge))

    def prepare(self, layer: Layer, *, seed: int = 0) -> Problem:
        """Make a layer ready; the answer serves every rate."""
        return prepare(
            layer,
            rotation=self.rotation,
            damping=self.damping,
            order=self.order,
            ridge=self._ridge,
            factor=self.uses_hessian,
            seed=seed,
        )

    def quantize(self, layer: Layer, *, seed: int = 0, problem: Problem | None = None) -> QuantizedLayer:
        """Quantize one layer.

        Parameters
        ----------
        layer : weight and Hessian
        seed : of the run; a rotation is drawn from it and the layer's name
        problem : what `prepare` gave for this layer and seed, to be used again at another rate

        Raises
        ------
        RateUnreachable
            If no setting has the rate; the message says which rates exist.
        UnsupportedOrder, NotPositiveSemidefinite, BackendUnavailable
        """
        problem = self.prepare(layer, seed=seed) if problem is None else problem
        candidate = self.solve(problem)
        return QuantizedLayer(
            weight=candidate.result,
            method=self.method,
            target_rate_bits=self.rate_bits,
            code_rate_bits=candidate.rate_bits * problem.live_fraction,
            damping=problem.damping,
            seed=problem.seed,
            backend=choose_backend(self.backend) if self.uses_hessian else "numpy",
        )


def infeasible_reason(quantizer: Quantizer) -> str | None:
    """The reason why a method cannot have its rate on any layer; None if some layers allow it.

    Examples
    --------
    >>> from rdtools.quantizers import GPTQ
    >>> infeasible_reason(GPTQ(rate_bits=2.5)) is None, infeasible_reason(GPTQ(rate_bits=2.5, coding="fixed"))[:47]
    (True, 'gptq-int: 2.5 bits per weight cannot be reached')
    """
    try:
        quantizer.check_reachable(quantizer.method)
    except RateUnreachable as error:
        return str(error)
    return None
