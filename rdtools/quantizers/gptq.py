"""GPTQ: successive cancellation with equal steps."""

from __future__ import annotations

from dataclasses import dataclass

from rdtools.quantizers.base import ScalarQuantizer
from rdtools.quantizers.grid import entropy_coded, fixed_rate
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rate_search import Candidate
from rdtools.quantizers.sweep import sic_rounding
from rdtools.records import CodeModelKind, QuantizedWeight


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
    >>> int(q.weight.codes.min()), int(q.weight.codes.max()), q.code_rate_bits
    (-2, 1, 2.0)
    """

    coding: CodeModelKind = "shared"

    @property
    def base_name(self) -> str:
        """gptq, gptq-int (fixed rate) or gptq-column."""
        return {"fixed": "gptq-int", "shared": "gptq", "column": "gptq-column"}[self.coding]

    def solve(self, problem: Problem) -> Candidate[QuantizedWeight]:
        """Sweep the columns."""
        name = f"{problem.key.name}: {self.method}"
        rounding = sic_rounding(problem.factor, self.backend)
        if self.coding == "fixed":
            return fixed_rate(problem, rounding, rate_bits=self.rate_bits, name=name)
        return entropy_coded(
            problem,
            rounding,
            rate_bits=self.rate_bits,
            coding=self.coding,
            relative_steps=None,
            shrink=False,
            name=name,
        )
