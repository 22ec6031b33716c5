"""QTIP with a rate of its own for every 16 columns: trellis-coded tiles whose whole bits reverse waterfilling allots."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rdtools.arrays import Float64Array, Int64Array, row_blocks
from rdtools.coding import TILE, round_to_float32
from rdtools.errors import RateUnreachable
from rdtools.ops import trellis_pack, trellis_quantize, trellis_values
from rdtools.quantizers.base import SettledQuantizer, Solution
from rdtools.quantizers.grids.levels import check_step
from rdtools.quantizers.grids.widths import greedy_bits
from rdtools.quantizers.methods.qtip import QTIP, TRELLIS_RMS
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.block_ldlq import block_ldlq, pad_problem
from rdtools.quantizers.search.rate import RATE_TOLERANCE_BITS
from rdtools.quantizers.search.scale import search_scale, strided_rows
from rdtools.records import TilePaths, TrellisCode
from rdtools.records.error_models import NoErrorModel
from rdtools.transforms import RotationChoice

#: Most bits of a path per weight.
MOST = 4


def allot_bits(traces: Float64Array, errors: tuple[float, ...], rate_bits: float, *, name: str) -> Int64Array:
    """Bits of each block of columns: those of least ``Σ_k d_k e(b_k)`` with so many in all, up to MOST each.

    Parameters
    ----------
    traces : d, of the blocks of the block factorization
    errors : e(b) of b = 0 … MOST bits, convex
    rate_bits : mean of the bits
    name : of the layer and method, for the message

    Raises
    ------
    RateUnreachable
        If no whole number of bits in all has the rate.

    Examples
    --------
    >>> allot_bits(np.array([64.0, 1.0, 1.0]), (1.0, 0.25, 0.0625, 0.015625, 0.004), 2.0, name="x").tolist()
    [4, 1, 1]
    """
    blocks = len(traces)
    total = round(rate_bits * blocks)
    if not 0 < total <= MOST * blocks or abs(total - rate_bits * blocks) > RATE_TOLERANCE_BITS * blocks:
        exact = sorted({min(max(k, 1), MOST * blocks) for k in (math.floor(rate_bits * blocks), math.ceil(rate_bits * blocks))})
        raise RateUnreachable(
            f"{name}: {rate_bits:g} bits per weight cannot be reached by {blocks} blocks of {TILE} columns with whole bits, at most {MOST} "
            f"each; the nearest rates are {' and '.join(f'{k / blocks:.4f}' for k in exact)}; ask for one of these"
        )
    return greedy_bits(traces, errors, total)


@dataclass(frozen=True, kw_only=True)
class WaterfilledQTIP(SettledQuantizer):
    """Block LDLQ with trellis-coded tiles of 16 × 16 weights, each block of 16 columns with 0 to 4 bits by reverse waterfilling.

    A rotation of the inputs would make all blocks alike, so that there would be nothing to allot: only the outputs are rotated, which
    makes the weights of a column more normal and leaves H as it is. What is left beside entropy-coded methods are whole bits, a fixed rate
    for every tile, and the limit of four bits.

    Attributes
    ----------
    rate_bits : a whole number of bits over the blocks of columns
    code, state_bits : as of `QTIP`
    row_rotation : of the outputs; None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists)
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"

    References
    ----------
    QTIP, arXiv 2406.11235; unequal rates: High-Rate Quantized Matrix Multiplication II, arXiv 2605.13768. Together: this project.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((32, 32)), np.diag(np.repeat([9.0, 1.0], 16)))
    >>> WaterfilledQTIP(rate_bits=2).quantize(layer).weight.symbols.bits.tolist()
    [3, 1]
    """

    code: TrellisCode = QTIP.code
    state_bits: int = QTIP.state_bits
    row_rotation: RotationChoice | None = "auto"

    #: Rows on which the scale is searched.
    sample_rows: ClassVar[int] = QTIP.sample_rows

    def __post_init__(self) -> None:
        QTIP(rate_bits=1, code=self.code, state_bits=self.state_bits)  # which refuses codes that there are no tables of
        super().__post_init__()

    def check_reachable(self, name: str) -> None:
        """Refuse a rate above the most bits of a tile; see `Quantizer.check_reachable`."""
        super().check_reachable(name)
        if self.rate_bits > MOST:
            raise RateUnreachable(f"{name}: {self.rate_bits:g} bits per weight cannot be reached: a tile has up to {MOST}; ask for these")

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(row_rotation=self.row_rotation, damping=self.damping)

    @property
    def operation(self) -> str:
        """Operation of `rdtools.ops` that decides the integers."""
        return "trellis_quantize"

    def _round(self, weight: Float64Array, factor: Float64Array, bits: Int64Array, scales: Float64Array) -> tuple[TilePaths, Float64Array]:
        """Paths of some rows of a padded problem, and the values that they stand for."""
        table = trellis_values(self.code, self.state_bits)
        down = len(weight) // TILE
        paths = [np.zeros((down, 2 * TILE * k), dtype=np.uint8) for k in bits.tolist()]

        def round_block(targets: Float64Array, first_column: int) -> Float64Array:
            tile = first_column // TILE
            k = int(bits[tile])
            if k == 0 or scales[k] == 0:
                return np.zeros_like(targets)
            tiles = (targets / scales[k]).astype(np.float32).reshape(down, TILE * TILE)
            states, values = trellis_quantize(tiles, table, k, backend=self.backend)
            paths[tile] = trellis_pack(states, table, k)
            return np.asarray(scales[k] * values.reshape(targets.shape))

        values = block_ldlq(weight, factor, TILE, round_block)
        return TilePaths(tuple(paths), bits.astype(np.uint8), self.code, self.state_bits, scales), np.asarray(values)

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        name, std = f"{problem.key.name}: {type(self).__name__}", problem.weight_std
        if std > 0:
            check_step(std, name)
        weight, factor = pad_problem(problem.target, problem.prepared_input.factor, TILE, TILE)
        starts = range(0, len(factor), TILE)
        traces = np.array([np.square(np.tril(factor[k : k + TILE, k : k + TILE])).sum() for k in starts])
        known = [TRELLIS_RMS[self.code, self.state_bits, k] for k in range(1, MOST + 1)]
        bits = (
            allot_bits(traces, (1.0, *(error for _, error in known)), self.rate_bits, name=name) if len(traces) else traces.astype(np.int64)
        )

        def scales(spread: float) -> Float64Array:
            return np.array([0.0, *(round_to_float32(spread * std / rms) for rms, _ in known)])

        spread = 1.0
        if std > 0:
            sample = strided_rows(weight, self.sample_rows, together=TILE)
            spread = 1.0 / search_scale(
                lambda rms: float(np.linalg.norm((sample - self._round(sample, factor, bits, scales(1.0 / rms))[1]) @ factor)), 1.0
            )
        parts = [self._round(weight[rows], factor, bits, scales(spread))[0] for rows in row_blocks(weight)]
        paths = tuple(np.concatenate(columns) for columns in zip(*(part.paths for part in parts), strict=True))
        rate = float(bits.mean() if len(bits) else 0.0) * math.prod(weight.shape) / max(math.prod(problem.target.shape), 1)
        return Solution(replace(parts[0], paths=paths), rate, NoErrorModel(reason="blocks of columns have rates of their own"))
