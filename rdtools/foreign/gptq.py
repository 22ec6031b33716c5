"""Checkpoints of GPTQ: integers packed along the inputs, zero points that version 1 stores less one, and the group of each input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rdtools.errors import DataError, UsageError
from rdtools.foreign.dense import bias_beside, dense_matrices
from rdtools.foreign.packing import dense_positions, unpack, words_for
from rdtools.foreign.source import Source
from rdtools.foreign.stored import ForeignModel, StoredBits, StoredMatrix, Values

_BITS = (2, 3, 4, 8)
#: ``checkpoint_format`` → how much less than the zero point is stored.
_OFFSETS = {"gptq": 1, "gptq_v2": 0}
_LESS_ONE, _AS_STORED = "zero points stored less one (gptq)", "zero points as stored (gptq_v2)"


def _matrix(source: Source, stem: str, bits: int, size: int, offset: int) -> StoredMatrix:
    """One matrix ``W[j, i] = scales[g, j] · (q[i, j] − z[g, j])`` with g the group of input i; products are rounded as the scales are."""
    qweight = source.expect(f"{stem}.qweight", dtypes=("I32",))
    if len(qweight.shape) != 2 or qweight.shape[0] * 32 % bits or 0 in qweight.shape:
        raise DataError(
            f"{source.label(f'{stem}.qweight')} has shape {qweight.shape}, expected (in_features · {bits} / 32, out_features) with whole "
            "numbers; the configuration's number of bits may be another"
        )
    n, m = qweight.shape[0] * 32 // bits, qweight.shape[1]
    scales = source.expect(f"{stem}.scales", dtypes=("F16", "BF16", "F32"))
    if len(scales.shape) != 2 or scales.shape[1] != m or not 1 <= scales.shape[0] <= n:
        raise DataError(f"{source.label(f'{stem}.scales')} has shape {scales.shape}, expected (groups, {m}); copy the file again")
    groups = scales.shape[0]
    size = n if size == -1 else size
    if -(-n // size) != groups:
        raise DataError(
            f"{source.label(f'{stem}.scales')}: {groups} groups for {n} inputs, group_size {size} has {-(-n // size)}; copy it again"
        )
    qzeros = source.expect(f"{stem}.qzeros", dtypes=("I32",), shapes=((groups, words_for(m, bits)),))
    ordered = f"{stem}.g_idx" in source.headers
    other = qweight.bits - m * n * bits + (source.expect(f"{stem}.g_idx", dtypes=("I32",), shapes=((n,),)).bits if ordered else 0)

    def read(less: int) -> Callable[[], Values]:
        def decode() -> Values:
            import torch

            group = source.tensor(f"{stem}.g_idx").numpy() if ordered else np.arange(n) // size
            if not (group.min() >= 0 and group.max() < groups):
                raise DataError(f"{source.label(f'{stem}.g_idx')}: groups {group.min()} to {group.max()}, expected 0 to {groups - 1}")
            q = unpack(np.ascontiguousarray(source.tensor(f"{stem}.qweight").numpy().T), dense_positions(n, bits), bits)
            zeros = unpack(source.tensor(f"{stem}.qzeros").numpy(), dense_positions(m, bits), bits)
            zeros = (zeros.astype(np.int16) + less) % 2**bits
            scale = source.tensor(f"{stem}.scales")
            steps = torch.from_numpy(q.astype(np.int16) - zeros[group].T)
            values: Values = (steps.to(scale.dtype) * scale[torch.from_numpy(group).long()].T).to(torch.float64).numpy()
            return values

        return decode

    names = {1: _LESS_ONE, 0: _AS_STORED}
    kind = f"int{bits} g{size}" if groups > 1 else f"int{bits} rows"
    return StoredMatrix(
        source.label(f"{stem}.qweight"),
        kind,
        (m, n),
        StoredBits(m * n * bits, scales.bits + qzeros.bits, other),
        {names[less]: read(less) for less in (offset, 1 - offset)},
        **bias_beside(source, stem),
    )


def open_gptq(source: Source) -> ForeignModel:
    """A checkpoint of GPTQ, of AutoGPTQ's or GPTQModel's layout.

    Raises
    ------
    UsageError, DataError, CorruptFile, ModelUnreadable
    """
    config = source.quantization
    bits, layout = config.get("bits"), str(config.get("checkpoint_format", "gptq"))
    if bits not in _BITS or isinstance(bits, bool):
        raise UsageError(f"{source.path}: GPTQ of {bits!r:.40} bits, expected one of {', '.join(map(str, _BITS))}; dequantize it first")
    if layout not in _OFFSETS:
        raise UsageError(
            f"{source.path}: checkpoint_format {layout!r:.40}, expected {' or '.join(_OFFSETS)}; load it with GPTQModel "
            "and save it in one of "
            "these, or dequantize it first"
        )
    size = config.get("group_size", -1)
    if not isinstance(size, int) or (size < 1 and size != -1):
        raise UsageError(
            f"{source.path}: group_size {size!r:.40}, expected a number of inputs, or -1 for one group; copy the configuration again"
        )
    stems = [name.removesuffix(".qweight") for name in source.headers if name.endswith(".qweight")]
    matrices = dense_matrices(source, "not quantized in the file")
    matrices |= {f"{stem}.weight": _matrix(source, stem, bits, size, _OFFSETS[layout]) for stem in stems}
    return ForeignModel(source.path, "gptq", f"int{bits}", matrices)
