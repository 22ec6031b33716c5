"""Integers on uniform grids as compressed-tensors packs them: ``W = scale · (q − z)``, one scale per row, or per row and group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.coding import round_to_bfloat16
from rdtools.errors import UsageError, optional_module
from rdtools.records import QuantizedWeight, ScalarSymbols
from rdtools.records.quantized import NO_PARTS
from rdtools.records.symbols import Gains

if TYPE_CHECKING:
    import torch

#: Most bits of an integer.
MOST_BITS = 8
_CANNOT = "which compressed-tensors' pack-quantized cannot hold: it has integers of up to 8 bits, one scale per row or per row and group"


@dataclass(frozen=True, eq=False)
class PackedLayer:
    """A matrix ``scale · (q − z)``.

    Attributes
    ----------
    integers : (m, n) int8, q from −2^(bits − 1) to 2^(bits − 1) − 1
    scales : (m, G) float64 holding bfloat16 values
    zero_points : (m, G) int8, z; None for 0
    bits : of an integer
    group_size : columns in a group; 0 for one scale per row
    """

    integers: NDArray[np.int8]
    scales: Float64Array
    zero_points: NDArray[np.int8] | None
    bits: int
    group_size: int


def _obstacle(weight: QuantizedWeight) -> str:
    """Parts of a quantized weight that the layout has no place for, in words; empty for none."""
    basis, symbols = weight.basis, weight.symbols
    if not isinstance(symbols, ScalarSymbols):
        return f"{type(symbols).__name__} in place of integers"
    grid, gains = symbols.grid, symbols.gains
    scales = grid.step * (np.ones(1) if grid.rows is None else grid.rows.scales)
    shown = {
        "parts beside the weights": weight.parts != NO_PARTS,
        "a rotation": basis.rotation is not None or basis.row_rotation is not None,
        "column scales": basis.column_scales is not None or grid.exponents is not None or gains.columns is not None,
        "gains of columns": gains.of_integers != Gains().of_integers or gains.lmmse_std > 0,
        "integers without end, entropy-coded": grid.levels == 0,
        f"{grid.levels} levels": grid.levels > 2**MOST_BITS,
        "a grid without a level at zero": grid.offset != 0,
        "scales that are no bfloat16 numbers": not np.array_equal(scales, round_to_bfloat16(scales)),
    }
    obstacle = next((name for name, present in shown.items() if present), "")
    if obstacle or grid.rows is None:
        return obstacle
    group, coded = grid.rows.group_size, int(basis.active.sum())
    if group and grid.rows.scales.shape[1] > 1 and coded < len(basis.active):
        return f"groups of {group} columns of the {coded} that are not always zero"
    if group and coded % group and grid.rows.scales.shape[1] > 1:
        return f"groups of {group} columns of which the last has {coded % group}"
    return ""


def packed_layer(weight: QuantizedWeight, *, name: str) -> PackedLayer:
    """Integers, scales and zero points of a quantized weight.

    Parameters
    ----------
    weight : decoded
    name : of the layer, for messages

    Raises
    ------
    UsageError
        If the layout has no place for it.
    """
    obstacle = _obstacle(weight)
    if obstacle:
        raise UsageError(f"{name}: {obstacle}, {_CANNOT}; take a method such as gptq or gptq-g128, and leave out corrections that rescale")
    symbols: Any = weight.symbols
    basis, grid = weight.basis, symbols.grid
    m, n = weight.shape
    rows = grid.rows
    scales = np.ones((m, 1)) if rows is None else rows.scales
    zero_points = None if rows is None else rows.zero_points
    integers = np.zeros((m, n), dtype=np.int8)
    if zero_points is not None and not basis.active.all():
        integers[:] = zero_points  # of dead columns, decoded as zero
    integers[:, basis.active] = symbols.integers
    groups = scales.shape[1]
    bits = max(int(grid.levels - 1).bit_length(), 1)
    return PackedLayer(integers, scales * grid.step, zero_points, bits, 0 if groups == 1 else rows.group_size)


def library() -> Any:
    """The module of compressed-tensors that packs integers.

    Raises
    ------
    MissingPackage
    """
    return optional_module("compressed_tensors.compressors.pack_quantized.helpers", "`export` compressed-tensors:", "rdtools[export]")


def packed_tensors(layer: PackedLayer) -> dict[str, torch.Tensor]:
    """Tensors of a module by their names in it, packed by the library.

    Raises
    ------
    MissingPackage
    """
    import torch

    pack = library().pack_to_int32
    tensors = {
        "weight_packed": pack(torch.from_numpy(layer.integers), layer.bits).contiguous(),
        "weight_scale": torch.from_numpy(layer.scales).to(torch.bfloat16),
        "weight_shape": torch.tensor(layer.integers.shape),
    }
    if layer.zero_points is not None:
        tensors["weight_zero_point"] = pack(torch.from_numpy(layer.zero_points), layer.bits, packed_dim=0).contiguous()
    return tensors


def quantization_config(layers: Mapping[str, tuple[int, int, bool]]) -> dict[str, Any]:
    """The part ``quantization_config`` of a model's configuration.

    Parameters
    ----------
    layers : by name of the module, its bits, group size and whether it has zero points
    """
    groups: dict[str, Any] = {}
    for scheme in sorted(set(layers.values())):
        bits, group, shifted = scheme
        groups[f"group_{len(groups)}"] = {
            "targets": [name for name, layer_scheme in layers.items() if layer_scheme == scheme],
            "weights": {
                "num_bits": bits,
                "type": "int",
                "symmetric": not shifted,
                "strategy": "group" if group else "channel",
                "group_size": group or None,
                "dynamic": False,
            },
            "format": "pack-quantized",
        }
    status = {"format": "pack-quantized", "quantization_status": "compressed"}
    return {"quant_method": "compressed-tensors", **status, "config_groups": groups, "ignore": []}
