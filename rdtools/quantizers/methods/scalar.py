"""The base of the scalar methods: integers on uniform grids, of a fixed rate or entropy-coded, with feedback or without."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

from rdtools.arrays import Float64Array
from rdtools.quantizers.base import LATER, SettledQuantizer, Solution
from rdtools.quantizers.grids.column_gains import widest_steps
from rdtools.quantizers.grids.entropy import entropy_grid
from rdtools.quantizers.grids.levels import RoundColumns
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.nearest import nearest
from rdtools.quantizers.rounding.sic import Precision, sic_rounding
from rdtools.quantizers.search.learnt import check_adaptive_columns, search_learnt_rate
from rdtools.quantizers.settings import check_choice
from rdtools.records import CodeModelKind, ScalarSymbols
from rdtools.records.error_models import ColumnSteps, StoredGrid
from rdtools.transforms import RotationChoice

#: Histograms of the entropy models that have any.
_HISTOGRAMS: dict[CodeModelKind, Literal["shared", "column"]] = {"shared": "shared", "histogram": "column"}


def stored_grid(symbols: ScalarSymbols, *, reach: float | None = None) -> StoredGrid:
    """The error model of fixed-rate integers on their own grids."""
    return StoredGrid(widest_steps=widest_steps(symbols), grid=symbols.grid, reach=reach)


def column_steps(symbols: ScalarSymbols, relative_steps: Float64Array | None, *, waterfilled: bool = False) -> ColumnSteps:
    """The error model of entropy-coded integers."""
    return ColumnSteps(
        widest_steps=widest_steps(symbols),
        steps=symbols.column_steps,
        relative_steps=relative_steps,
        histogram=_HISTOGRAMS.get(symbols.model.kind),
        waterfilled=waterfilled,
        lmmse=symbols.gains.of_integers,
        fitted=symbols.gains.columns is not None or symbols.grid.rows is not None,
        row_exponents=symbols.model.row_exponents,
        learnt=symbols.model.learns,
    )


@dataclass(frozen=True, kw_only=True)
class ScalarQuantizer(SettledQuantizer):
    """A method whose integers are on uniform grids; without `Feedback` it rounds to nearest, blind to the Hessian.

    Attributes
    ----------
    rate_bits : target rate of the integers in bits per active weight; scales and entropy models are counted apart, as overhead
    rotation : None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists)
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"
    bias : whether a bias of 16 bits per row takes the mean of the output error away, and integers are decided for what is left then:
        the covariance of the input in place of H
    """

    rotation: RotationChoice | None = None
    bias: bool = field(default=False, metadata=LATER)

    on_device: ClassVar[bool] = True

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(rotation=self.rotation, factor=False, centred=self.bias)

    @property
    def calls_kernels(self) -> bool:
        """False if NumPy alone decides the integers, whatever the backend."""
        return False

    def _rounding(self, problem: Problem) -> RoundColumns:
        """The function that decides integers at given steps."""
        return nearest


@dataclass(frozen=True, kw_only=True)
class Feedback(ScalarQuantizer):
    """A scalar method that decides columns one after another, each against the error that those before it left.

    Attributes
    ----------
    order : in which columns are decided: "natural" (the last first), "reversed", "act-order" (the largest diagonal entry of H first),
        "reversed-act-order" or "min-pivot", as in `rdtools.transforms.orders`
    precision : of the sweep, "float64" or "float32"; factors are float64 always
    """

    order: str = "natural"
    precision: Precision = "float64"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("precision", self.precision, get_args(Precision))

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return replace(super().preparation, factor=True, damping=self.damping, order=self.order)

    @property
    def calls_kernels(self) -> bool:
        """True: kernels decide the integers."""
        return True

    def _rounding(self, problem: Problem) -> RoundColumns:
        shared = problem.prepared_input
        return sic_rounding(shared.factor, shared.order, self.backend, self.precision)


@dataclass(frozen=True, kw_only=True)
class EntropyCoded(ScalarQuantizer):
    """A scalar method whose integers are unbounded and entropy-coded.

    Attributes
    ----------
    coding : "shared" (one histogram), "column" (a Gaussian entropy model per column) or "histogram" (a histogram per column)
    adaptive_columns : columns in a group whose Gaussian models the decoder learns from the rows that it has, where that is shorter than
        `coding`; 0 for models that are not learnt
    one_file : whether layers of one input go into one file where that is smaller; see `rdtools.measure.point.coded`
    """

    coding: CodeModelKind
    adaptive_columns: int = 0
    one_file: bool = field(default=False, metadata=LATER)

    #: Values that fields may have, where these are fewer than their types have.
    choices: ClassVar[dict[str, tuple[CodeModelKind, ...]]] = {"coding": ("shared", "column", "histogram")}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(f"{type(self).__name__}: coding", self.coding, self.choices["coding"])
        check_adaptive_columns(type(self).__name__, self.adaptive_columns)

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer with equal steps."""
        name = f"{problem.key.name}: {type(self).__name__}"
        grid = entropy_grid(problem.target, self._rounding(problem), coding=self.coding, relative_steps=None, name=name)
        candidate = search_learnt_rate(grid, problem.weight_std, self.rate_bits, self.adaptive_columns)
        return Solution(candidate.result, candidate.rate_bits, column_steps(candidate.result, None))
