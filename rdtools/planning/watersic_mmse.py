"""Settings that theory chooses: quantizers with what they leave open filled in by prediction, never by trial on the weights."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import NotPositiveSemidefinite
from rdtools.linalg import DAMPING_LADDER
from rdtools.moments.layer import Layer
from rdtools.moments.spectrum import spectrum_of
from rdtools.quantizers import LATER, Quantizer, SettledQuantizer, WaterSIC, check_adaptive_columns, check_rotation, input_rotation
from rdtools.records import Hessian
from rdtools.theory.mmse_plan import MmseSicPlan, plan_mmse_sic
from rdtools.transforms import RotationChoice, rotate_moment
from rdtools.transforms.orders import natural, reversed_act_order

#: Plans by Hessian, rate and basis: layers that share an input share its plan, which does not depend on the scale of the weights.
_plans: WeakKeyDictionary[Hessian, dict[tuple[Hashable, ...], MmseSicPlan]] = WeakKeyDictionary()


def _plan(
    moment: Float64Array, rate_bits: float, eigenvalues: Float64Array, damping: float | None, channel: Float64Array | None
) -> MmseSicPlan:
    """The plan for H with the damping asked for, or the least of the ladder with which H plus a ridge is not singular."""
    orders = {"reversed-act-order": reversed_act_order(moment), "natural": natural(moment)}
    mean_diagonal = float(np.mean(np.diagonal(moment)))
    ladder = (0.0, *DAMPING_LADDER) if damping is None else (damping,)
    for delta in ladder:
        damped = moment + delta * mean_diagonal * np.eye(len(moment)) if delta else moment
        try:
            return plan_mmse_sic(damped, 1.0, rate_bits, orders=orders, eigenvalues=eigenvalues + delta * mean_diagonal, channel=channel)
        except NotPositiveSemidefinite:
            if delta == ladder[-1]:
                raise
    raise AssertionError("a ladder has a last step")


@dataclass(frozen=True, kw_only=True)
class MmseWaterSIC(Quantizer):
    """WaterSIC whose ridge and column order are those of least predicted distortion at the rate.

    Successive cancellation under ``H + μ I`` of ``W H (H + μ I)⁻¹``; see `rdtools.theory.mmse_plan`. At high rate it is WaterSIC. Below
    about three bits, where WaterSIC's cancellation spends bits on directions that cannot repay them, it stays within 0.3 bit of the limit
    for independent normal weights on the Hessians that were tried; trained weights are further from it, as with any method. It costs no
    side information beyond WaterSIC's steps. The plan takes weights to be of one variance: an outlier of many standard deviations is shrunk
    by the retarget like any other weight, where WaterSIC would spend a long code on it.

    Attributes
    ----------
    rate_bits : target rate of the integers in bits per active weight
    rotation : None, "hadamard", "haar", "kronecker", or "auto"
    damping : relative to the mean diagonal; None for none unless H with its ridge is singular
    backend : None, "numba" or "reference"
    adaptive_columns : columns in a group whose Gaussian models the decoder learns from the rows that it has, where that is shorter; 0 for
        models that are not learnt
    one_file : whether layers of one input go into one file where that is smaller; see `rdtools.measure.point.coded`
    bias : whether a bias of 16 bits per row takes the mean of the output error away; plan and integers are then for the covariance of the
        input in place of H

    References
    ----------
    Derived for this project, from WaterSIC, arXiv 2603.04956 v1, Algorithm 2.

    Examples
    --------
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.diag(np.arange(1.0, 33.0)))
    >>> q = MmseWaterSIC(rate_bits=1.5).quantize(layer)
    >>> abs(q.symbol_rate_bits - 1.5) < 0.01
    True
    """

    rotation: RotationChoice | None = None
    adaptive_columns: int = 0
    one_file: bool = field(default=False, metadata=LATER)
    bias: bool = field(default=False, metadata=LATER)

    on_device: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_adaptive_columns(type(self).__name__, self.adaptive_columns)
        check_rotation(self.rotation)

    @property
    def channel(self) -> Float64Array | None:
        """Channel of a column, as `rdtools.theory.mmse_plan.plan_mmse_sic` takes it."""
        return None

    def plan(self, layer: Layer, *, seed: int = 0) -> MmseSicPlan:
        """Ridge, order and prediction for weights of mean square 1."""
        rotation = input_rotation(self.rotation, layer.hessian.name, layer.key.type, int(layer.active.sum()), seed=seed)
        known = _plans.setdefault(layer.hessian, {})
        channel = self.channel
        key = (self.rate_bits, rotation, self.damping, None if channel is None else channel.tobytes())
        if key not in known:
            moment = layer.hessian.matrix
            moment = moment if layer.active.all() else moment[np.ix_(layer.active, layer.active)]
            if rotation is not None:
                moment = rotate_moment(moment, rotation)
            known[key] = _plan(moment, self.rate_bits, spectrum_of(layer.hessian).needed_eigenvalues(), self.damping, channel)
        return known[key]

    @staticmethod
    def relative_ridge(plan: MmseSicPlan, layer: Layer) -> float:
        """The ridge of a plan relative to the mean diagonal of H."""
        return plan.ridge / float(np.mean(np.diagonal(layer.hessian.matrix)[layer.active]))

    def for_layer(self, layer: Layer, *, seed: int = 0) -> SettledQuantizer:
        """The method that the plan asks for."""
        layer = layer.centred if self.bias else layer
        if not layer.active.any():
            return self._settled(None, 0.0)
        plan = self.plan(layer, seed=seed)
        return self._settled(plan, self.relative_ridge(plan, layer))

    def _settled(self, plan: MmseSicPlan | None, ridge: float) -> SettledQuantizer:
        """WaterSIC with the order of a plan and a relative ridge; as it is without a plan."""
        unplanned = WaterSIC(
            rate_bits=self.rate_bits,
            rotation=self.rotation,
            damping=self.damping,
            backend=self.backend,
            adaptive_columns=self.adaptive_columns,
            bias=self.bias,
        )
        if plan is None:
            return unplanned
        return replace(unplanned, order=plan.order_name, ridge=ridge, lmmse=bool((plan.gains != 1).any()))
