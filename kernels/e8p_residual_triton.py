"""The nearest of the short vectors of E8 on the GPU: rows of vectors beside all 256 words."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from rdtools.kernels.e8p_residual_reference import e8_short_words
from torch import Tensor

#: Vectors of a program: a heuristic, not tuned on a device.
ROWS = 16
#: Words on each device, coordinate by coordinate, (8, 256).
_words: dict[str, Tensor] = {}


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _nearest_short(vectors, table, codes, words, count, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Code and word of each of a block of vectors, in float64: the largest ``x · w − ½ ‖w‖²``, the first of equal ones."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside, number = rows < count, tl.arange(0, 256)
    score, half = tl.zeros((ROWS, 256), dtype=tl.float64), tl.zeros((256,), dtype=tl.float64)
    for j in tl.static_range(8):
        w = tl.load(table + j * 256 + number)
        score += tl.load(vectors + rows * 8 + j, mask=inside, other=0.0).to(tl.float64)[:, None] * w[None, :]
        half += 0.5 * (w * w)
    _, index = tl.max(score - half[None, :], axis=1, return_indices=True)
    for j in tl.static_range(8):
        tl.store(words + rows * 8 + j, tl.load(table + j * 256 + index), mask=inside)
    tl.store(codes + rows, index, mask=inside)


def e8_short_nearest(
    vectors: Tensor,  # (k, 8)
) -> tuple[Tensor, Tensor]:
    """Same as `rdtools.kernels.e8p_residual_reference.e8_short_nearest`, but for codes in int32 and which of words equally near, to
    rounding.
    """
    device, x = str(vectors.device), vectors.contiguous()
    if device not in _words:
        _words[device] = torch.from_numpy(e8_short_words().T.copy()).to(vectors.device)
    codes = torch.empty(len(x), dtype=torch.int32, device=x.device)
    words = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if len(x):
        with torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext():
            _nearest_short[(triton.cdiv(len(x), ROWS),)](x, _words[device], codes, words, len(x), ROWS=ROWS, enable_fp_fusion=False)
    return codes, words
