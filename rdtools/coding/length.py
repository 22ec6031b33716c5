"""The ideal length of a quantized weight's codes: what `code_rate_bits` means for each code model."""

from __future__ import annotations

import math

from rdtools.coding.container import histogram_bytes
from rdtools.coding.models import CodeCounts, column_code_length, count_codes, entropy_bits, shared_table
from rdtools.records import QuantizedWeight


def code_length(weight: QuantizedWeight, counts: CodeCounts | None = None) -> float:
    """Bits that the codes take under `weight.code_model`, in all.

    fixed: ``size · log2 levels``; shared: ``size · entropy`` of the histogram plus the histogram itself, without which the entropy of few
    codes would be below that of their law; column: minus log2 of the probabilities of each column's normal law, escapes included.

    Parameters
    ----------
    weight : the codes and their model
    counts : `count_codes` of them, if known
    """
    size = weight.codes.size
    if size == 0:
        return 0.0
    if weight.code_model.kind == "fixed":
        return size * math.log2(weight.code_model.levels)
    counts = count_codes(weight.codes) if counts is None else counts
    if weight.code_model.kind == "shared":
        table = shared_table(counts)
        return size * entropy_bits(table) + 8 * len(histogram_bytes(table))
    return column_code_length(counts, weight.code_model.weight_std / weight.column_steps)
