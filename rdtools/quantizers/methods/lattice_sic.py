"""Lattice-coded successive cancellation: WaterSIC's steps, with the integers of every column in vectors of D4 or E8 down its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.coding import fit_lattice_gaussians, octave_exponents, row_exponents_if_shorter
from rdtools.ops import INTEGER_MAX
from rdtools.quantizers.base import LATER, SettledQuantizer, Solution
from rdtools.quantizers.grids.walks import ColumnWalks, RowExponents
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.block_ldlq import block_ldlq
from rdtools.quantizers.rounding.lattice_points import equal_rate_step, nearest_points
from rdtools.quantizers.search.step import search_rate
from rdtools.quantizers.settings import check_choice
from rdtools.records import GaussianModel, LatticeName, LatticePoints, UniformGrid
from rdtools.records.error_models import LatticeSteps
from rdtools.transforms import RotationChoice

#: Parts of the rows that are decided one after another, for the memory that their errors take, and rows of a part at least; few, since
#: each goes through all columns.
_PARTS, _ROWS = 3, 256


@dataclass(frozen=True, eq=False)
class LatticeGrid(ColumnWalks[LatticePoints]):
    """The points of a lattice that steps give."""

    lattice: LatticeName

    def row_parts(self, rows: int) -> list[slice]:
        """Whole vectors of a few hundred rows, or of a third of them."""
        height = max(_ROWS, -(-rows // (16 * _PARTS)) * 16)
        return [slice(first, min(first + height, rows)) for first in range(0, rows, height)]

    def decide(self, ordered: Float64Array, steps: Float64Array) -> NDArray[np.int32]:
        """(m, r) int32 integers of a target whose columns and steps are in the order of the factor's."""
        spacings, integers = 0.5 * steps, np.empty(ordered.shape, dtype=np.int32)

        def decided(targets: Float64Array, column: int) -> Float64Array:
            integers[:, column] = nearest_points(targets[:, 0] / spacings[column], self.lattice, INTEGER_MAX)
            return np.asarray(spacings[column] * integers[:, column, None])

        block_ldlq(np.asfortranarray(ordered), self.factor, 1, decided, keep=False)  # it reads columns
        return integers

    def fitted(self, integers: NDArray[np.int32], grid: UniformGrid, row_exponents: RowExponents) -> tuple[LatticePoints, float]:
        """The points with the models under which they are shortest, and their length, bits in all."""
        return fit_lattice_gaussians(LatticePoints(integers, grid, GaussianModel(), self.lattice), row_exponents)


@dataclass(frozen=True, kw_only=True)
class LatticeSIC(SettledQuantizer):
    """Successive cancellation with steps ``α_i = c/ℓ_ii`` in which every column is made of vectors of a lattice down its rows.

    The fixed block beside the trellis of `TrellisSIC`: cells that are shaped in 4 or 8 dimensions, entropy-coded with a Gaussian model
    given the parities of a vector, which a codeword says. No feedback is lost, since a vector is in one column.

    High-rate distortion: ``c²/12`` over the granular gain of the lattice, 0.37 dB for D4 and 0.65 dB for E8, at ½ log2(2πe/12) bits above
    R(D) less half the log of the gain. Rows that make no whole vector are rounded one by one.

    Attributes
    ----------
    rate_bits : target rate of the points in bits per active weight
    lattice : "D4" or "E8"
    ridge : penalty of the reconstruction's energy, relative to the mean diagonal; see `rdtools.theory.mmse_sic`
    order : in which columns are decided, a name in `rdtools.transforms.orders.ORDERS`
    rotation : None, "hadamard", "haar", "kronecker", or "auto"
    damping : relative to the mean diagonal of H; None for none unless H is singular
    one_file : whether layers of one input go into one file where that is smaller; see `rdtools.measure.point.coded`
    bias : whether a bias of 16 bits per row takes the mean of the output error away, as of `ScalarQuantizer`
    backend : None, "numba" or "reference"; NumPy decides the points, whatever it is

    References
    ----------
    Conway and Sloane, Sphere Packings, Lattices and Groups, chapters 5 and 21; in successive cancellation derived for this project.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.diag(np.arange(1.0, 33.0)))
    >>> q = LatticeSIC(rate_bits=2.5).quantize(layer)
    >>> abs(q.symbol_rate_bits - 2.5) < 0.01
    True
    """

    lattice: LatticeName = "E8"
    ridge: float = 0.0
    order: str = "natural"
    rotation: RotationChoice | None = None
    one_file: bool = field(default=False, metadata=LATER)
    bias: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        check_choice(f"{type(self).__name__}: lattice", self.lattice, get_args(LatticeName))
        super().__post_init__()

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(rotation=self.rotation, damping=self.damping, order=self.order, ridge=self.ridge, centred=self.bias)

    @property
    def calls_kernels(self) -> bool:
        """False: NumPy alone decides the points."""
        return False

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        shared = problem.prepared_input
        steps = np.asarray(1.0 / np.sqrt(shared.noise_gains))
        rows = row_exponents_if_shorter(problem.target)
        name = f"{problem.key.name}: {type(self).__name__}"
        grid = LatticeGrid(problem.target, shared.factor, shared.order, octave_exponents(steps), rows, name, self.lattice)
        candidate = search_rate(grid, problem.weight_std, self.rate_bits)
        widths = equal_rate_step(self.lattice) * candidate.result.column_steps
        model = LatticeSteps(widest_steps=widths, steps=widths, relative_steps=steps, lattice=self.lattice, row_exponents=rows)
        return Solution(candidate.result, candidate.rate_bits, model)
