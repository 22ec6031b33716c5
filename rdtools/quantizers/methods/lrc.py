"""LRC: a low-rank term on unquantized activations beside quantized weights and activations; QERA, LoRC and SVDQuant's branch with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding.formats import codec_of
from rdtools.errors import UsageError
from rdtools.quantizers.base import Solution
from rdtools.quantizers.methods.weight_activation import WeightActivation
from rdtools.quantizers.prepared_input import prepare_input
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.low_rank import ErrorMoments, Factors, Maker, rank_of, weight_error_factors
from rdtools.quantizers.settings import check_choice, is_number
from rdtools.records import ActivationGrid, ActivationMoments, LayerParts, LowRank
from rdtools.records.error_models import NoErrorModel
from rdtools.transforms import RotationChoice

Correction = Literal["joint", "weights", "diagonal", "identity", "svd"]
RankMeasure = Literal["dimension", "parameters", "count"]
FactorDtype = Literal["bfloat16", "float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class LRC(WeightActivation):
    """``y = Ŵ Q(T x) + U Vᵀ x``: weights and a term of rank k chosen together, the term acting on x before it is quantized.

    "joint" alternates two steps from the best term that any real weights would leave: the weights are rounded to the target
    ``(W − U Vᵀ) Σ_xx̂ Σ_x̂⁻¹`` under Σ_x̂, then U Vᵀ is the reduced-rank regression of what is left on x. The best of the rounds is kept. The
    others are special cases of that regression with nothing known of the activations: Ŵ is rounded first, for W, and the term is the best
    for its error, weighted by Σ_x ("weights", QERA), its diagonal ("diagonal", QERA-approx) or nothing ("identity", LoRC and LQER); or the
    term is the truncated singular value decomposition of W, and Ŵ is rounded for the rest ("svd", SVDQuant's branch without smoothing).

    The factors are stored in 16 bits and counted in `total_bpw`: ``16 k (m + n)/(m n)`` bits per weight, 3.2 for a tenth of a square layer.

    Attributes
    ----------
    rank : k as a share of the smaller dimension, or as `rank_measure` says
    rank_measure : "dimension", "parameters" (k (m + n) over m n), or "count"
    correction : "joint", "weights", "diagonal", "identity" or "svd"
    rounds : alternations of "joint"; LRC (1) and LRC (5) are the paper's
    ridge : ε added to Σ_x and Σ_x̂ in the low-rank step, relative to their mean diagonals
    factors : dtype that U and V are stored in
    rotation : of inputs, a Hadamard matrix first where there is one; None, "hadamard", "haar", "kronecker", or "auto"

    References
    ----------
    LRC, arXiv 2412.07902; QERA, arXiv 2410.06040; LQER, arXiv 2402.02446; ZeroQuant-V2, arXiv 2303.08302; SVDQuant, arXiv 2411.05007.
    """

    rank: float = 0.1
    rank_measure: RankMeasure = "dimension"
    correction: Correction = "joint"
    rounds: int = 1
    ridge: float = 1e-3
    factors: FactorDtype = "float16"
    rotation: RotationChoice | None = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("LRC: rank_measure", self.rank_measure, get_args(RankMeasure))
        check_choice("LRC: correction", self.correction, get_args(Correction))
        check_choice("LRC: factors", self.factors, get_args(FactorDtype))
        integral = float(self.rank).is_integer() if is_number(self.rank) else False
        if not is_number(self.rank) or not (0 < self.rank <= 1 or (self.rank_measure == "count" and self.rank >= 1 and integral)):
            raise UsageError(f"LRC: rank {self.rank!r} as {self.rank_measure}, expected a share above 0 and at most 1, or a whole count")
        if self.rounds < 1 or not 0 <= self.ridge < float("inf"):
            raise UsageError(f"LRC: {self.rounds} rounds, ridge {self.ridge}; expected at least 1, and a finite number of at least 0")

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer whose activations are left alone."""
        moment, columns = problem.prepared_input.moment, problem.target.shape[1]
        new_moment = moment if moment.is_new else lambda: np.array(moment())
        return self._solve(problem, None, ErrorMoments.plain(new_moment, columns, self.ridge, problem.key.name))

    def solve_beside(self, problem: Problem, activations: ActivationMoments) -> Solution:
        """Quantize a prepared layer whose activations are quantized."""
        return self._solve(problem, activations.grid, ErrorMoments.of(activations, self.ridge))

    def _solve(self, problem: Problem, grid: ActivationGrid | None, moments: ErrorMoments) -> Solution:
        name = f"{problem.key.name}: LRC"
        rows, columns = problem.basis.rows, len(problem.basis.active)
        k = rank_of(self.rank, rows, columns, self.rank_measure, name)
        rank, W = min(k, *problem.target.shape), problem.target
        if rank == 0 or not W.any():
            solution, factors = self.weights.solve(problem), (np.zeros((rows, rank)), np.zeros((W.shape[1], rank)))
        elif self.correction == "joint":
            solution, factors = self._alternate(problem, moments, rank)
        elif self.correction == "svd":
            factors = weight_error_factors(W, 0.0, np.ones(W.shape[1]), rank, name=name)
            solution = self.weights.solve(replace(problem, target=_rest(W, factors)))
        else:
            solution = self.weights.solve(problem)
            factors = weight_error_factors(W, _values(solution, W.shape[1]), self._metric(moments, W.shape[1]), rank, name=name)
        reason = "weights rounded for what a low-rank term leaves, or errors that it takes away: no formula is known"
        parts = LayerParts(grid, self._stored(factors, problem, k))
        return replace(solution, parts=parts, error_model=NoErrorModel(reason=reason))

    def _metric(self, moments: ErrorMoments, columns: int) -> Float64Array | Maker:
        """The matrix, or its diagonal, that weighs the error of the weights."""
        if self.correction == "weights":
            return moments.input
        return np.ones(columns) if self.correction == "identity" else np.diagonal(moments.input()).copy()

    def _alternate(self, problem: Problem, moments: ErrorMoments, rank: int) -> tuple[Solution, Factors]:
        W, name = problem.target, problem.key.name
        preparation = replace(self.preparation, factor=True, rotation=None, damping=self.damping)
        factors, best = moments.start(W, rank), None
        for _ in range(self.rounds):
            # anew in each round, so that it is gone where the singular value decomposition takes its memory
            shared = prepare_input(lambda: moments.actual, preparation, None, name=f"{name}: moment of Q(x)")
            target = moments.retargeted(_rest(W, factors), shared.factor)
            solution = self.weights.solve(replace(problem, target=target, shared=shared))
            del shared, target
            factors = moments.correction(W, _values(solution, W.shape[1]), rank)
            loss = moments.loss(W, _values(solution, W.shape[1]), factors) if self.rounds > 1 else 0.0
            if best is None or loss < best[0]:
                best = loss, solution, factors
        assert best is not None
        return best[1], best[2]

    def _stored(self, factors: Factors, problem: Problem, rank: int) -> LowRank:
        """U and V for x before the map, columns of like size, as they are stored; further columns of zeros where fewer are of use."""
        U, V = factors[0], self.input_map_of(problem).pull_back(factors[1].T).T
        sizes = np.abs(U).max(axis=0, initial=0.0), np.abs(V).max(axis=0, initial=0.0)
        balance = np.sqrt(np.where(sizes[0] * sizes[1] > 0, sizes[1] / np.where(sizes[0] > 0, sizes[0], 1.0), 1.0))
        spare = ((0, 0), (0, rank - U.shape[1]))
        return LowRank.rounded(np.pad(U * balance, spare), np.pad(V / balance, spare), self.factors)


def _rest(weight: Float64Array, factors: Factors) -> Float64Array:
    """``W − U Vᵀ``."""
    term = factors[0] @ factors[1].T
    return np.asarray(np.subtract(weight, term, out=term))


def _values(solution: Solution, columns: int) -> Float64Array:
    """(m, r) the numbers that the integers of a solution stand for, in the coordinates of the target."""
    return np.asarray(codec_of(solution.symbols).values(solution.symbols, columns))
