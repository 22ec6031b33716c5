"""The nearest word of E8P on the GPU: rows of vectors beside all 256 entries, twice, for the two shifts; signs by their parity.

With the shift taken off, y = x ∓ ¼, the best word of an entry s has y's signs or, where their parity is not that of s, all but one of them:
``‖y − σ s‖² = ‖y‖² + ‖s‖² − 2 (Σ_j s_j |y_j| − [parity differs] 2 min_j s_j |y_j|)``.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from rdtools.kernels.e8p_reference import entries
from torch import Tensor

#: Vectors of a program: with 256 entries and 4 warps, 8 float64 accumulators of each kind per lane. A heuristic, not tuned on a device.
ROWS = 4
#: Entries on each device, coordinate by coordinate, (8, 256).
_entries: dict[str, Tensor] = {}


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _nearest(vectors, table, codes, words, count, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Code and word of each of a block of vectors, in float64; of words equally near the first entry, shift +¼ before −¼."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside, number = rows < count, tl.arange(0, 256)
    square, odd = tl.zeros((256,), dtype=tl.float64), tl.zeros((256,), dtype=tl.float64)
    for j in tl.static_range(8):
        s = tl.load(table + j * 256 + number)
        square += s * s
        odd += s
    odd = odd.to(tl.int32) & 1
    best, entry = tl.full((ROWS,), float("-inf"), dtype=tl.float64), tl.zeros((ROWS,), dtype=tl.int32)
    shift, differs = tl.zeros((ROWS,), dtype=tl.float64), tl.zeros((ROWS,), dtype=tl.int32)
    for shifted in tl.static_range(2):
        t = 0.25 - 0.5 * shifted
        total, least = tl.zeros((ROWS, 256), dtype=tl.float64), tl.full((ROWS, 256), float("inf"), dtype=tl.float64)
        parity, length = tl.zeros((ROWS,), dtype=tl.int32), tl.zeros((ROWS,), dtype=tl.float64)
        for j in tl.static_range(8):
            y = tl.load(vectors + rows * 8 + j, mask=inside, other=0.0).to(tl.float64) - t
            part = tl.abs(y)[:, None] * tl.load(table + j * 256 + number)[None, :]
            total, least = total + part, tl.minimum(least, part)
            parity, length = parity ^ (y < 0).to(tl.int32), length + y * y
        wrong = parity[:, None] != odd[None, :]
        score = total - tl.where(wrong, 2.0 * least, 0.0) - (0.5 * square)[None, :] - (0.5 * length)[:, None]
        value, index = tl.max(score, axis=1, return_indices=True)
        taken = tl.sum(tl.where((number[None, :] == index[:, None]) & wrong, 1, 0), axis=1)
        better = value > best
        best, entry = tl.where(better, value, best), tl.where(better, index, entry)
        shift, differs = tl.where(better, t, shift), tl.where(better, taken, differs)
    cost, flipped = tl.full((ROWS,), float("inf"), dtype=tl.float64), tl.zeros((ROWS,), dtype=tl.int32)
    for j in tl.static_range(8):
        y = tl.load(vectors + rows * 8 + j, mask=inside, other=0.0).to(tl.float64) - shift
        part = tl.abs(y) * tl.load(table + j * 256 + entry)
        flipped = tl.where(part < cost, j, flipped)
        cost = tl.minimum(cost, part)
    byte, ones = tl.zeros((ROWS,), dtype=tl.int32), tl.zeros((ROWS,), dtype=tl.int32)
    for j in tl.static_range(8):
        y = tl.load(vectors + rows * 8 + j, mask=inside, other=0.0).to(tl.float64) - shift
        s = tl.load(table + j * 256 + entry)
        negative = (y < 0).to(tl.int32) ^ (differs & (flipped == j).to(tl.int32))
        tl.store(words + rows * 8 + j, tl.where(negative == 1, -s, s) + shift, mask=inside)
        if j < 7:
            byte, ones = byte | negative << j, ones ^ negative
    # bit 7 holds the parity of the shift: the lower seven bits and the entry leave the sign of coordinate 7 no choice
    byte += (ones ^ (shift < 0).to(tl.int32)) << 7
    tl.store(codes + rows, entry * 256 + byte, mask=inside)


def e8p_nearest(
    vectors: Tensor,  # (k, 8)
) -> tuple[Tensor, Tensor]:
    """Same as `rdtools.kernels.e8p_reference.e8p_nearest`, but for codes in int32 and which of words equally near, to rounding."""
    device, x = str(vectors.device), vectors.contiguous()
    if device not in _entries:
        _entries[device] = torch.from_numpy(entries().T.copy()).to(vectors.device)
    codes = torch.empty(len(x), dtype=torch.int32, device=x.device)
    words = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if len(x):
        with torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext():
            _nearest[(triton.cdiv(len(x), ROWS),)](x, _entries[device], codes, words, len(x), ROWS=ROWS, enable_fp_fusion=False)
    return codes, words
