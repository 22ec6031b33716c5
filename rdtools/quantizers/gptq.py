"""GPTQ: successive cancellation with equal steps."""

from __future__ import annotations

from dataclasses import dataclass

from rdtools.quantizers.base import ScalarQuantizer
from rdtools.quantizers.grid import Rounding
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.sweep import sic_rounding
from rdtools.records import CodeModelKind


@dataclass(frozen=True, kw_only=True)
class GPTQ(ScalarQuantizer):
    """Round columns one after another, each against the error that the columns before it left.

    The SIC recursion of `rdtools.kernels.sic_sweep_reference` with ``α_i = α``. Columns are decided from the last to the first; the
    textbook's first-to-last order is the same algorithm on reversed columns. With coding "fixed" the grid is per row and absmax,
    codes are clamped to it and the error of clamping is fed back like any other; with "shared" or "column" one step serves the
    whole matrix, nothing is clamped and the codes are entropy-coded (Huffman-GPTQ).

    High-rate distortion: ``α²/12 · Σ ℓ_ii²/n``; see `rdtools.theory.sic`.

    References
    ----------
    Frantar et al., GPTQ, arXiv 2210.17323. Equivalence with SIC: Chen et al., arXiv 2507.18553, Theorem 4. Entropy-coded form:
    WaterSIC, arXiv 2603.04956 v1, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from rdtools.hessians.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32) + 0.5)
    >>> q = GPTQ(rate_bits=2, coding="fixed").quantize(layer)
    >>> int(q.weight.codes.integers.min()), int(q.weight.codes.integers.max()), q.code_rate_bits
    (-2, 1, 2.0)
    """

    coding: CodeModelKind = "shared"

    @property
    def base_name(self) -> str:
        """gptq, gptq-int (fixed rate), gptq-column or gptq-histogram."""
        return {"fixed": "gptq-int", "shared": "gptq"}.get(self.coding, f"gptq-{self.coding}")

    def _rounding(self, problem: Problem) -> Rounding:
        return sic_rounding(problem, self.backend, self.precision)
