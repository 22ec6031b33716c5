"""Ideal length of integers under their entropy model."""

from __future__ import annotations

import math

import numpy as np

from rdtools.coding.entropy.adaptive import adaptive_code_length
from rdtools.coding.entropy.laws import Laws, count_by_law, law_code_length, law_stds
from rdtools.coding.entropy.models import (
    CodeCounts,
    column_tables,
    count_codes,
    entropy_bits,
    histogram_bytes,
    shared_table,
)
from rdtools.records import AdaptiveModel, GaussianModel, ScalarCodes


def scalar_code_length(codes: ScalarCodes, counts: CodeCounts | None = None) -> tuple[float, float]:
    """Bits that integers take under their model, and bits of the histograms that the model needs.

    fixed: log2 of the levels of each; shared and histogram: size times plug-in entropy, of all or by columns; column: minus log2 of the
    probabilities of each normal law, escapes included; adaptive: the same under the models as learnt. Without its histogram the entropy of
    few codes would be below that of their law, so that the two belong together.

    Parameters
    ----------
    codes : integers and their model
    counts : `count_codes` of them, if known
    """
    (m, r), model = codes.integers.shape, codes.model
    if m * r == 0:
        return 0.0, 0.0
    if codes.grid.levels:
        return m * math.fsum(np.log2(codes.grid.column_levels(r))), 0.0
    counts = count_codes(codes.integers) if counts is None else counts
    if isinstance(model, AdaptiveModel) and model.strength:
        return adaptive_code_length(codes, model), 0.0
    if isinstance(model, GaussianModel):
        laws = Laws.of((m, r), codes.grid, model.row_exponents)
        return law_code_length(count_by_law(codes.integers, laws, counts), law_stds(model, laws.steps)), 0.0
    tables = [shared_table(counts)] if model.kind == "shared" else column_tables(counts)
    symbols = math.fsum(int(t.frequencies.sum()) * entropy_bits(t) for t in tables)
    return symbols, 8.0 * sum(len(histogram_bytes(t)) for t in tables)
