"""WaterSIC: successive cancellation with steps inverse to the Cholesky diagonal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import UsageError
from rdtools.quantizers.base import ScalarQuantizer
from rdtools.quantizers.grid import Rounding
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.sweep import sic_rounding
from rdtools.records import CodeModelKind


@dataclass(frozen=True, kw_only=True)
class WaterSIC(ScalarQuantizer):
    """Successive cancellation with ``α_i = c/ℓ_ii``, so that every column contributes the same distortion.

    The column steps are stored, on a grid of eighths of an octave in one byte each. With coding "column" the decoder derives each
    column's entropy model from its step, a normal law of deviation σ/α_i, so that unequal column entropies cost nothing; with "shared"
    all codes go into one histogram, as in the published implementations.

    High-rate distortion: ``c²/12`` at ½ log2(2πe/12) = 0.2546 bit above the limit, in any basis; see `rdtools.theory.sic`.

    Attributes
    ----------
    lmmse : reconstruct column i as ``γ_i α_i z_i`` with the gain of linear estimation for a normal input of deviation σ, and feed
        the error of that back. γ_i is a function of α_i/σ alone, so it needs no side information.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Algorithm 2 (PlainWaterSIC) and section 4 (LMMSE). The published LMMSE gain is a sample mean over
    rows; this one is its value for a normal law.

    Examples
    --------
    >>> from rdtools.hessians.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.diag(np.arange(1.0, 33.0)))
    >>> q = WaterSIC(rate_bits=2.5).quantize(layer)
    >>> abs(q.code_rate_bits - 2.5) < 0.01
    True
    """

    coding: CodeModelKind = "column"
    lmmse: bool = False
    ridge: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ridge < float("inf"):
            raise UsageError(f"ridge {self.ridge}: expected a finite number of at least 0, relative to the mean diagonal")

    @staticmethod
    def _codings() -> tuple[CodeModelKind, ...]:
        return ("shared", "column", "histogram")

    @property
    def base_name(self) -> str:
        """watersic, with -mmse (a ridge), -lmmse, and -shared or -histogram."""
        return "watersic" + "-mmse" * (self.ridge > 0) + "-lmmse" * self.lmmse + ("" if self.coding == "column" else f"-{self.coding}")

    def _rounding(self, problem: Problem) -> Rounding:
        return sic_rounding(problem, self.backend, self.precision)

    def relative_steps(self, problem: Problem) -> NDArray[np.float64]:
        """``1/ℓ_ii``."""
        return np.asarray(1.0 / np.sqrt(problem.noise_gains))

    @property
    def _ridge(self) -> float:
        return self.ridge

    @property
    def _shrinks(self) -> bool:
        return self.lmmse
