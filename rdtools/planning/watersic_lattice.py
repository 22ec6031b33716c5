"""Lattice-coded successive cancellation whose ridge and column order are those of least predicted distortion at the rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.planning.watersic_mmse import MmseWaterSIC
from rdtools.quantizers import LatticeSIC, SettledQuantizer
from rdtools.records import LatticeName
from rdtools.theory.mmse_plan import MmseSicPlan
from rdtools.theory.trellis_channel import trellis_channel


@dataclass(frozen=True, kw_only=True)
class LatticeWaterSIC(MmseWaterSIC):
    """`LatticeSIC` under ``H + μ I`` of ``W H (H + μ I)⁻¹``, as `MmseWaterSIC`: what `TrellisWaterSIC` is with fixed blocks of rows.

    The prediction is the covariance recursion of `rdtools.theory.finite_rate` with the channel of the lattice in place of a scalar one.

    Attributes
    ----------
    adaptive_columns : 0; symbol models of lattice points are not learnt
    lattice : "D4" or "E8"

    References
    ----------
    Derived for this project; see `LatticeSIC`.

    Examples
    --------
    >>> import numpy as np
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.diag(np.arange(1.0, 33.0)))
    >>> q = LatticeWaterSIC(rate_bits=1.5, lattice="D4").quantize(layer)
    >>> abs(q.symbol_rate_bits - 1.5) < 0.01
    True
    """

    lattice: LatticeName = LatticeSIC.lattice

    on_device: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adaptive_columns:
            raise UsageError(
                f"LatticeWaterSIC: adaptive_columns {self.adaptive_columns}, expected 0: symbol models of lattice points are not learnt; "
                "watersic-trellis+adaptive has learnt ones"
            )
        self._settled(None, 0.0)  # which refuses settings that cannot be

    @property
    def channel(self) -> Float64Array | None:
        """Channel of a column, as `rdtools.theory.mmse_plan.plan_mmse_sic` takes it."""
        return trellis_channel(self.lattice)

    def _settled(self, plan: MmseSicPlan | None, ridge: float) -> SettledQuantizer:
        """`LatticeSIC` with the order of a plan and a relative ridge; as it is without a plan."""
        unplanned = LatticeSIC(
            rate_bits=self.rate_bits,
            lattice=self.lattice,
            rotation=self.rotation,
            damping=self.damping,
            backend=self.backend,
            bias=self.bias,
        )
        return unplanned if plan is None else replace(unplanned, order=plan.order_name, ridge=ridge)
