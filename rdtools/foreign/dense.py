"""Dense checkpoints whose weights were quantized and written back as floating-point numbers."""

from __future__ import annotations

from typing import Any

from rdtools.errors import DataError
from rdtools.foreign.source import FLOATS, Source
from rdtools.foreign.stored import ForeignModel, StoredBits, StoredMatrix, Values

#: Endings of tensors that belong to a quantized weight; beside dense ones they say that the configuration is missing.
_PARTS = ("weight_scale", "weight_scale_inv", "weight_packed", "qweight", "qzeros", "weight_zero_point", "SCB", "absmax", "quant_map")


def bias_beside(source: Source, stem: str) -> dict[str, Any]:
    """Arguments `bias` and `bias_bits` of a `StoredMatrix` for the bias of a module; none without one.

    Raises
    ------
    UnsupportedDtype
    """
    name = f"{stem}.bias"
    if name not in source.headers:
        return {}
    header = source.expect(name, dtypes=FLOATS)
    return {"bias": lambda reading: _numbers(source, name), "bias_bits": header.bits}


def _numbers(source: Source, name: str) -> Values:
    import torch

    values: Values = source.tensor(name).to(torch.float64).numpy()
    return values


def dense_matrix(source: Source, tensor: str, note: str = "") -> StoredMatrix:
    """A matrix of plain floating-point numbers.

    Raises
    ------
    UnsupportedDtype
    """
    header = source.expect(tensor, dtypes=FLOATS)
    return StoredMatrix(
        source.label(tensor),
        header.dtype,
        header.shape,
        StoredBits(header.bits),
        {"as stored": lambda: _numbers(source, tensor)},
        as_tensor=True,
        note=note,
        **(bias_beside(source, tensor.removesuffix(".weight")) if tensor.endswith(".weight") else {}),
    )


def dense_matrices(source: Source, note: str = "") -> dict[str, StoredMatrix]:
    """All matrices of plain floating-point numbers."""
    plain = [name for name, header in source.headers.items() if len(header.shape) >= 2 and header.dtype in FLOATS]
    return {name: dense_matrix(source, name, note) for name in plain if name.endswith(".weight") or "experts" in name}


def open_dense(source: Source) -> ForeignModel:
    """A checkpoint without quantization in its configuration.

    Raises
    ------
    DataError
        If it has tensors of a quantized one.
    """
    part = next((name for name in source.headers if name.rpartition(".")[2] in _PARTS), None)
    if part is not None:
        raise DataError(
            f"{source.label(part)} belongs to a quantized weight, and no quantization_config says which format it is of; copy config.json "
            "of the same checkpoint beside the file"
        )
    return ForeignModel(source.path, "dense", "", dense_matrices(source))
