"""Settings of a preparation: everything that decides what a quantizer works on, and the key under which its result is shared."""

from __future__ import annotations

from dataclasses import dataclass

from rdtools.errors import UsageError
from rdtools.quantizers.settings import check_damping, check_rotation
from rdtools.records import InputMoments
from rdtools.transforms import RotationChoice
from rdtools.transforms.orders import ORDERS


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Arguments of `rdtools.quantizers.problem.prepare` apart from the layer and the seed; equal preparations give equal problems.

    Attributes
    ----------
    rotation : None for the unrotated basis; "auto" takes a randomized Hadamard matrix where one exists, else Haar, and "inner" does so
        for the inputs of `rdtools.quantizers.problem.INNER_TYPES` alone
    damping : relative to the mean diagonal; None for none unless H is singular, see `rdtools.linalg.cholesky`
    order : in which columns are decided, a name in `rdtools.transforms.orders.ORDERS`
    ridge : penalty μ of the reconstruction's energy, relative to the mean diagonal
    row_rotation : of the outputs, which leaves H alone; as `rotation`
    rescale : bring columns to the scales of `rdtools.quantizers.grids.balance.balancing_scales` first
    dead_threshold : columns whose input has less than this share of the median energy are dropped too, and what they have in common with
        the others is added to the target; None for none but those that are always zero
    drift : moments of the inputs that the layer has, if they are not those that the weights were made for; μ, damping and the order of
        columns are then by them. Two drifts are equal only if they are the same object
    factor : True if the Hessian is looked at; False gives a problem without a factor
    row_steps : (m,) the weights are divided by, row by row, before anything else; None for none
    centred : True for the covariance of the input in place of H, which is what is left beside a bias per row; see `Layer.centred`

    Raises
    ------
    UsageError
        For a setting that cannot be meant, and for a drift, or columns dropped, without a factor. For a drift of a centred input.

    Examples
    --------
    >>> Preparation(damping=0.01) == Preparation(damping=0.01, order="natural")
    True
    """

    rotation: RotationChoice | None = None
    damping: float | None = None
    order: str = "natural"
    ridge: float = 0.0
    row_rotation: RotationChoice | None = None
    rescale: bool = False
    dead_threshold: float | None = None
    drift: InputMoments | None = None
    factor: bool = True
    row_steps: tuple[float, ...] | None = None
    centred: bool = False

    def __post_init__(self) -> None:
        check_rotation(self.rotation)
        check_rotation(self.row_rotation, "row_rotation")
        check_damping(self.damping)
        if self.order not in ORDERS:
            raise UsageError(f"order {self.order!r}: expected one of {', '.join(ORDERS)}")
        if not 0 <= self.ridge < float("inf"):
            raise UsageError(f"ridge {self.ridge}: expected a finite number of at least 0, relative to the mean diagonal")
        if self.dead_threshold is not None and not 0 <= self.dead_threshold <= 1:
            raise UsageError(
                f"dead_threshold {self.dead_threshold}: expected None or a share of the median energy from 0 to 1, such as 1e-3"
            )
        if not self.factor and not (self.drift is None and self.dead_threshold is None):
            raise UsageError("drift and dead_threshold change the target by way of the Hessian; expected a method that uses it")

        if self.row_steps is not None and not (self.drift is None and self.row_rotation is None and self.dead_threshold is None):
            raise UsageError("row_steps beside a drift, dropped columns or a rotation of the outputs; expected none of these")
        if self.centred and self.drift is not None:
            raise UsageError("drift beside a bias per row: the mean of the drifted input is not known; choose a method without +bias")

    @property
    def per_layer(self) -> bool:
        """True if the weights are looked at, so that even layers of one input share nothing."""
        return self.rescale
