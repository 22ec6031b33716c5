"""PCA split: the subspace in which inputs have most variance is kept in more bits, weights and activations alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array
from rdtools.errors import RateUnreachable, UsageError
from rdtools.moments.layer import Layer
from rdtools.quantizers.activations import ActivationQuantizer, basis_map, heard_moment
from rdtools.quantizers.base import Solution
from rdtools.quantizers.grids.widths import MAX_WIDTH
from rdtools.quantizers.methods.gptq import GPTQ
from rdtools.quantizers.methods.waterfilled_gptq import fixed_widths
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.prepared_input import prepare_input
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.settings import is_number
from rdtools.records import ActivationGrid, ActivationMoments, InputMap, LayerParts
from rdtools.records.error_models import NoErrorModel
from rdtools.seeds import rotation_seed
from rdtools.transforms import RotationChoice, new_rotation, rotate
from rdtools.transforms.links import Principal


@dataclass(frozen=True, kw_only=True)
class PCASplit(ActivationQuantizer):
    """``y = Ŵ Q(T x)``: T rotates x and turns it so that the first k channels span the leading eigenvectors of E[x xᵀ].

    These k channels have a grid of their own in every token, and their columns of Ŵ more bits; the others have neither the range nor the
    variance of what was taken out. Coordinates within the subspace are mixed by a rotation. Weights are rounded by GPTQ behind T, with a
    whole number of bits for each column on the best uniform grid for normal weights, scaled by row; see `WaterfilledGPTQ`.

    The k axes are stored, and counted in `total_bpw`: about 16 k/m bits per weight of a layer of m rows; QUAD and ResQ fuse their turn of
    the residual stream into the layers before. The wider columns add ``(fine_bits − weight_bits) k/n``.

    Attributes
    ----------
    rate_bits : of the integers of the other columns, must be `weight_bits`
    weight_bits : b_w, 1 to 8
    share : k as a share of the active inputs, rounded, at least one and less than all
    fine_bits : of activations and weights of the subspace, 2 to 8
    rotation : before the turn; None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists, else Haar; the row says which)
    activation_bits, activation_grid, activation_clip, activation_group : of the other channels; see `ActivationQuantizer`
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"

    References
    ----------
    ResQ, arXiv 2412.14363; QUAD, arXiv 2503.19353, whose subspace is in 16 bits. Both rotate each part; a Hadamard matrix before the turn
    does that here.
    """

    weight_bits: int = 4
    share: float = 0.125
    fine_bits: int = 8
    rotation: RotationChoice | None = "auto"

    extends_map: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, least in (("weight_bits", self.weight_bits, 1), ("fine_bits", self.fine_bits, 2)):
            if not (isinstance(value, int) and least <= value <= MAX_WIDTH):
                raise UsageError(f"PCASplit: {name} {value!r}, expected a whole number from {least} to {MAX_WIDTH}")
        if not (is_number(self.share) and 0 < self.share < 1):
            raise UsageError(f"PCASplit: share {self.share!r} of the inputs, expected above 0 and below 1")
        if self.activation_bits is None:
            raise UsageError("PCASplit: activation_bits None, expected 2 to 16 bits: it is a split of activations that are quantized")

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(rotation=self.rotation, damping=self.damping)

    @property
    def calls_kernels(self) -> bool:
        """False: columns of unequal bits are decided one by one in NumPy."""
        return False

    def check_reachable(self, name: str) -> None:
        """Refuse a rate other than the bits of most weights; see `Quantizer.check_reachable`."""
        if self.rate_bits != self.weight_bits:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: most of its weights have {self.weight_bits}; ask for that, "
                "or for another weight_bits"
            )

    def map_key(self, *, seed: int) -> str:
        """The share and the rotation, and the seed; see `ActivationQuantizer`."""
        return f"principal {self.share!r} of rotation {self.rotation} of seed {seed}, {self.fine_bits} bits"

    def grid_behind(self, input_map: InputMap) -> ActivationGrid:
        """The grid with its fine channels; see `ActivationQuantizer`."""
        last = input_map.links[-1] if input_map.links else None
        fine = last.channels if isinstance(last, Principal) else 0
        return replace(super().grid_behind(input_map), fine_channels=fine, fine_bits=self.fine_bits)

    def choose_map(self, layers: Sequence[Layer], sample: Float64Array | None, *, seed: int) -> InputMap:
        """Active channels, rotated and turned; those alone where there are fewer than two; see `ActivationQuantizer`."""
        first = layers[0]
        before = basis_map(first, self.preparation, seed=seed)
        n = before.outputs
        k = min(max(1, round(self.share * n)), n - 1)
        if k < 1:
            return before
        _, axes = scipy.linalg.eigh(before.moment(first.hessian.matrix), subset_by_index=(n - k, n - 1), check_finite=False)
        mixed = rotate(axes, new_rotation("auto", k, rotation_seed(seed, "principal", first.hessian.name)))
        weight = before.weight(np.concatenate([layer.weight for layer in layers]))
        fine = float(np.mean((weight @ mixed) ** 2))
        rest = (float(np.sum(weight**2)) - fine * k * len(weight)) / ((n - k) * len(weight))
        # both kinds of columns share a scale per row
        gain = float(np.sqrt(fine / rest)) if fine > 0 and rest > 0 else 1.0
        return InputMap([*before.links, Principal.spanning(mixed, gain)], columns=before.inputs)

    def solve_beside(self, problem: Problem, activations: ActivationMoments) -> Solution:
        """Round the weights behind the map."""
        name, grid, before = problem.key.name, activations.grid, self.input_map_of(problem)
        links = activations.input_map.links[len(before.links) :]
        mapped = InputMap(links, columns=before.outputs).weight(problem.weight)
        preparation = GPTQ(rate_bits=2.0, damping=problem.damping or None).preparation
        shared = prepare_input(
            lambda: heard_moment(activations.input_map.moment(activations.reference)), preparation, None, name=f"{name}: T x"
        )
        widths = np.where(np.arange(mapped.shape[1]) < grid.fine_channels, grid.fine_bits, self.weight_bits).astype(np.int64)
        solution = fixed_widths(mapped, shared.factor, shared.order, widths, f"{name}: PCASplit")
        reason = "columns of unequal bits behind a map that is chosen by their moments: no formula is known"
        return replace(solution, parts=LayerParts(grid, links=links), error_model=NoErrorModel(reason=reason))
