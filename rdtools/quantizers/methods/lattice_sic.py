"""Lattice-coded successive cancellation: WaterSIC's steps, with the integers of every column in vectors of D4 or E8 down its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, take_columns
from rdtools.coding import fit_lattice_gaussians, octave_exponents, row_exponents_if_shorter
from rdtools.ops import INTEGER_MAX
from rdtools.quantizers.base import LATER, SettledQuantizer, Solution
from rdtools.quantizers.grids.levels import grid_of_step
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.block_ldlq import block_ldlq
from rdtools.quantizers.rounding.lattice_points import equal_rate_step, nearest_points
from rdtools.quantizers.search.rate import Candidate
from rdtools.quantizers.search.step import search_rate
from rdtools.quantizers.settings import check_choice
from rdtools.records import GaussianModel, LatticeName, LatticePoints
from rdtools.records.error_models import LatticeSteps
from rdtools.transforms import RotationChoice

#: Parts of the rows that are decided one after another, for the memory that their errors take, and rows of a part at least; few, since
#: each goes through all columns.
_PARTS, _ROWS = 3, 256


@dataclass(frozen=True, eq=False)
class LatticeGrid:
    """Column steps but for their scale, and the points that they give; attributes as of `TrellisGrid` in `trellis_sic.py`."""

    target: Float64Array
    factor: Float64Array
    order: NDArray[np.intp]
    lattice: LatticeName
    exponents: NDArray[np.uint8]
    row_exponents: NDArray[np.uint8] | None
    name: str

    def at(self, log2_step: float, rows: NDArray[np.intp] | None = None) -> Candidate[LatticePoints]:
        """Points of some rows, or of all, where the finest step is so wide, and their rate.

        Raises
        ------
        ScaleOutOfRange
            If the step is outside the normal range of float32.
        """
        part, known = (self.target, self.row_exponents) if rows is None else (self.target[rows], None)
        if rows is not None and self.row_exponents is not None:
            known = self.row_exponents[rows]
        grid = grid_of_step(log2_step, self.exponents, self.name)
        spacings = 0.5 * grid.column_steps(part.shape[1])[self.order]
        integers = np.empty(part.shape, dtype=np.int32)
        height = max(_ROWS, -(-len(part) // (16 * _PARTS)) * 16)  # of whole vectors
        for some in (slice(first, first + height) for first in range(0, len(part), height)):

            def decide(targets: Float64Array, column: int, block: NDArray[np.int32] = integers[some]) -> Float64Array:
                points = nearest_points(targets[:, 0] / spacings[column], self.lattice, INTEGER_MAX)
                block[:, self.order[column]] = points
                return np.asarray(spacings[column] * points[:, None])

            block_ldlq(take_columns(part[some], self.order), self.factor, 1, decide, keep=False)
        symbols, bits = fit_lattice_gaussians(LatticePoints(integers, grid, GaussianModel(), self.lattice), known)
        return Candidate(bits / max(part.size, 1), symbols)


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

    def __post_init__(self) -> None:
        check_choice(f"{type(self).__name__}: lattice", self.lattice, get_args(LatticeName))
        super().__post_init__()

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(rotation=self.rotation, damping=self.damping, order=self.order, ridge=self.ridge)

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
        grid = LatticeGrid(problem.target, shared.factor, shared.order, self.lattice, octave_exponents(steps), rows, name)
        found = search_rate(grid, problem.weight_std, self.rate_bits)
        widths = equal_rate_step(self.lattice) * found.result.column_steps
        model = LatticeSteps(widest_steps=widths, steps=widths, relative_steps=steps, lattice=self.lattice, row_exponents=rows)
        return Solution(found.result, found.rate_bits, model)
