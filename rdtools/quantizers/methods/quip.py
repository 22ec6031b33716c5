"""QuIP: incoherence processing, then adaptive rounding with linear feedback on one grid for the whole matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from rdtools.arrays import as_dtype, beside, frobenius_norm, largest, on_host, take_columns
from rdtools.coding import round_to_float32
from rdtools.errors import UsageError
from rdtools.quantizers.base import SettledQuantizer, Solution
from rdtools.quantizers.grids.half_range import normal_half_range
from rdtools.quantizers.grids.levels import check_step, levels_for
from rdtools.quantizers.methods.scalar import stored_grid
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.prepared_input import PreparedInput
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.clamp_safe import clamp_safe_feedback
from rdtools.quantizers.rounding.quip import GridRounding
from rdtools.quantizers.search.scale import search_scale, strided_rows
from rdtools.quantizers.settings import check_choice, is_number
from rdtools.records import ScalarSymbols, Uniform, UniformGrid
from rdtools.records.error_models import ErrorModel, NoErrorModel, UnbiasedRounding
from rdtools.seeds import generator
from rdtools.transforms import RotationChoice

Adaptive = Literal["ldlq", "ldlq-rg", "greedy", "nearest", "clamp-safe"]
ADAPTIVE: tuple[Adaptive, ...] = get_args(Adaptive)

#: Settings of the paper; see `QuIP.published`.
PUBLISHED: dict[str, Any] = {
    "adaptive": "ldlq", "rescale": True, "rotation": "kronecker", "damping": 0.01, "half_range": 2.4, "clips_first": True
}  # fmt: skip
#: Rows on which the half-range is searched.
SAMPLE_ROWS = 128


@dataclass(frozen=True, kw_only=True)
class QuIP(SettledQuantizer):
    """Rotate both sides, round on one grid of K levels −ρσ … ρσ with the error of later columns fed back.

    Where nothing is clamped the distortion is ``s²/12 · tr(D)/n`` with s = 2 ρ σ/(K − 1), and twice that with stochastic rounding.

    Attributes
    ----------
    rate_bits : log2 of the number of levels
    adaptive : "ldlq"; "ldlq-rg", columns in activation order and then greedy
        passes; "greedy", passes alone from rounding to nearest; "nearest"; or "clamp-safe", feedback that keeps errors short, with
        stochastic rounding, see `clamp_safe`. The guarantee of the last is empty at 2 and 3 bits for matrices of
        thousands of columns; its feedback is found in main memory, wherever the layer is
    stochastic : round up or down at random, without bias
    passes : greedy ones, at most
    slack : c of "clamp-safe"
    rescale : balance the energies of columns of W and H first, at 16 bits per column. On the layers of the embedded model it lost 0.004 bit
        on average under rotations and 0.03 to 0.08 without, its own bits apart
    half_range : ρ, or "searched" for that of least loss on a sample of rows
    clips_first : clip weights to the grid before they are rounded, so that what is cut off is not fed back; else it is, like any error
    rotation : of inputs and outputs; None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists)
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"

    References
    ----------
    QuIP, arXiv 2307.13304, Algorithms 1 to 5.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32) + 0.5)
    >>> q = QuIP(rate_bits=3).quantize(layer)
    >>> int(q.weight.symbols.integers.min()), int(q.weight.symbols.integers.max()), q.symbol_rate_bits
    (-4, 3, 3.0)
    """

    adaptive: Adaptive = "ldlq-rg"
    stochastic: bool = False
    passes: int = 10
    slack: float = 1.0
    rescale: bool = False
    half_range: float | Literal["searched"] = "searched"
    clips_first: bool = False
    rotation: RotationChoice | None = "auto"

    on_device: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("QuIP: adaptive", self.adaptive, ADAPTIVE)
        if self.half_range != "searched" and not (is_number(self.half_range) and 0 < self.half_range < math.inf):
            raise UsageError(f"QuIP: half_range {self.half_range!r}, expected 'searched' or a number above 0 such as 2.4")
        if self.passes < 0 or not 0 <= self.slack < float("inf"):
            raise UsageError(f"QuIP: {self.passes} passes, slack {self.slack}; expected numbers of at least 0")
        if self.stochastic and self.adaptive in ("ldlq-rg", "greedy"):
            raise UsageError(f"QuIP: stochastic rounding with adaptive {self.adaptive!r}, whose passes round to nearest; choose another")

    @classmethod
    def published(cls, rate_bits: float, **others: Any) -> QuIP:
        """The method of the paper: LDLQ alone, columns rescaled, Kronecker products of two Haar matrices, damping 0.01, ρ = 2.4 at every
        rate, weights clipped first; `others` in place of these.
        """
        return cls(rate_bits=rate_bits, **(PUBLISHED | others))

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(
            rotation=self.rotation, row_rotation=self.rotation, damping=self.damping, order=self._order, rescale=self.rescale
        )

    @property
    def operation(self) -> str:
        """Operation of `rdtools.ops` that decides the integers, the last one where several do."""
        return "coordinate_descent" if self.adaptive in ("ldlq-rg", "greedy") else super().operation

    @property
    def _order(self) -> str:
        return "act-order" if self.adaptive in ("ldlq-rg", "greedy") else "natural"

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer; see `Quantizer.check_reachable`."""
        levels_for(self.rate_bits, name)

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        shared, std = problem.prepared_input, problem.weight_std
        name = f"{problem.key.name}: {type(self).__name__}"
        levels = levels_for(self.rate_bits, name)
        seed = None
        if self.stochastic or self.adaptive == "clamp-safe":
            seed = int(generator(problem.seed, "rounding", problem.key.name).integers(2**63))
        rounding = self._rounding(shared, levels, seed)
        half_range = 1.0 if self.half_range == "searched" else self.half_range
        if self.half_range == "searched" and std > 0:
            half_range = self._searched_half_range(problem, rounding)
        step = round_to_float32(2 * half_range * std / (levels - 1))
        if std > 0:
            check_step(step, name)
        symbols = ScalarSymbols(rounding(problem.target, step), UniformGrid(step, offset=rounding.offset, levels=levels), Uniform())
        return Solution(symbols, math.log2(levels), self._error_model(symbols, largest(problem.target)))

    def _searched_half_range(self, problem: Problem, rounding: GridRounding) -> float:
        shared, std = problem.prepared_input, problem.weight_std
        sample = strided_rows(problem.target, SAMPLE_ROWS)

        def loss(trial: float) -> float:
            step = 2 * trial * std / (rounding.levels - 1)
            values = step * (as_dtype(rounding(sample, step), "float64") + rounding.offset)
            return frobenius_norm(take_columns(sample - values, shared.order) @ shared.factor)

        return search_scale(loss, normal_half_range(rounding.levels))

    def _rounding(self, shared: PreparedInput, levels: int, seed: int | None) -> GridRounding:
        feedback, moment = shared.factor, None
        if self.adaptive == "clamp-safe" and len(feedback):
            feedback = beside(clamp_safe_feedback(on_host(shared.damped_moment), self.slack, overwrite=True).factor, feedback)
        elif self.adaptive in ("ldlq-rg", "greedy"):
            moment = shared.moment_in(shared.order[::-1], shared.added)
        elif self.adaptive == "nearest":
            feedback = None if seed is None else beside(np.eye(len(feedback)), feedback)
        return GridRounding(
            levels,
            shared.order,
            feedback=None if self.adaptive == "greedy" else feedback,
            moment=moment,
            passes=self.passes,
            clips_first=self.clips_first,
            seed=seed,
            backend=self.backend,
        )

    def _error_model(self, symbols: ScalarSymbols, absmax: float) -> ErrorModel:
        grid = stored_grid(symbols)
        if self.adaptive != "ldlq":
            return NoErrorModel(widest_steps=grid.widest_steps, reason="feedback other than LDLQ's, or greedy passes")
        reach = 0.5 * (symbols.grid.levels - 1) * symbols.grid.step
        if not self.stochastic:
            return replace(grid, reach=reach) if self.clips_first else grid
        if absmax > reach:
            return NoErrorModel(widest_steps=grid.widest_steps, reason="stochastic rounding that is clipped")
        return UnbiasedRounding(widest_steps=grid.widest_steps, step=symbols.grid.step)
