"""Trellis-coded successive cancellation: WaterSIC's steps, with the integers of every column on a trellis down its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from rdtools.arrays import Float64Array, Matrix, as_dtype, beside
from rdtools.coding import fit_coset_gaussians, octave_exponents, row_exponents_if_shorter
from rdtools.errors import UsageError
from rdtools.ops import COSET_STATES, coset_trellis_sweep
from rdtools.quantizers.base import LATER, SettledQuantizer, Solution
from rdtools.quantizers.grids.walks import ColumnWalks, RowExponents
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.sic import Precision
from rdtools.quantizers.search.learnt import check_adaptive_columns, search_learnt_rate
from rdtools.quantizers.settings import check_choice
from rdtools.records import CosetSymbols, GaussianModel, UniformGrid
from rdtools.records.error_models import TrellisSteps
from rdtools.transforms import RotationChoice

#: Rows of a walk. Starting anew costs about ν bits' worth of shaping, and lets as many cores work as there are walks in a column.
SEGMENT = 2048


def check_trellis(name: str, states: object, segment: object) -> None:
    """Refuse a trellis or a length of walks that cannot be.

    Raises
    ------
    UsageError
    """
    check_choice(f"{name}: states", states, COSET_STATES)
    if not isinstance(segment, int | np.integer) or isinstance(segment, bool) or not 1 <= segment < 2**31:
        raise UsageError(f"{name}: segment {segment!r}, expected a number of rows from 1 to 2^31 - 1")


@dataclass(frozen=True, eq=False)
class TrellisGrid(ColumnWalks[CosetSymbols]):
    """The walks that steps give; `method` has states, walks, precision and backend."""

    method: TrellisSIC

    def decide(self, ordered: Matrix, steps: Float64Array) -> Matrix:
        """(m, r) int32 integers of a target whose columns and steps are in the order of the factor's."""
        computed = as_dtype(ordered, self.method.precision)
        integers, _ = coset_trellis_sweep(
            computed,
            self.factor,
            beside(steps, computed),
            self.method.states,
            segment=int(self.method.segment),
            residual=False,
            overwrite=computed is not self.target,
            backend=self.method.backend,
        )
        return integers

    def fitted(self, integers: Matrix, grid: UniformGrid, row_exponents: RowExponents) -> tuple[CosetSymbols, float]:
        """The walks with the model under which they are shortest, and their length, bits in all."""
        symbols = CosetSymbols(integers, grid, GaussianModel(), self.method.states, int(self.method.segment))
        return fit_coset_gaussians(symbols, row_exponents)


@dataclass(frozen=True, kw_only=True)
class TrellisSIC(SettledQuantizer):
    """Successive cancellation with steps ``α_i = c/ℓ_ii`` in which every column is one walk of a trellis down its rows.

    Given feedback, the rows of a column are independent and have one step, which is what trellis-coded quantization wants: points at
    multiples of α_i/2, four cosets, and a state that says the parity of the next integer. A Gaussian model given the parity takes as
    many bits as a scalar quantizer of step α_i, at a distortion that is lower by the granular gain of the trellis, 1.1 dB of 1.53 with 8
    states and 1.33 dB with 256. No side information beyond WaterSIC's steps and the number of states; no feedback is lost in blocks.

    High-rate distortion: ``c²/12`` over the granular gain, at ½ log2(2πe/12) bits above R(D) less half the log of the gain.

    Attributes
    ----------
    rate_bits : target rate of the integers in bits per active weight
    states : of the trellis, 4 to 1024; time grows with them
    segment : rows after which a walk begins anew
    ridge : penalty of the reconstruction's energy, relative to the mean diagonal; see `rdtools.theory.mmse_sic`
    order : in which columns are decided, a name in `rdtools.transforms.orders.ORDERS`
    rotation : None, "hadamard", "haar", "kronecker", or "auto"
    precision : of the sweep, "float64" or "float32"; costs of walks are float32
    adaptive_columns : columns in a group whose Gaussian models the decoder learns from the rows that it has, where that is shorter; 0 for
        models that are not learnt
    one_file : whether layers of one input go into one file where that is smaller; see `rdtools.measure.point.coded`
    bias : whether a bias of 16 bits per row takes the mean of the output error away, as of `ScalarQuantizer`
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"

    References
    ----------
    Derived for this project. Its parts: entropy-coded trellis quantization, Fischer and Wang, IEEE Trans. Inf. Theory 38 (1992); WaterSIC,
    arXiv 2603.04956 v1, Algorithm 2.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.diag(np.arange(1.0, 33.0)))
    >>> q = TrellisSIC(rate_bits=2.5, states=8).quantize(layer)
    >>> abs(q.symbol_rate_bits - 2.5) < 0.01
    True
    """

    states: int = 256
    segment: int = SEGMENT
    ridge: float = 0.0
    order: str = "natural"
    rotation: RotationChoice | None = None
    precision: Precision = "float64"
    adaptive_columns: int = 0
    one_file: bool = field(default=False, metadata=LATER)
    bias: bool = field(default=False, metadata=LATER)

    on_device: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_adaptive_columns(type(self).__name__, self.adaptive_columns)
        check_trellis(type(self).__name__, self.states, self.segment)
        check_choice("precision", self.precision, ("float64", "float32"))
        super().__post_init__()

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(rotation=self.rotation, damping=self.damping, order=self.order, ridge=self.ridge, centred=self.bias)

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        shared = problem.prepared_input
        steps = np.asarray(1.0 / np.sqrt(shared.noise_gains))
        rows = row_exponents_if_shorter(problem.target)
        name = f"{problem.key.name}: {type(self).__name__}"
        grid = TrellisGrid(problem.target, shared.factor, shared.order, octave_exponents(steps), rows, name, self)
        nearest = search_learnt_rate(grid, problem.weight_std, self.rate_bits, int(self.adaptive_columns))
        symbols = nearest.result
        model = TrellisSteps(
            widest_steps=symbols.column_steps,
            steps=symbols.column_steps,
            relative_steps=steps,
            states=self.states,
            row_exponents=rows,
            learnt=symbols.model.learns,
        )
        return Solution(symbols, nearest.rate_bits, model)
