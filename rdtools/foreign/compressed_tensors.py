"""Checkpoints of compressed-tensors in the layout ``pack-quantized``: integers of 1 to 8 bits packed along the inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rdtools.errors import DataError, UsageError
from rdtools.foreign.dense import bias_beside, dense_matrices
from rdtools.foreign.packing import Positions, dense_positions, padded_positions, unpack, words_for
from rdtools.foreign.source import Source
from rdtools.foreign.stored import ForeignModel, StoredBits, StoredMatrix, Values

_LAYOUT = "pack-quantized"


def _widths(source: Source) -> list[int]:
    """Numbers of bits in the configuration.

    Raises
    ------
    UsageError
        For another layout.
    """
    config = source.quantization
    groups = config.get("config_groups")
    schemes: list[Any] = list(groups.values()) if isinstance(groups, dict) else []
    layouts = {str(config.get("format"))} | {
        str(scheme["format"]) for scheme in schemes if isinstance(scheme, dict) and scheme.get("format")
    }
    if layouts - {_LAYOUT, "mixed-precision"} or not schemes:
        raise UsageError(
            f"{source.path}: compressed-tensors of format {' and '.join(sorted(layouts))[:80]}, expected {_LAYOUT} with "
            "config_groups; decompress "
            "it with transformers and save it as a dense checkpoint"
        )
    bits = sorted(
        {scheme["weights"].get("num_bits") for scheme in schemes if isinstance(scheme, dict) and isinstance(scheme.get("weights"), dict)}
    )
    if not bits or not all(isinstance(b, int) and 1 <= b <= 8 for b in bits):
        raise UsageError(f"{source.path}: weights of {bits} bits, expected 1 to 8; copy config.json again")
    return bits


def _layout(count: int, words: int, widths: list[int], name: str) -> tuple[int, Positions]:
    """Number of bits and places of integers in a row of words: end to end, or as older versions wrote them, whole ones in each word."""
    fitting = {b: dense_positions(count, b) for b in widths if words_for(count, b) == words}
    fitting = fitting or {b: padded_positions(count, b) for b in widths if -(-count // (32 // b)) == words}
    if len(fitting) != 1:
        raise DataError(
            f"{name}: {words} words for {count} integers of {' or '.join(map(str, widths))} bits; config.json is of another file"
        )
    return next(iter(fitting.items()))


def _matrix(source: Source, stem: str, widths: list[int]) -> StoredMatrix:
    """One matrix ``W = scale · (q − z)`` with integers stored as q + 2^(b−1); products are rounded as the scales are."""
    name = f"{stem}.weight_packed"
    packed = source.expect(name, dtypes=("I32",))
    stored_shape = source.expect(f"{stem}.weight_shape", dtypes=("I64", "I32"), shapes=((2,),))
    m, n = (int(size) for size in source.tensor(f"{stem}.weight_shape"))
    if len(packed.shape) != 2 or packed.shape[0] != m or not 1 <= n <= 32 * packed.shape[1]:
        raise DataError(f"{source.label(name)} has shape {packed.shape} for a matrix of {(m, n)}; copy the file again")
    bits, positions = _layout(n, packed.shape[1], widths, source.label(name))
    scale = source.expect(f"{stem}.weight_scale", dtypes=("F16", "BF16", "F32"))
    groups = scale.shape[1] if len(scale.shape) == 2 else 1
    if scale.shape not in ((1,), (), (1, 1), (m, groups)) or not 1 <= groups <= n:
        raise DataError(f"{source.label(f'{stem}.weight_scale')} has shape {scale.shape}, expected ({m}, groups); copy the file again")
    asymmetric, ordered = f"{stem}.weight_zero_point" in source.headers, f"{stem}.weight_g_idx" in source.headers
    if not ordered and n % groups:
        raise DataError(f"{source.label(f'{stem}.weight_scale')}: {groups} groups for {n} inputs, expected a divisor; copy the file again")
    scales, other = scale.bits, packed.bits - m * n * bits + stored_shape.bits
    if asymmetric:
        rows = {words_for(m, bits), -(-m // (32 // bits))}
        shapes = (*((r, groups) for r in rows), scale.shape)
        scales += source.expect(f"{stem}.weight_zero_point", dtypes=("I32", "I8"), shapes=shapes).bits
    if ordered:
        other += source.expect(f"{stem}.weight_g_idx", dtypes=("I32", "I64"), shapes=((n,),)).bits

    def decode() -> Values:
        import torch

        half, size = 2 ** (bits - 1), n // groups
        q = unpack(source.tensor(name).numpy(), positions, bits).astype(np.int16) - half
        s = source.tensor(f"{stem}.weight_scale").reshape(-1, groups).expand(m, groups)
        group = torch.arange(n) // size
        if ordered and (order := source.tensor(f"{stem}.weight_g_idx").long()).min() >= 0:  # −1 stands for no order
            if order.max() >= groups:
                raise DataError(f"{source.label(f'{stem}.weight_g_idx')}: group {int(order.max())} of {groups}; copy the file again")
            group = order
        values = torch.from_numpy(q).to(s.dtype)
        if asymmetric:
            zero = source.tensor(f"{stem}.weight_zero_point")
            if zero.dtype == torch.int32 and zero.shape != s.shape:
                where = _layout(m, zero.shape[0], [bits], source.label(f"{stem}.weight_zero_point"))[1]
                zero = torch.from_numpy(unpack(np.ascontiguousarray(zero.numpy().T), where, bits).T.astype(np.int16) - half)
            values = values - zero.reshape(-1, groups).expand(m, groups).to(s.dtype)[:, group]
        result: Values = (values * s[:, group]).to(torch.float64).numpy()
        return result

    kind = f"int{bits} g{n // groups}" if groups > 1 else f"int{bits} {'rows' if math.prod(scale.shape) > 1 else 'matrix'}"
    size, beside = StoredBits(m * n * bits, scales, other), bias_beside(source, stem)
    return StoredMatrix(source.label(name), kind, (m, n), size, {"as stored": decode}, **beside)


def open_compressed_tensors(source: Source) -> ForeignModel:
    """A checkpoint of compressed-tensors.

    Raises
    ------
    UsageError, DataError, CorruptFile, ModelUnreadable
    """
    widths = _widths(source)
    stems = [name.removesuffix(".weight_packed") for name in source.headers if name.endswith(".weight_packed")]
    matrices = dense_matrices(source, "not quantized in the file")
    matrices |= {f"{stem}.weight": _matrix(source, stem, widths) for stem in stems}
    return ForeignModel(source.path, "compressed-tensors", "/".join(f"int{b}" for b in widths), matrices)
