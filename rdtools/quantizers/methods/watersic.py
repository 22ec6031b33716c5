"""WaterSIC: successive cancellation with steps inverse to the Cholesky diagonal."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from rdtools.ops import quadratic_form
from rdtools.quantizers.base import Solution
from rdtools.quantizers.grids.column_gains import point_values
from rdtools.quantizers.grids.entropy import entropy_grid
from rdtools.quantizers.methods.scalar import EntropyCoded, Feedback, column_steps
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.sample_gains import sample_gain_fit
from rdtools.quantizers.rounding.sic import sic_rounding
from rdtools.quantizers.search.learnt import search_learnt_rate
from rdtools.quantizers.search.rescalers import rescaled
from rdtools.quantizers.settings import check_choice
from rdtools.records import CodeModelKind

#: Settings of the paper; see `WaterSIC.published`.
PUBLISHED: dict[str, Any] = {"coding": "shared", "damping": 1e-4, "dead_threshold": 1e-3, "lmmse": "sample", "rescale": True}


@dataclass(frozen=True, kw_only=True)
class WaterSIC(Feedback, EntropyCoded):
    """Successive cancellation with ``α_i = c/ℓ_ii``, so that every column contributes the same distortion.

    The column steps are stored, on a grid of eighths of an octave and coded, in some three bits each. With coding "column" the decoder
    derives each column's entropy model from its step, a Gaussian model of standard deviation σ/α_i, so that unequal column entropies cost
    nothing; with "shared" all integers go into one histogram, as in the published implementations.

    High-rate distortion: ``c²/12`` at ½ log2(2πe/12) = 0.2546 bit above R(D), in any basis; see `rdtools.theory.sic`.

    Attributes
    ----------
    lmmse : reconstruct column i as ``γ_i α_i z_i`` and feed the error of that back, γ_i being the gain of linear estimation. True: that
        of a normal variable whose integers have the mean square of z_i, which the decoder computes without side information. It is for
        what the column is given, fed-back errors included; the gain for the weights' σ alone shrinks columns that such errors fill by far
        too much. "sample": the mean over rows of the published method, ``⟨z_i, Y_:i⟩/(α_i ℓ_ii ‖z_i‖²)``, stored in bfloat16. Integers are
        then decided once more with the gains as stored, so that their rounding is fed back like any other error: put right in the
        reconstruction alone it costs 0.001 bit up to 4 bits where H is well conditioned, but 0.02 to 0.1 bit between 4 and 8 bits at a
        condition of 1e5. "either": with gains as True or without, whichever has less distortion at its rate, in twice the time; where
        columns of W are correlated, what a gain leaves of one widens the next, which may cost more than the gains save
    rescale : once the integers are decided, fit scales of rows and columns to them, and store those that pay for themselves; see
        `rdtools.quantizers.search.rescalers`
    dead_threshold : drop columns whose input has less than this share of the median energy; None for none but those that are always zero
    ridge : penalty of the reconstruction's energy, relative to the mean diagonal; see `rdtools.theory.mmse_sic`

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Algorithm 2 (PlainWaterSIC), Algorithms 3 and 4, section 4.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.diag(np.arange(1.0, 33.0)))
    >>> q = WaterSIC(rate_bits=2.5).quantize(layer)
    >>> abs(q.symbol_rate_bits - 2.5) < 0.01
    True
    """

    coding: CodeModelKind = "column"
    lmmse: bool | Literal["sample", "either"] = False
    rescale: bool = False
    dead_threshold: float | None = None
    ridge: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("lmmse", self.lmmse, (False, True, "sample", "either"))

    @classmethod
    def published(cls, rate_bits: float, **others: Any) -> WaterSIC:
        """The method of the paper: one histogram, damping 1e-4, features below 1e-3 of the median dropped, sample gains, rescalers.

        It differs from the paper in what is better or exact here: column steps are on a grid of eighths of an octave before gains, row
        scales are left out where they do not pay, the least squares share of dropped features goes to the others, and the histogram is
        charged to the rate.

        Parameters
        ----------
        rate_bits : target rate
        others : further settings, or others in place of the published ones
        """
        return cls(rate_bits=rate_bits, **(PUBLISHED | others))

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return replace(super().preparation, ridge=self.ridge, dead_threshold=self.dead_threshold)

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer with steps ``1/ℓ_ii`` up to a factor."""
        if self.lmmse == "either":
            answers = [replace(self, lmmse=gains).solve(problem) for gains in (True, False)]
            return min(answers, key=lambda answer: _needed_bits(answer, problem))
        shared = problem.prepared_input
        decided = shared.factor, shared.order, self.backend, self.precision
        steps = np.asarray(1.0 / np.sqrt(shared.noise_gains))
        grid = entropy_grid(
            problem.target,
            sic_rounding(*decided),
            coding=self.coding,
            relative_steps=steps,
            name=f"{problem.key.name}: {type(self).__name__}",
            gain_fit=sample_gain_fit(*decided, normal=self.lmmse is True) if self.lmmse else None,
            gains_stored=self.lmmse == "sample",
        )
        candidate = search_learnt_rate(grid, problem.weight_std, self.rate_bits, self.adaptive_columns)
        symbols = rescaled(candidate.result, problem.ideal, shared.unpenalized_moment, grid) if self.rescale else candidate.result
        return Solution(symbols, candidate.rate_bits, column_steps(symbols, steps))


def _needed_bits(answer: Solution, problem: Problem) -> float:
    """Rate of an answer and ½ log2 of its distortion, which is the same at every rate of a method at high rate."""
    errors = problem.ideal - point_values(answer.symbols)
    lost = float(quadratic_form(errors, problem.prepared_input.moment()).sum())
    return answer.rate_bits + 0.5 * math.log2(max(lost, np.finfo(np.float64).tiny))
