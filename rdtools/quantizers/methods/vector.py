"""The common part of QuIP# and QTIP: both sides rotated, one scale, blocks of columns rounded together with feedback."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from rdtools.arrays import Matrix, beside, diagonal, frobenius_norm, row_blocks
from rdtools.coding import round_to_float32
from rdtools.errors import RateUnreachable
from rdtools.quantizers.base import SettledQuantizer, Solution
from rdtools.quantizers.grids.levels import check_step
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.block_ldlq import diagonal_factors, pad_problem
from rdtools.quantizers.search.scale import search_scale, strided_rows
from rdtools.quantizers.settings import check_choice
from rdtools.records import LatticeWords, TrellisPaths
from rdtools.records.error_models import BlockCode
from rdtools.transforms import RotationChoice

Symbols = LatticeWords | TrellisPaths
#: Codes, and the values that they stand for; where there are two, the first counts unless the second has less loss.
Rounded = list[tuple[Symbols, Matrix]]
Scale = Literal["searched", "published"]


@dataclass(frozen=True, eq=False)
class BlockMoment:
    """``L Lᵀ`` of a padded problem, for a method that refines.

    Attributes
    ----------
    matrix : (n, n)
    factors : of its diagonal blocks, by `rdtools.quantizers.rounding.block_ldlq.diagonal_factors`
    """

    matrix: Matrix
    factors: dict[int, Matrix]


def _pad_moment(moment: Matrix, factor: Matrix) -> Matrix:
    """``L Lᵀ`` of a padded factor, from that of the factor without its added columns."""
    r = len(moment)
    if len(factor) == r:
        return moment
    padded = beside(np.diag(diagonal(factor) ** 2), factor)
    padded[:r, :r] = moment
    return padded


def _losses(weight: Matrix, factor: Matrix, choices: Rounded) -> list[float]:
    """``‖(W − Ŵ) L‖`` of each choice."""
    return [frobenius_norm((weight - values) @ factor) for _, values in choices]


@dataclass(frozen=True, kw_only=True)
class VectorQuantizer(SettledQuantizer):
    """Settings that quantizers of vectors share.

    Attributes
    ----------
    rate_bits : one of the rates that the method has codes for
    scale : "searched", that of least loss on a sample of rows, or "published"
    rotation : of inputs and outputs; None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists)
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"
    """

    scale: Scale = "searched"
    rotation: RotationChoice | None = "auto"

    on_device: ClassVar[bool] = True
    #: Rows on which the scale is searched.
    sample_rows: ClassVar[int] = 128
    #: Columns that are rounded together, and rows with them.
    block: ClassVar[int]
    row_block: ClassVar[int] = 1
    #: The rates that there are.
    rates: ClassVar[tuple[int, ...]]

    def __post_init__(self) -> None:
        check_choice(f"{type(self).__name__}: scale", self.scale, get_args(Scale))
        super().__post_init__()

    @property
    def bits(self) -> int:
        """Per weight."""
        return int(self.rate_bits)

    @property
    @abstractmethod
    def error(self) -> float:
        """Mean squared error on normal weights of mean square 1, at the scale that is best for them."""

    @property
    @abstractmethod
    def _input_rms(self) -> float:
        """Root mean square, in units of the codebook, that weights are brought to: as published, or best for normal targets."""

    @abstractmethod
    def _round(self, weight: Matrix, factor: Matrix, moment: BlockMoment | None, scale: float) -> Rounded:
        """Codes of some rows of a padded problem, and the values that they stand for."""

    @staticmethod
    @abstractmethod
    def _joined(parts: list[Any]) -> Symbols:
        """Codes of some rows and of those after them, one after another."""

    @property
    def _refines(self) -> bool:
        return False

    @property
    def _trial(self) -> VectorQuantizer:
        """The method as it is tried in the search for a scale."""
        return self

    def _searched_rms(self, weight: Matrix, factor: Matrix, moment: BlockMoment | None, std: float) -> float:
        sample = strided_rows(weight, self.sample_rows, together=self.row_block)

        def loss(rms: float) -> float:
            return min(_losses(sample, factor, self._trial._round(sample, factor, moment, round_to_float32(std / rms))))

        return search_scale(loss, self._input_rms)

    def _solve(self, weight: Matrix, factor: Matrix, moment: BlockMoment | None, std: float) -> Symbols:
        input_rms = self._searched_rms(weight, factor, moment, std) if self.scale == "searched" and std > 0 else self._input_rms
        scale, candidates, losses = round_to_float32(std / input_rms), [], np.zeros(1)
        for rows in row_blocks(weight):
            choices = self._round(weight[rows], factor, moment, scale)
            losses = losses + np.square(_losses(weight[rows], factor, choices) if len(choices) > 1 else 0.0)
            candidates.append([symbols for symbols, _ in choices])
        best = int(np.argmin(losses))
        return self._joined([choices[best] for choices in candidates])

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(rotation=self.rotation, row_rotation=self.rotation, damping=self.damping)

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer; see `Quantizer.check_reachable`."""
        if self.rate_bits not in self.rates:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: its codes have "
                f"{', '.join(map(str, self.rates[:-1]))} or {self.rates[-1]} bits; ask for one of these"
            )

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        std = problem.weight_std
        if std > 0:
            check_step(std, f"{problem.key.name}: {type(self).__name__}")
        shared, moment = problem.prepared_input, None
        weight, factor = pad_problem(problem.target, shared.factor, self.row_block, self.block)
        if self._refines:
            padded = _pad_moment(shared.damped_moment, factor)
            moment = BlockMoment(padded, diagonal_factors(padded, self.block))
        symbols = self._solve(weight, factor, moment, std)
        rate = self.rate_bits * math.prod(weight.shape) / max(math.prod(problem.target.shape), 1)
        return Solution(symbols, rate, BlockCode(block=self.block, error=self.error))
