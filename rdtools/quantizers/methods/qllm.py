"""QLLM: channels reassembled for quantized activations, weights rounded behind them, low-rank error correction merged into the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding import reconstruct
from rdtools.errors import RateUnreachable, UsageError
from rdtools.moments.layer import Layer, active_columns
from rdtools.quantizers.activations import ActivationQuantizer, basis_map, checked_sample, heard_moment
from rdtools.quantizers.base import Solution
from rdtools.quantizers.methods.gptq import GPTQ
from rdtools.quantizers.methods.row_grids import RowGridQuantizer
from rdtools.quantizers.methods.rtn import RTN
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.reassembly.matching import Metric
from rdtools.quantizers.reassembly.reassembler import Assembly, Reassembler, map_note
from rdtools.quantizers.rounding.error_correction import error_correction
from rdtools.quantizers.settings import RoundingRule, check_choice
from rdtools.records import ActivationMoments, Hessian, InputMap, LayerParts, QuantizedLayer
from rdtools.records.error_models import NoErrorModel
from rdtools.records.stored import finished

Fit = Literal["unrounded", "rounded"]
#: Of the rows' grids; a zero point has one byte.
_WIDTHS = range(2, 9)
#: Damping of GPTQ behind equal copies, whose moment is singular.
_DAMPING = 0.01

_NO_FORMULA = NoErrorModel(reason="weights are rounded behind a map that merges and splits channels")


@dataclass(frozen=True, kw_only=True)
class QLLM(ActivationQuantizer):
    """``y = Ŵ Q(T x)``: outlier channels split into copies, similar ones merged, then weights and activations rounded to min-max grids.

    The map is chosen on a sample of activations, for all layers of an input together; see `Reassembler`. Weights are rounded behind it,
    each row on its own asymmetric grid. A correction B A of rank k is fitted to the error on Q(T x) and merged: what is stored is
    ``Q(W′ + B A)``.

    Attributes
    ----------
    rate_bits : of the integers, must be `weight_bits`
    weight_bits : b_w of the rows' grids, 2 to 8
    threshold : channels above this share of the largest maximum are split; None to search the one of least output error
    assembly : what makes room for copies: "merge" similar channels, "prune" those of least energy, or "none"
    metric : of the matching, "paper" or "released"; see `rdtools.quantizers.reassembly.matching`
    balance : merge channels one-to-one, in place of several into one
    rescale : multiply merged channels so that they do not widen the grids of the rows
    staggered : shift the copies of a channel by fractions of a step
    max_expansion : largest share of added channels that the search looks at
    rounding : of the weights, "nearest" as published, or "feedback": GPTQ under E[x̂ x̂ᵀ]
    correction_rank : k of the correction; 0 for none
    fit : the weights beside which the correction is fitted: "rounded" as published, or "unrounded", for the error of the activations alone:
        the rounding error that the first corrects is another one once W′ + B A is rounded
    damping : of GPTQ, relative to the mean diagonal; None for 0.01
    backend : None, "numba" or "reference"

    References
    ----------
    QLLM, arXiv 2310.08041. There the correction is trained through four blocks at a time; here it is the exact optimum of each layer.
    """

    weight_bits: int = Reassembler.weight_bits
    threshold: float | None = Reassembler.threshold
    assembly: Assembly = Reassembler.assembly
    metric: Metric = Reassembler.metric
    balance: bool = Reassembler.balance
    rescale: bool = Reassembler.rescale
    staggered: bool = Reassembler.staggered
    max_expansion: float = Reassembler.max_expansion
    rounding: RoundingRule = "nearest"
    correction_rank: int = 4
    fit: Fit = "unrounded"
    activation_grid: Literal["symmetric", "asymmetric"] = "asymmetric"
    activation_clip: float | None = 1.0

    extends_map: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rounding", self.rounding, get_args(RoundingRule))
        check_choice("fit", self.fit, get_args(Fit))
        if not (isinstance(self.weight_bits, int) and self.weight_bits in _WIDTHS):
            raise UsageError(f"weight_bits {self.weight_bits!r}: expected a whole number from {_WIDTHS[0]} to {_WIDTHS[-1]}")
        if not (isinstance(self.correction_rank, int) and self.correction_rank >= 0):
            raise UsageError(f"correction_rank {self.correction_rank!r}: expected a whole number of at least 0")
        if self.activation_bits is None:
            raise UsageError("activation_bits None: channels are reassembled for activations that are quantized, expected 2 to 16 bits")
        _ = self.reassembler  # which refuses settings that cannot be

    @property
    def needs_sample(self) -> bool:
        """True: channels are reassembled by one."""
        return True

    @property
    def reassembler(self) -> Reassembler:
        """The choice of the map."""
        grid = self.activation
        assert grid is not None  # as __post_init__ sees to
        shared = {field.name for field in fields(Reassembler)} & {field.name for field in fields(self)}
        return Reassembler(grid=grid, **{name: getattr(self, name) for name in shared})

    @property
    def weights(self) -> RowGridQuantizer:
        """The method that rounds the weights."""
        rate = float(self.weight_bits)
        if self.rounding == "nearest":
            return RTN(rate_bits=rate, grid="asymmetric", backend=self.backend)
        damping = _DAMPING if self.damping is None else self.damping
        return GPTQ(rate_bits=rate, grid="asymmetric", damping=damping, backend=self.backend)

    @property
    def preparation(self) -> Preparation:
        """Active columns as they are: all else is behind the map."""
        return Preparation(factor=False)

    @property
    def calls_kernels(self) -> bool:
        """False if NumPy alone decides the integers, whatever the backend."""
        return self.weights.calls_kernels

    def check_reachable(self, name: str) -> None:
        """Refuse a rate other than the bits of the weights; see `Quantizer.check_reachable`."""
        if self.rate_bits != self.weight_bits:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: its weights have {self.weight_bits}; ask for that, or for "
                f"another weight_bits"
            )

    def map_key(self, *, seed: int) -> str:
        """All settings of the map, and the seed of the sample; see `ActivationQuantizer`."""
        return f"{self.reassembler!r} of seed {seed}"

    def choose_map(self, layers: Sequence[Layer], sample: Float64Array | None, *, seed: int) -> InputMap:
        """Active channels, merged and split for all layers of an input; see `ActivationQuantizer`."""
        first = layers[0]
        sample = checked_sample(sample, first, "which channels are reassembled by")
        before = basis_map(first, self.preparation, seed=seed)
        active, H = first.active, first.hessian.matrix
        weight = np.concatenate([active_columns(layer.weight, active) for layer in layers])
        reassembly = self.reassembler.reassemble(sample[:, active], weight, moment=H[np.ix_(active, active)], name=first.hessian.name)
        return InputMap([*before.links, *reassembly.input_map.links], columns=len(active))

    def solve_beside(self, problem: Problem, activations: ActivationMoments) -> Solution:
        """Round the weights behind the map, and once more with the correction."""
        before = self.input_map_of(problem)
        links = activations.input_map.links[len(before.links) :]
        chain = InputMap(links, columns=before.outputs)
        mapped, moments = chain.weight(problem.weight), activations.moments
        if self.correction_rank:
            beside = mapped if self.fit == "unrounded" else reconstruct(self._rounded(problem, mapped, moments.actual).weight)
            correction = error_correction(before.pull_back(problem.weight), beside, moments, self.correction_rank)
            del beside
            corrected = correction.matrix
            corrected += mapped
            mapped = corrected
        answer = self._rounded(problem, mapped, moments.actual)
        active = problem.basis.active
        return Solution(
            answer.weight.symbols,
            answer.symbol_rate_bits * chain.outputs / max(before.outputs, 1),
            _NO_FORMULA,
            LayerParts(activations.grid, links=links),
            map_note(chain, activations.reference[np.ix_(active, active)]),
        )

    def _rounded(self, problem: Problem, weight: Float64Array, moment: Float64Array) -> QuantizedLayer:
        """The weights on the grids of their rows; a channel that always rounds to zero is kept, with next to no weight."""
        hessian = Hessian(finished(heard_moment(moment)), 0, name=f"{problem.key.name}: Q(T x)")
        return self.weights.quantize(Layer.of(finished(weight), hessian, name=problem.key.name))
