"""QuIP#: both sides rotated, E8P lattice words and their residuals, block LDLQ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Matrix, as_dtype, on_host
from rdtools.coding import round_to_float32
from rdtools.errors import UsageError
from rdtools.ops import rvq_nearest
from rdtools.ops.e8p_residual import RESIDUAL_SCALES
from rdtools.quantizers.methods.vector import BlockMoment, Rounded, VectorQuantizer
from rdtools.quantizers.rounding.block_ldlq import block_ldlq, refine_blocks
from rdtools.records import LatticeWords

#: By bits, the root mean square to which normal weights are brought for the least squared error, and that error relative to their
#: variance, found by search. It is flat there: 1 % costs less than 0.3 %.
INPUT_SCALES = {2: 1.03, 3: 0.984, 4: 0.892}
INPUT_ERRORS = {2: 0.0913, 3: 0.0295, 4: 0.00833}
#: Root mean square of the input and scale of the residual, by bits, as published; the latter costs 15 % at 4 bits.
PUBLISHED_SCALES = {2: (0.9, 1.0), 3: (0.98, 2.04), 4: (1.03, 3.45)}


@dataclass(frozen=True, kw_only=True)
class QuIPSharp(VectorQuantizer):
    """Block LDLQ with the E8P codebook, eight columns of a row at a time.

    Weights are rotated on both sides and brought to one root mean square. 2 bits: the nearest E8P word; 3 and 4 bits: a second stage for
    what the first leaves. Refinement passes then round each block anew with the others fixed. A number of columns that eight does not
    divide is filled up with zeros, whose codes are counted.

    Distortion: ``MSE · σ² tr(D)/n`` with D of the block factorization; see `rdtools.theory.ldlq.block_trace`.

    Attributes
    ----------
    passes : of refinement, at most
    undo : take the passes back where they raise the loss

    References
    ----------
    QuIP#, arXiv 2402.04396 v2, sections 3 and 4; scales and passes as published, without fine-tuning.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32) + 0.5)
    >>> q = QuIPSharp(rate_bits=2).quantize(layer)
    >>> q.weight.symbols.words[0].shape, q.symbol_rate_bits
    ((64, 4), 2.0)
    """

    passes: int = 10
    undo: bool = True

    block: ClassVar[int] = 8
    rates: ClassVar[tuple[int, ...]] = (2, 3, 4)

    @classmethod
    def published(cls, rate_bits: float, **others: Any) -> QuIPSharp:
        """The method of the paper: fixed scales, damping 0.01, passes kept whatever they do; `others` in place of these."""
        published: dict[str, Any] = {"scale": "published", "undo": False, "damping": 0.01}
        return cls(rate_bits=rate_bits, **(published | others))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passes < 0:
            raise UsageError(f"QuIPSharp: {self.passes} passes, expected at least 0")

    @property
    def operation(self) -> str:
        """Operation of `rdtools.ops` that decides the integers."""
        return "e8p_nearest"

    @property
    def error(self) -> float:
        """Mean squared error on normal weights of mean square 1."""
        return INPUT_ERRORS[self.bits]

    @property
    def _input_rms(self) -> float:
        return PUBLISHED_SCALES[self.bits][0] if self.scale == "published" else INPUT_SCALES[self.bits]

    @property
    def _refines(self) -> bool:
        return self.passes > 0

    @property
    def _trial(self) -> QuIPSharp:
        return replace(self, passes=min(self.passes, 2))  # further passes hardly move the best scale

    def _round(self, weight: Matrix, factor: Matrix, moment: BlockMoment | None, scale: float) -> Rounded:
        best = RESIDUAL_SCALES.get(self.bits, 1.0)
        residual_scale = round_to_float32(PUBLISHED_SCALES[self.bits][1] if self.scale == "published" else best)
        m, n = weight.shape
        words = [np.zeros((m, n // 8), dtype=np.uint16) for _ in range(1 if self.bits == 2 else 2)]
        rows: NDArray[np.intp] | slice = slice(None)

        def narrowed(some: NDArray[np.intp]) -> None:
            nonlocal rows
            rows = some

        def round_block(targets: Matrix, first_column: int) -> Matrix:
            integers, values = rvq_nearest(as_dtype(targets, "float32"), self.bits, residual_scale, backend=self.backend)
            for stage, code in zip(words, integers, strict=True):
                stage[rows, first_column // 8] = on_host(code)
            return values

        # in units of the codebook, whose words float32 holds exactly; feedback in float64, because after the rotation one massive channel
        # is in every entry of H
        x = weight / (scale or 1.0)

        def chosen(values: Matrix) -> tuple[LatticeWords, Matrix]:
            codes = tuple(stage.copy() for stage in words)
            return LatticeWords(codes, self.bits, scale, 0.0 if self.bits == 2 else residual_scale), scale * values

        values = block_ldlq(x, factor, self.block, round_block)
        # with small errors the nearest word is far from the one of least loss, and passes do harm
        choices: Rounded = [chosen(values)] if moment is None or self.undo else []
        if moment is not None:
            refined = refine_blocks(
                x, moment.matrix, values, self.block, round_block, self.passes, overwrite=True, factors=moment.factors, narrowed=narrowed
            )
            choices.append(chosen(refined))
        return choices

    @staticmethod
    def _joined(parts: list[LatticeWords]) -> LatticeWords:
        return replace(parts[0], words=tuple(map(np.concatenate, zip(*(part.words for part in parts), strict=True))))
