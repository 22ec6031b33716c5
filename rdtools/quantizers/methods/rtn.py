"""Rounding to nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.quantizers.grids.absmax import Rounding
from rdtools.quantizers.methods.row_grids import RowGridQuantizer
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.groups import Fit, GroupedCodes, round_groups
from rdtools.records import CodeModelKind

Float64Array = NDArray[np.float64]


def _round(
    weight: Float64Array, steps: Float64Array, gains: Float64Array, offset: float, code_min: int, code_max: int
) -> NDArray[np.int32]:
    return np.clip(np.rint(weight / steps - offset), code_min, code_max).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class RTN(RowGridQuantizer):
    """Round every weight to the nearest point of a uniform grid, blind to the Hessian.

    ``z = rint(w/Δ)``. With coding "fixed" the grid is per row and absmax, ``Δ_k = 2 max|w_k| / K``, unless its settings say otherwise;
    with "shared" or "column" one step Δ serves the whole matrix and the codes are entropy-coded.

    High-rate distortion: ``Δ²/12 · tr(H)/n``; see `rdtools.theory.sic`.

    References
    ----------
    Fixed-rate loss: rdtools.theory.sic.absmax_distortion. Entropy-coded: WaterSIC, arXiv 2603.04956 v1, section 3 (with α_i = α
    and no feedback).

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32))
    >>> q = RTN(rate_bits=3).quantize(layer)
    >>> abs(q.code_rate_bits - 3) < 0.01
    True
    """

    coding: CodeModelKind = "shared"

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`, which needs no factor."""
        return Preparation(rotation=super().preparation.rotation, factor=False)

    @property
    def calls_kernels(self) -> bool:
        """False: NumPy rounds."""
        return False

    @property
    def base_name(self) -> str:
        """rtn, rtn-int (fixed rate), with -g and the group size, -asym and -mse, rtn-column or rtn-histogram."""
        return {"fixed": "rtn-int" + self._grid_suffix, "shared": "rtn"}.get(self.coding, f"rtn-{self.coding}")

    def _rounding(self, problem: Problem) -> Rounding:
        return _round

    def _group_codes(self, problem: Problem, group_size: int, fit: Fit) -> GroupedCodes:
        return round_groups(problem.target, group_size, fit)
