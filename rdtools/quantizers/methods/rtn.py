"""Rounding to nearest."""

from __future__ import annotations

from dataclasses import dataclass

from rdtools.quantizers.methods.row_grids import RowGridQuantizer
from rdtools.quantizers.methods.scalar import EntropyCoded
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.groups import Fit, GroupedIntegers, round_groups
from rdtools.records import CodeModelKind


@dataclass(frozen=True, kw_only=True)
class RTN(RowGridQuantizer):
    """Round every weight to the nearest level of its row's grid, blind to the Hessian.

    Examples
    --------
    >>> import numpy as np
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32))
    >>> RTN(rate_bits=3).quantize(layer).symbol_rate_bits
    3.0
    """

    def _group_integers(self, problem: Problem, group_size: int, fit: Fit) -> GroupedIntegers:
        return round_groups(problem.target, group_size, fit)


@dataclass(frozen=True, kw_only=True)
class HRTN(EntropyCoded):
    """Round every weight to the nearest multiple of one step, blind to the Hessian, and entropy-code the integers.

    High-rate distortion: ``Δ²/12 · tr(H)/n``; see `rdtools.theory.sic`.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 3 (with α_i = α and no feedback).

    Examples
    --------
    >>> import numpy as np
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32))
    >>> abs(HRTN(rate_bits=3).quantize(layer).symbol_rate_bits - 3) < 0.01
    True
    """

    coding: CodeModelKind = "shared"
