"""GPTQ: successive cancellation with equal steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rdtools.arrays import as_dtype
from rdtools.errors import UsageError
from rdtools.quantizers.methods.row_grids import RowGridQuantizer
from rdtools.quantizers.methods.scalar import EntropyCoded, Feedback
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.groups import Fit, GroupedIntegers, sweep_groups
from rdtools.quantizers.settings import check_choice
from rdtools.records import CodeModelKind

#: Orders in which the columns of a group are decided together.
_GROUPED_ORDERS = ("natural", "reversed")


@dataclass(frozen=True, kw_only=True)
class GPTQ(Feedback, RowGridQuantizer):
    """Round columns one after another on grids of rows, each against the error that the columns before it left.

    The SIC recursion of `rdtools.kernels.sic_sweep_reference` with ``α_i = α``. Columns are decided from the last to the first; the
    textbook's first-to-last order is "reversed". Integers are clamped to the grid and the error of clamping is fed back like any other.

    High-rate distortion: ``(1/12 n) Σ_i ℓ_ii² mean_k s_k²`` with the step s_k that row k has in column i.

    Attributes
    ----------
    groups : "static", scales from the weights, or "dynamic", from the targets of a group when it is its turn, which feedback has made
        wider; this needs the order "natural" or "reversed". Static groups go with any order, some slower than these two

    References
    ----------
    Frantar et al., GPTQ, arXiv 2210.17323. Equivalence with SIC: Chen et al., arXiv 2507.18553, Theorem 4.

    Examples
    --------
    >>> import numpy as np
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32) + 0.5)
    >>> q = GPTQ(rate_bits=2).quantize(layer)
    >>> int(q.weight.symbols.integers.min()), int(q.weight.symbols.integers.max()), q.symbol_rate_bits
    (-2, 1, 2.0)
    >>> GPTQ(rate_bits=2, group_size=16, grid="asymmetric").quantize(layer).weight.symbols.grid.rows.scales.shape
    (64, 2)
    """

    groups: Literal["static", "dynamic"] = "static"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("groups", self.groups, ("static", "dynamic"))
        if self.groups == "dynamic" and self.group_size is None:
            raise UsageError("groups='dynamic' with group_size=None: there is no group to start; expected a group_size such as 128")
        if self.groups == "dynamic" and self.order not in _GROUPED_ORDERS:
            raise UsageError(
                f"groups='dynamic' with order={self.order!r}: it does not decide the columns of a group together; expected "
                f"groups='static', or order {' or '.join(map(repr, _GROUPED_ORDERS))}"
            )

    @property
    def calls_kernels(self) -> bool:
        """False where groups meet an order that does not decide their columns together."""
        return self.group_size is None or self.order in _GROUPED_ORDERS

    def _group_integers(self, problem: Problem, group_size: int, fit: Fit) -> GroupedIntegers:
        shared = problem.prepared_input
        return sweep_groups(
            as_dtype(problem.target, self.precision),
            shared.factor,
            shared.order,
            group_size,
            fit,
            dynamic=self.groups == "dynamic",
            backend=self.backend,
        )


@dataclass(frozen=True, kw_only=True)
class HPTQ(Feedback, EntropyCoded):
    """Huffman-GPTQ: GPTQ's recursion with one step for the whole matrix, nothing clamped, and entropy-coded integers.

    High-rate distortion: ``α²/12 · Σ ℓ_ii²/n``; see `rdtools.theory.sic`.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32) + 0.5)
    >>> abs(HPTQ(rate_bits=2.5).quantize(layer).symbol_rate_bits - 2.5) < 0.01
    True
    """

    coding: CodeModelKind = "shared"
