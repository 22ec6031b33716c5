"""QuIP: incoherence processing, then adaptive rounding with linear feedback on one grid for the whole matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import round_to_float32
from rdtools.errors import UsageError
from rdtools.quantizers.base import SettledQuantizer, Solution
from rdtools.quantizers.grids.absmax import check_step, levels_for
from rdtools.quantizers.grids.half_range import predicted_half_range
from rdtools.quantizers.methods.scalar import stored_grid
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem, layer_generator
from rdtools.quantizers.rounding.clamp_safe import clamp_safe_feedback
from rdtools.quantizers.rounding.quip import GridRounding
from rdtools.quantizers.search.scale import search_scale, spread_rows
from rdtools.quantizers.settings import Preset, check_preset
from rdtools.records import QuantizedWeight, ScalarCodes, Uniform, UniformGrid
from rdtools.records.error_models import ErrorModel, NoErrorModel, UnbiasedRounding
from rdtools.transforms import RotationChoice

Float64Array = NDArray[np.float64]
Adaptive = Literal["ldlq", "ldlq-rg", "greedy", "nearest", "clamp-safe"]
ADAPTIVE: tuple[Adaptive, ...] = get_args(Adaptive)

#: Largest level in units of the root mean square of the weights, and damping, as published.
PUBLISHED_HALF_RANGE, PUBLISHED_DAMPING = 2.4, 0.01
#: Rows on which the half-range is searched.
SAMPLE_ROWS = 128


@dataclass(frozen=True, kw_only=True)
class QuIP(SettledQuantizer):
    """Rotate both sides, round on one grid of K levels −ρσ … ρσ with the error of later columns fed back.

    Published: columns rescaled, Kronecker products of two Haar matrices, damping 0.01, ρ = 2.4 at every rate, and weights clamped to the
    grid before they are rounded, so that what is cut off is fed back to nobody. Best: randomized Hadamard matrices where they exist, ρ of
    least loss on a sample of rows, and overload fed back like any other error.

    Where nothing is clamped the distortion is ``s²/12 · tr(D)/n`` with s = 2 ρ σ/(K − 1), and twice that with stochastic rounding.

    Attributes
    ----------
    rate_bits : log2 of the number of levels
    preset : "best" or "published"
    adaptive : None for the preset's: "ldlq" as published, else "ldlq-rg". "ldlq"; "ldlq-rg", columns in activation order and then greedy
        passes; "greedy", passes alone from rounding to nearest; "nearest"; or "clamp-safe", feedback that keeps errors short, with
        stochastic rounding, see `clamp_safe`. The guarantee of the last is empty at 2 and 3 bits for matrices of
        thousands of columns: `usable_steps` there says what it leaves.
    stochastic : round up or down at random, without bias
    passes : greedy ones, at most
    slack : c of "clamp-safe"
    rescale : balance the energies of columns of W and H first, at 16 bits a column; None for the preset's: yes as published, else no. On
        the layers of the embedded model it lost 0.004 bit on average under rotations and 0.03 to 0.08 without, its own bits apart
    rotation : of inputs and outputs; None for the preset's; "none" for no rotation
    damping : relative to the mean diagonal of H; None for the preset's: 0.01, or none unless H is singular
    backend : None, "numba" or "reference"

    References
    ----------
    QuIP, arXiv 2307.13304, Algorithms 1 to 5.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32) + 0.5)
    >>> q = QuIP(rate_bits=3).quantize(layer)
    >>> int(q.weight.codes.integers.min()), int(q.weight.codes.integers.max()), q.code_rate_bits
    (-4, 3, 3.0)
    """

    preset: Preset = "best"
    adaptive: Adaptive | None = None
    stochastic: bool = False
    passes: int = 10
    slack: float = 1.0
    rescale: bool | None = None
    rotation: RotationChoice | Literal["none"] | None = None

    def __post_init__(self) -> None:
        check_preset(self.preset)
        super().__post_init__()
        if self._adaptive not in ADAPTIVE:
            raise UsageError(f"quip: adaptive {self.adaptive!r}, expected one of {', '.join(ADAPTIVE)}")
        if self.passes < 0 or not 0 <= self.slack < float("inf"):
            raise UsageError(f"quip: {self.passes} passes, slack {self.slack}; expected numbers of at least 0")
        if self.stochastic and self._adaptive in ("ldlq-rg", "greedy"):
            raise UsageError(f"quip: stochastic rounding with adaptive {self._adaptive!r}, whose passes round to nearest; choose another")

    @property
    def method(self) -> str:
        """Name in result tables."""
        name = "quip" + "-published" * (self.preset == "published") + ("" if self.adaptive is None else f"-{self.adaptive}")
        name += "-stochastic" * self.stochastic + f"-p{self.passes}" * (self.passes != 10) + f"-c{self.slack:g}" * (self.slack != 1)
        name += "" if self.rescale is None else "-rescaled" if self.rescale else "-unscaled"
        return name + {None: "", "none": "-unrotated", "auto": "+rotation"}.get(self.rotation, f"+{self.rotation}")

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(
            rotation=self._rotation, row_rotation=self._rotation, damping=self._damping, order=self._order, rescale=self._rescale
        )

    @property
    def _rescale(self) -> bool:
        return self.preset == "published" if self.rescale is None else self.rescale

    @property
    def _rotation(self) -> RotationChoice | None:
        if self.rotation == "none":
            return None
        return self.rotation or ("kronecker" if self.preset == "published" else "auto")

    @property
    def _damping(self) -> float | None:
        return PUBLISHED_DAMPING if self.damping is None and self.preset == "published" else self.damping

    @property
    def _adaptive(self) -> Adaptive:
        return self.adaptive or ("ldlq" if self.preset == "published" else "ldlq-rg")

    @property
    def _order(self) -> str:
        return "act-order" if self._adaptive in ("ldlq-rg", "greedy") else "natural"

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer; see `Quantizer.check_reachable`."""
        levels_for(self.rate_bits, name)

    @property
    def _clips_first(self) -> bool:
        """True if weights are clipped to the grid before they are rounded, so that the rest is not fed back."""
        return self.preset == "published"

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        factor, std = problem.factor, problem.weight_std
        name = f"{problem.key.name}: {self.method}"
        levels = levels_for(self.rate_bits, name)
        rounding = self._rounding(problem, levels)
        weight = problem.target[:, problem.order]
        half_range = PUBLISHED_HALF_RANGE
        if self.preset == "best" and std > 0:
            sample = spread_rows(weight, SAMPLE_ROWS)

            def loss(trial: float) -> float:
                step = 2 * trial * std / (levels - 1)
                return float(np.linalg.norm((sample - step * (rounding(sample, step) + rounding.offset)) @ factor))

            half_range = search_scale(loss, predicted_half_range(levels).half_range)
        step = round_to_float32(2 * half_range * std / (levels - 1))
        if std > 0:
            check_step(step, name)
        integers = np.empty(weight.shape, dtype=np.int32)
        integers[:, problem.order] = rounding(weight, step)
        codes = ScalarCodes(integers, UniformGrid(step, offset=rounding.offset, levels=levels), Uniform())
        rate = math.log2(levels) * problem.live_fraction
        return Solution(QuantizedWeight(problem.basis, codes), rate, self._error_model(codes, problem))

    def _rounding(self, problem: Problem, levels: int) -> GridRounding:
        feedback, moment, seed = problem.factor, None, None
        if self._adaptive == "clamp-safe" and feedback.size:
            feedback = clamp_safe_feedback(problem.prepared_input.damped_moment, self.slack).factor
        elif self._adaptive in ("ldlq-rg", "greedy"):
            moment = problem.prepared_input.damped_moment
        elif self._adaptive == "nearest":
            feedback = np.eye(len(feedback))
        if self.stochastic or self._adaptive == "clamp-safe":
            seed = int(layer_generator(problem.seed, f"{problem.key.name} rounding").integers(2**63))
        return GridRounding(
            levels,
            feedback=None if self._adaptive == "greedy" else feedback,
            moment=moment,
            passes=self.passes,
            clips_first=self._clips_first,
            seed=seed,
            backend=self.backend,
        )

    def _error_model(self, codes: ScalarCodes, problem: Problem) -> ErrorModel:
        grid = stored_grid(codes)
        if self._adaptive != "ldlq":
            return NoErrorModel(widest_steps=grid.widest_steps, reason="feedback other than LDLQ's, or greedy passes")
        reach = 0.5 * (codes.grid.levels - 1) * codes.grid.step
        if not self.stochastic:
            return replace(grid, reach=reach) if self._clips_first else grid
        if np.abs(problem.target).max(initial=0.0) > reach:
            return NoErrorModel(widest_steps=grid.widest_steps, reason="stochastic rounding that is clipped")
        return UnbiasedRounding(widest_steps=grid.widest_steps, step=codes.grid.step)
