"""What the scalar methods share: integers on uniform grids of a fixed rate, or entropy-coded."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import UsageError
from rdtools.quantizers.base import SettledQuantizer, Solution
from rdtools.quantizers.grids.absmax import Rounding, fixed_rate, levels_for
from rdtools.quantizers.grids.column_gains import widest_steps
from rdtools.quantizers.grids.entropy import entropy_grid
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.sic import Precision
from rdtools.quantizers.search.rate import Candidate
from rdtools.quantizers.search.step import search_rate
from rdtools.records import CodeModelKind, GaussianModel, QuantizedWeight, ScalarCodes
from rdtools.records.error_models import AbsmaxRows, ColumnSteps, ErrorModel, StoredGrid
from rdtools.transforms import RotationChoice

#: Histograms of the entropy models that have any.
_HISTOGRAMS: dict[CodeModelKind, Literal["shared", "column"]] = {"shared": "shared", "histogram": "column"}


def stored_grid(codes: ScalarCodes, *, reach: float | None = None) -> StoredGrid:
    """The error model of fixed-rate integers on their own grids."""
    grid, rows = codes.grid, codes.grid.rows
    return StoredGrid(
        widest_steps=widest_steps(codes),
        column_steps=codes.column_steps,
        levels=grid.column_levels(codes.integers.shape[1]),
        row_scales=None if rows is None else rows.scales,
        zero_points=None if rows is None else rows.zero_points,
        group_size=0 if rows is None else rows.group_size,
        offset=grid.offset,
        reach=reach,
    )


@dataclass(frozen=True, kw_only=True)
class ScalarQuantizer(SettledQuantizer):
    """Settings that RTN, GPTQ and WaterSIC share.

    Attributes
    ----------
    rate_bits : target rate of the codes in bits per live weight; scales and models come on top and are counted apart
    coding : how codes are coded, and so what kind of rate the target is: "fixed" (levels of a per-row absmax grid), "shared"
        (one histogram) or "column" (a normal law a column)
    rotation : None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists)
    damping : relative to the mean diagonal of H; None for none unless H is singular
    order : in which columns are decided, a name in `rdtools.transforms.orders.ORDERS`
    precision : of the sweep, "float64" or "float32"; factors are float64 always
    backend : None, "numba" or "reference"
    """

    coding: CodeModelKind
    rotation: RotationChoice | None = None
    order: str = "natural"
    precision: Precision = "float64"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coding not in self._codings():
            raise UsageError(f"{type(self).__name__}: coding {self.coding!r}, expected one of {', '.join(self._codings())}")
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

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(rotation=self.rotation, damping=self.damping, order=self.order)

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer; see `Quantizer.check_reachable`."""
        if self.coding == "fixed":
            levels_for(self.rate_bits, name)

    @abstractmethod
    def _rounding(self, problem: Problem) -> Rounding:
        """How codes are decided at given steps."""

    def relative_steps(self, problem: Problem) -> NDArray[np.float64] | None:
        """Column steps up to a common factor, (r,); None for equal ones."""
        return None

    def _candidate(self, problem: Problem, name: str) -> tuple[Candidate[ScalarCodes], ErrorModel]:
        """Integers and their rate per live weight, with the model of their error."""
        rounding = self._rounding(problem)
        if self.coding == "fixed":
            found = fixed_rate(problem, rounding, rate_bits=self.rate_bits, name=name)
            return found, AbsmaxRows(widest_steps=widest_steps(found.result), levels=found.result.grid.levels)
        steps = self.relative_steps(problem)
        grid = entropy_grid(problem, rounding, coding=self.coding, relative_steps=steps, name=name)
        found = search_rate(grid, problem.weight_std, self.rate_bits)
        return found, self._column_steps(problem, found.result, steps)

    def _column_steps(self, problem: Problem, codes: ScalarCodes, relative_steps: NDArray[np.float64] | None) -> ColumnSteps:
        """The error model of entropy-coded integers."""
        return ColumnSteps(
            widest_steps=widest_steps(codes),
            steps=codes.column_steps,
            relative_steps=relative_steps,
            histogram=_HISTOGRAMS.get(codes.model.kind),
            shrunk=codes.gains.lmmse_std > 0,
            fitted=codes.gains.columns is not None or codes.grid.rows is not None,
            row_exponents=codes.model.row_exponents if isinstance(codes.model, GaussianModel) else None,
        )

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        found, error_model = self._candidate(problem, f"{problem.key.name}: {self.method}")
        return Solution(QuantizedWeight(problem.basis, found.result), found.rate_bits * problem.live_fraction, error_model)
