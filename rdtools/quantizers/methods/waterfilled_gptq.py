"""Waterfilled GPTQ: successive cancellation with as many bits for each column as its place in the factor deserves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Int64Array, Matrix, as_dtype, frobenius_norm, is_tensor, row_mean_squares, take_columns
from rdtools.coding import round_to_bfloat16, round_to_float32, scalar_code_length
from rdtools.errors import RateUnreachable, UsageError
from rdtools.quantizers.base import Solution
from rdtools.quantizers.grids.entropy import entropy_grid
from rdtools.quantizers.grids.levels import check_step
from rdtools.quantizers.grids.widths import GRID_STEPS, MAX_WIDTH, allocate_widths, water_level, width_exponents
from rdtools.quantizers.methods.scalar import EntropyCoded, Feedback, column_steps, stored_grid
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.columns import sweep_columns
from rdtools.quantizers.rounding.sic import sic_rounding
from rdtools.quantizers.search.learnt import search_learnt_rate
from rdtools.quantizers.search.scale import search_scale, strided_rows
from rdtools.records import CodeModelKind, RowScales, ScalarSymbols, Uniform, UniformGrid

#: Step of a column under the water, in that of a column at its level: 8 √12 = 28 standard deviations, so that only an outlier has a code
#: other than zero, and is not lost.
UNDER_WATER = 8.0
#: Rows on which the scale is searched.
SAMPLE_ROWS = 128


def relative_steps(noise_gains: Float64Array, rate_bits: float) -> Float64Array:
    """``1/ℓ_ii`` above the water at this rate, UNDER_WATER times that of its level below it."""
    logs = np.log2(noise_gains)
    if logs.size == 0:
        return logs
    level = water_level(noise_gains, rate_bits)
    return np.where(logs > level, np.exp2(-0.5 * logs), UNDER_WATER * 2.0 ** (-0.5 * level))


def fixed_widths(
    W: Matrix,  # (m, r)
    factor: Matrix,  # (r, r)
    order: NDArray[np.intp],  # (r,)
    widths: Int64Array,  # (r,)
    name: str,
) -> Solution:
    """Successive cancellation with a whole number of bits for each column; see `WaterfilledGPTQ`.

    Parameters
    ----------
    W : what is rounded
    factor, order : L, columns in this order, the last decided first
    widths : bits of each column, 0 to 8
    name : for messages
    """
    widest = int(widths.max(initial=0))
    exponents = width_exponents(widths)

    def grid(rows: Matrix, scale: float) -> UniformGrid:
        spread = np.sqrt(row_mean_squares(rows)) if rows.shape[1] else np.zeros(len(rows))
        for edge in (spread.min(where=spread > 0, initial=np.inf), spread.max(initial=0.0)):
            if 0 < edge < np.inf:
                check_step(float(edge), name)
        return UniformGrid(
            round_to_float32(GRID_STEPS[widest]) if widest else 1.0,
            exponents if exponents.any() else None,
            offset=0.5,
            levels=2**widest,
            rows=RowScales(round_to_bfloat16(scale * spread)[:, None]),
        )

    sample = strided_rows(W, SAMPLE_ROWS)

    def loss(scale: float) -> float:
        _, values = sweep_columns(sample, factor, order, grid(sample, scale))
        residual = take_columns(sample - values, order)
        return frobenius_norm((residual.double() if is_tensor(residual) else residual) @ factor)

    scale = search_scale(loss, 1.0) if widest and W.any() else 1.0
    final = grid(W, scale)
    symbols = ScalarSymbols(sweep_columns(W, factor, order, final, keep=False)[0], final, Uniform())
    bits, _ = scalar_code_length(symbols)
    return Solution(symbols, bits / max(math.prod(W.shape), 1), stored_grid(symbols))


@dataclass(frozen=True, kw_only=True)
class WaterfilledGPTQ(Feedback, EntropyCoded):
    """GPTQ with unequal columns: rates from reverse waterfilling of the ℓ_ii².

    With coding "fixed" every column has a whole number of bits, 0 to 8, whose mean is the rate; see `column_widths.allocate_widths`. Its
    grid is the best uniform one for normal weights, scaled by the root mean square of the row and one factor for all rows, which is
    searched on some of them and goes into the stored scales. Exponents of the steps are stored, and the levels follow from them.

    With coding "column" steps are ``c/ℓ_ii`` and entropy-coded, as WaterSIC's, but columns under the water at the rate asked for get a step
    so coarse that all their integers are zero. Where all columns are above the water this is WaterSIC.

    High-rate distortion, coding "fixed": ``(σ²/n) Σ ℓ_ii² mse(b_i)``.

    References
    ----------
    High-Rate Quantized Matrix Multiplication II, arXiv 2605.13768 (waterfilling improves the equal rates of GPTQ). Grids and whole bits are
    this project's.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 3)), np.diag([16.0, 1.0, 1e-6]))
    >>> q = WaterfilledGPTQ(rate_bits=2).quantize(layer)
    >>> q.weight.symbols.grid.column_levels(3).tolist(), q.symbol_rate_bits
    ([16, 4, 1], 2.0)
    """

    coding: CodeModelKind = "fixed"
    choices: ClassVar[dict[str, tuple[CodeModelKind, ...]]] = {"coding": ("fixed", "column")}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coding == "fixed" and self.adaptive_columns:
            raise UsageError(
                f"adaptive_columns={self.adaptive_columns} with coding='fixed': integers of a fixed rate have no model to learn; expected "
                "adaptive_columns=0, or coding='column'"
            )

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that no layer can have; see `Quantizer.check_reachable`."""
        if self.coding == "fixed" and self.rate_bits > MAX_WIDTH:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: a column has at most {MAX_WIDTH} bits; ask for at most "
                f"{MAX_WIDTH} or use entropy coding"
            )

    @property
    def calls_kernels(self) -> bool:
        """False for fixed widths, whose columns are decided one by one in NumPy."""
        return self.coding != "fixed"

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        shared, name = problem.prepared_input, f"{problem.key.name}: {type(self).__name__}"
        if self.coding == "fixed":
            widths = allocate_widths(shared.noise_gains, self.rate_bits, name=name)
            return fixed_widths(as_dtype(problem.target, self.precision), shared.factor, shared.order, widths, name)
        steps = relative_steps(shared.noise_gains, self.rate_bits)
        rounding = sic_rounding(shared.factor, shared.order, self.backend, self.precision)
        grid = entropy_grid(problem.target, rounding, coding=self.coding, relative_steps=steps, name=name)
        candidate = search_learnt_rate(grid, problem.weight_std, self.rate_bits, self.adaptive_columns)
        energies = steps**2 * shared.noise_gains
        waterfilled = bool(energies.size and np.ptp(np.log2(energies)) > 1e-6)
        return Solution(candidate.result, candidate.rate_bits, column_steps(candidate.result, steps, waterfilled=waterfilled))
