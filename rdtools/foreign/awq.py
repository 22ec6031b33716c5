"""Checkpoints of AWQ in the layout of its GEMM kernels: integers of 4 bits packed along the outputs, eight interleaved in a word."""

from __future__ import annotations

import numpy as np

from rdtools.errors import DataError, UsageError
from rdtools.foreign.dense import bias_beside, dense_matrices
from rdtools.foreign.packing import Positions, unpack
from rdtools.foreign.source import Source
from rdtools.foreign.stored import ForeignModel, StoredBits, StoredMatrix, Values

#: Nibble of a word in which each of eight neighbouring outputs lies.
_NIBBLE = np.array([0, 4, 1, 5, 2, 6, 3, 7])


def _positions(count: int) -> Positions:
    number = np.arange(count, dtype=np.int64)
    return np.asarray(number // 8 * 32 + _NIBBLE[number % 8] * 4)


def _matrix(source: Source, stem: str) -> StoredMatrix:
    """One matrix ``W[j, i] = scales[g, j] · (q[i, j] − z[g, j])``, g = i / group size; products are rounded as the scales are."""
    qweight = source.expect(f"{stem}.qweight", dtypes=("I32",))
    if len(qweight.shape) != 2 or 0 in qweight.shape:
        raise DataError(f"{source.label(f'{stem}.qweight')} has shape {qweight.shape}, expected (in_features, out_features / 8)")
    n, m = qweight.shape[0], qweight.shape[1] * 8
    scales = source.expect(f"{stem}.scales", dtypes=("F16", "BF16", "F32"))
    if len(scales.shape) != 2 or scales.shape[1] != m or not scales.shape[0] or n % scales.shape[0]:
        raise DataError(
            f"{source.label(f'{stem}.scales')} has shape {scales.shape}, expected ({n} / group size, {m}); the layout may "
            "not be that of GEMM"
        )
    groups = scales.shape[0]
    qzeros = source.expect(f"{stem}.qzeros", dtypes=("I32",), shapes=((groups, m // 8),))

    def decode() -> Values:
        import torch

        q = unpack(source.tensor(f"{stem}.qweight").numpy(), _positions(m), 4).astype(np.int16)
        zeros = unpack(source.tensor(f"{stem}.qzeros").numpy(), _positions(m), 4).astype(np.int16)
        scale, size = source.tensor(f"{stem}.scales"), n // groups
        steps = torch.from_numpy(q - np.repeat(zeros, size, axis=0)).to(scale.dtype)
        values: Values = (steps * scale.repeat_interleave(size, dim=0)).T.to(torch.float64).numpy()
        return values

    bits = StoredBits(m * n * 4, scales.bits + qzeros.bits)
    beside, kind = bias_beside(source, stem), f"int4 g{n // groups}"
    return StoredMatrix(source.label(f"{stem}.qweight"), kind, (m, n), bits, {"as stored": decode}, **beside)


def open_awq(source: Source) -> ForeignModel:
    """A checkpoint of AWQ.

    Raises
    ------
    UsageError, DataError, CorruptFile, ModelUnreadable
    """
    config = source.quantization
    bits, layout = config.get("bits", config.get("w_bit")), str(config.get("version", "gemm")).lower()
    if bits != 4 or layout != "gemm":
        raise UsageError(
            f"{source.path}: AWQ of {bits!r:.40} bits in layout {layout[:40]!r}, expected 4 bits in layout gemm; dequantize it first"
        )
    stems = [name.removesuffix(".qweight") for name in source.headers if name.endswith(".qweight")]
    matrices = dense_matrices(source, "not quantized in the file")
    return ForeignModel(source.path, "awq", "int4", matrices | {f"{stem}.weight": _matrix(source, stem) for stem in stems})
