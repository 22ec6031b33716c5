"""The nearest of the short vectors of E8 by torch's own products, on any device that torch has."""

from __future__ import annotations

from rdtools.kernels.e8p_residual_reference import e8_short_words
from rdtools.kernels.e8p_torch import nearest_word
from torch import Tensor


def e8_short_nearest(
    vectors: Tensor,  # (k, 8)
) -> tuple[Tensor, Tensor]:
    """Same as `rdtools.kernels.e8p_residual_reference.e8_short_nearest`, but for codes in int32 and which of equal words."""
    return nearest_word(vectors, "short", e8_short_words())
