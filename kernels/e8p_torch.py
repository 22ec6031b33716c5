"""The nearest of the words of E8P, by looking at all with torch's own products, on any device that torch has."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from rdtools.kernels.e8p_reference import e8p_codewords
from torch import Tensor

#: Vectors that are compared with all words at a time.
_BLOCK = 1024
#: Words on each device, and half their squares.
_words: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}


def nearest_word(vectors: Tensor, name: str, words: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Codes, int32, and words nearest to (k, 8) vectors in float64; of those equally near, to rounding, any."""
    key = name, str(vectors.device)
    if key not in _words:
        W = torch.from_numpy(np.array(words)).to(vectors.device)
        _words[key] = W, 0.5 * (W * W).sum(1)
    W, half = _words[key]
    codes = torch.empty(len(vectors), dtype=torch.int32, device=vectors.device)
    for start in range(0, len(vectors), _BLOCK):
        x = vectors[start : start + _BLOCK].double()
        codes[start : start + _BLOCK] = (x @ W.T - half).argmax(1).to(torch.int32)
    return codes, W[codes.to(torch.int64)].to(vectors.dtype)


def e8p_nearest(
    vectors: Tensor,  # (k, 8)
) -> tuple[Tensor, Tensor]:
    """Same as `rdtools.kernels.e8p_reference.e8p_nearest`, but for codes in int32 and which of equal words."""
    return nearest_word(vectors, "e8p", e8p_codewords())
