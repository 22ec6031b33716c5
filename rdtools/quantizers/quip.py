"""QuIP: incoherence processing, then adaptive rounding with linear feedback on one grid for the whole matrix."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import round_to_float32
from rdtools.errors import UsageError
from rdtools.hessians.layer import Layer
from rdtools.ops import choose_backend, coordinate_descent, sic_sweep
from rdtools.quantizers.clamp_safe import clamp_safe_feedback
from rdtools.quantizers.grid import check_step, levels_for
from rdtools.quantizers.incoherence_processing import predicted_half_range
from rdtools.quantizers.problem import Problem, layer_generator, prepare
from rdtools.quantizers.rate_search import check_rate
from rdtools.quantizers.scale_search import search_scale, spread_rows
from rdtools.quantizers.settings import check_damping, check_rotation
from rdtools.quantizers.vector import Preset, check_preset
from rdtools.records import CodeModel, QuantizedLayer, QuantizedWeight, ScalarCodes
from rdtools.transforms import RotationChoice

Float64Array = NDArray[np.float64]
Adaptive = Literal["ldlq", "ldlq-rg", "greedy", "nearest", "clamp-safe"]
ADAPTIVE: tuple[Adaptive, ...] = get_args(Adaptive)

#: Largest level in units of the root mean square of the weights, and damping, as published.
PUBLISHED_HALF_RANGE, PUBLISHED_DAMPING = 2.4, 0.01
#: Rows on which the half-range is searched.
SAMPLE_ROWS = 128


@dataclass(frozen=True, kw_only=True)
class QuIP:
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
        stochastic rounding, see `rdtools.quantizers.clamp_safe`. The guarantee of the last is empty at 2 and 3 bits for matrices of
        thousands of columns: `clamp_safe.steps_left` says what it leaves.
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
    >>> from rdtools.hessians.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32) + 0.5)
    >>> q = QuIP(rate_bits=3).quantize(layer)
    >>> int(q.weight.codes.integers.min()), int(q.weight.codes.integers.max()), q.code_rate_bits
    (-4, 3, 3.0)
    """

    rate_bits: float
    preset: Preset = "best"
    adaptive: Adaptive | None = None
    stochastic: bool = False
    passes: int = 10
    slack: float = 1.0
    rescale: bool | None = None
    rotation: RotationChoice | Literal["none"] | None = None
    damping: float | None = None
    backend: str | None = None

    def __post_init__(self) -> None:
        check_rate(self.rate_bits)
        check_preset(self.preset)
        check_rotation(None if self.rotation == "none" else self.rotation)
        check_damping(self.damping)
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
    def preparation(self) -> tuple[Hashable, ...]:
        """Settings that `prepare` depends on."""
        return ("both sides", self._rescale, self._rotation, self._damping, self._order)

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

    @property
    def feeds_back(self) -> bool:
        """Whether it is LDLQ's feedback alone that decides codes, so that the distortion is ``error · step² · tr(D)/n``."""
        return self._adaptive == "ldlq"

    @property
    def clamps_first(self) -> bool:
        """Whether weights are clamped to the grid before they are rounded, so that the rest is not fed back."""
        return self.preset == "published"

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer.

        Parameters
        ----------
        name : of the method, or of the layer and the method, for the message

        Raises
        ------
        RateUnreachable
        """
        levels_for(self.rate_bits, name)

    def prepare(self, layer: Layer, *, seed: int = 0) -> Problem:
        """Make a layer ready; the answer serves every rate."""
        turn = self._rotation
        return prepare(layer, rotation=turn, row_rotation=turn, damping=self._damping, order=self._order, rescale=self._rescale, seed=seed)

    def quantize(self, layer: Layer, *, seed: int = 0, problem: Problem | None = None) -> QuantizedLayer:
        """Quantize one layer.

        Parameters
        ----------
        layer : weight and Hessian
        seed : of the run; rotations and stochastic rounding are drawn from it and the layer's name
        problem : what `prepare` gave for this layer and seed, to be used again at another rate

        Raises
        ------
        RateUnreachable, UnsupportedOrder, NotPositiveSemidefinite, NotConverged, ScaleOutOfRange, BackendUnavailable
        """
        problem = self.prepare(layer, seed=seed) if problem is None else problem
        factor, std = problem.factor, problem.weight_std
        assert factor is not None  # `prepare` factors unless told not to
        name = f"{problem.key.name}: {self.method}"
        levels = levels_for(self.rate_bits, name)
        feedback, moment = factor, None
        if self._adaptive == "clamp-safe" and factor.size:
            feedback = clamp_safe_feedback(factor @ factor.T, self.slack).factor
        elif self._adaptive in ("ldlq-rg", "greedy"):
            moment = factor @ factor.T
        elif self._adaptive == "nearest":
            feedback = np.eye(len(factor))
        rounding = _Rounding(self, levels, feedback, moment, int(layer_generator(seed, f"{layer.key.name} rounding").integers(2**63)))
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
        codes = ScalarCodes(integers, step, CodeModel("fixed", levels=levels), offset=rounding.offset)
        return QuantizedLayer(
            weight=QuantizedWeight(problem.basis, codes),
            method=self.method,
            target_rate_bits=self.rate_bits,
            code_rate_bits=math.log2(levels) * problem.live_fraction,
            damping=problem.damping,
            seed=problem.seed,
            backend=choose_backend(self.backend),
        )


@dataclass(frozen=True, eq=False)
class _Rounding:
    """How one layer's weights, in the order of its factor, are rounded at a step."""

    settings: QuIP
    levels: int
    feedback: Float64Array
    moment: Float64Array | None
    seed: int

    @property
    def offset(self) -> float:
        return 0.5 if self.levels % 2 == 0 else 0.0

    def __call__(self, weight: Float64Array, step: float) -> NDArray[np.int32]:
        settings, offset, lowest = self.settings, self.offset, -(self.levels // 2)
        highest = lowest + self.levels - 1
        scaled = weight / (step or 1.0)
        if settings.clamps_first:
            scaled = np.clip(scaled, lowest + offset, highest + offset)
        ones = np.ones(weight.shape[1])
        grid: dict[str, Any] = {"offset": offset, "code_min": lowest, "code_max": highest, "backend": settings.backend}
        if settings._adaptive == "greedy":
            codes = np.clip(np.rint(scaled - offset), lowest, highest).astype(np.int32)
        else:
            seed = self.seed if settings.stochastic or settings._adaptive == "clamp-safe" else None
            codes, _ = sic_sweep(scaled, self.feedback, ones, seed=seed, residual=False, **grid)
        if self.moment is not None:
            codes, _ = coordinate_descent(scaled, self.moment, codes, ones, passes=settings.passes, **grid)
        return codes
