"""QTIP: both sides rotated, trellis-coded tiles of 16 × 16 weights, block LDLQ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from rdtools.arrays import Matrix, as_dtype, beside, on_host
from rdtools.coding import TILE
from rdtools.errors import UsageError
from rdtools.ops import trellis_pack, trellis_quantize, trellis_values
from rdtools.quantizers.methods.vector import BlockMoment, Rounded, VectorQuantizer
from rdtools.quantizers.rounding.block_ldlq import block_ldlq
from rdtools.records import TrellisCode, TrellisPaths

#: (code, L, k) → the input rms of least error, in units of the table, and the relative error there, of tail-biting sequences of 256
#: standard normal numbers: `rdtools.analysis.trellis_rms` finds the rms on 1024 sequences for L = 12 and 256 for L = 16, the errors on
#: 8192 and 2048 others, with standard errors of at most 0.3 %. One code's rms is not another's: they scale their states differently.
TRELLIS_RMS: dict[tuple[str, int, int], tuple[float, float]] = {
    ("1mad", 12, 1): (1.14, 0.2796),
    ("1mad", 12, 2): (0.97, 0.07451),
    ("1mad", 12, 3): (0.92, 0.01930),
    ("1mad", 12, 4): (0.87, 0.005008),
    ("1mad", 16, 1): (1.13, 0.2687),
    ("1mad", 16, 2): (0.98, 0.06881),
    ("1mad", 16, 3): (0.94, 0.01758),
    ("1mad", 16, 4): (0.92, 0.004528),
    ("3inst", 12, 1): (1.41, 0.2738),
    ("3inst", 12, 2): (1.21, 0.07309),
    ("3inst", 12, 3): (1.14, 0.01946),
    ("3inst", 12, 4): (1.07, 0.005286),
    ("3inst", 16, 1): (1.43, 0.2665),
    ("3inst", 16, 2): (1.23, 0.06882),
    ("3inst", 16, 3): (1.17, 0.01776),
    ("3inst", 16, 4): (1.13, 0.004621),
    ("hyb", 12, 1): (1.11, 0.2748),
    ("hyb", 12, 2): (0.94, 0.07481),
    ("hyb", 12, 3): (0.86, 0.02106),
    ("hyb", 12, 4): (0.79, 0.006579),
    ("hyb", 16, 1): (1.1, 0.2686),
    ("hyb", 16, 2): (0.96, 0.07052),
    ("hyb", 16, 3): (0.87, 0.01900),
    ("hyb", 16, 4): (0.77, 0.005575),
}

#: What the published scale brings weights to, relative to the root mean square of the code's values.
PUBLISHED_RMS = 0.9


@dataclass(frozen=True, kw_only=True)
class QTIP(VectorQuantizer):
    """Block LDLQ whose blocks of 16 columns are coded in tiles of 16 × 16 weights by tail-biting paths through a bitshift trellis.

    A path of 256 weights takes 256 k bits, and the values of its states are computed from their bits. Rows and columns that 16
    does not divide are filled up with zeros, whose codes are counted. Time and memory grow with 2^L.

    Distortion: ``MSE · σ² tr(D)/n`` with D of the block factorization; see `rdtools.theory.ldlq.block_trace`.

    Attributes
    ----------
    code : "1mad", "3inst" or "hyb"
    state_bits : L, 12 or 16

    References
    ----------
    QTIP, arXiv 2406.11235, sections 3 and 4; without fine-tuning.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((32, 32)), np.eye(32) + 0.5)
    >>> q = QTIP(rate_bits=2).quantize(layer)
    >>> q.weight.symbols.paths.shape, q.symbol_rate_bits
    ((4, 64), 2.0)
    """

    code: TrellisCode = "3inst"
    state_bits: int = 12

    block: ClassVar[int] = TILE
    row_block: ClassVar[int] = TILE
    sample_rows: ClassVar[int] = 64
    rates: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.code, self.state_bits, 1) not in TRELLIS_RMS:
            known = sorted({(code, states) for code, states, _ in TRELLIS_RMS})
            raise UsageError(
                f"QTIP: code {self.code!r} with {self.state_bits} state bits: expected one of "
                f"{', '.join(f'{code} with {states}' for code, states in known)}"
            )

    @classmethod
    def published(cls, rate_bits: float, **others: Any) -> QTIP:
        """The method of the paper: 16 state bits, a fixed scale, damping 0.01; `others` in place of these."""
        published: dict[str, Any] = {"scale": "published", "state_bits": 16, "damping": 0.01}
        return cls(rate_bits=rate_bits, **(published | others))

    @property
    def operation(self) -> str:
        """Operation of `rdtools.ops` that decides the integers."""
        return "trellis_quantize"

    @property
    def error(self) -> float:
        """Mean squared error on normal weights of mean square 1."""
        return TRELLIS_RMS[self.code, self.state_bits, self.bits][1]

    @property
    def _input_rms(self) -> float:
        if self.scale == "published":
            return PUBLISHED_RMS * float(np.sqrt(np.mean(trellis_values(self.code, self.state_bits) ** 2)))
        return TRELLIS_RMS[self.code, self.state_bits, self.bits][0]

    def _round(self, weight: Matrix, factor: Matrix, moment: BlockMoment | None, scale: float) -> Rounded:
        table = trellis_values(self.code, self.state_bits)
        table_on_device = beside(table, weight)
        tile_rows, tile_columns = (k // TILE for k in weight.shape)
        paths = np.zeros((tile_rows, tile_columns, TILE * TILE * self.bits // 8), dtype=np.uint8)

        def round_block(targets: Matrix, first_column: int) -> Matrix:
            # 16 columns of 16 rows: a tile is contiguous
            tiles = as_dtype(targets, "float32").reshape(tile_rows, TILE * TILE)
            states, values = trellis_quantize(tiles, table_on_device, self.bits, backend=self.backend)
            paths[:, first_column // TILE] = trellis_pack(on_host(states), table, self.bits)
            return values.reshape(targets.shape)

        values = block_ldlq(weight / (scale or 1.0), factor, TILE, round_block)
        symbols = TrellisPaths(paths.reshape(tile_rows * tile_columns, paths.shape[2]), self.code, self.state_bits, self.bits, scale)
        return [(symbols, scale * values)]

    @staticmethod
    def _joined(parts: list[TrellisPaths]) -> TrellisPaths:
        return replace(parts[0], paths=np.concatenate([part.paths for part in parts]))
