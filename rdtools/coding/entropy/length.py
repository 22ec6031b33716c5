"""Ideal length of integers under their entropy model."""

from __future__ import annotations

import math

import numpy as np

from rdtools.coding.entropy.adaptive import adaptive_code_length
from rdtools.coding.entropy.gaussians import Gaussians, count_by_gaussian, gaussian_code_length, gaussian_stds
from rdtools.coding.entropy.models import (
    IntegerCounts,
    column_tables,
    count_integers,
    entropy_bits,
    histogram_bytes,
    shared_table,
)
from rdtools.records import AdaptiveModel, GaussianModel, ScalarSymbols


def scalar_code_length(symbols: ScalarSymbols, counts: IntegerCounts | None = None) -> tuple[float, float]:
    """Bits that integers take under their model, and bits of the histograms that the model needs.

    fixed: log2 of the levels of each; shared and histogram: size times plug-in entropy, of all or by columns; column: minus log2 of the
    probabilities of each Gaussian model, escapes included; adaptive: the same under the models as learnt. Without its histogram the entropy
    of few integers would be below that of their Gaussian, so that the two belong together.

    Parameters
    ----------
    symbols : integers and their model
    counts : `count_integers` of them, if known
    """
    (m, r), model = symbols.integers.shape, symbols.model
    if m * r == 0:
        return 0.0, 0.0
    if symbols.grid.levels:
        return m * math.fsum(np.log2(symbols.grid.column_levels(r))), 0.0
    counts = count_integers(symbols.integers) if counts is None else counts
    if isinstance(model, AdaptiveModel) and model.strength:
        return adaptive_code_length(symbols, model), 0.0
    if isinstance(model, GaussianModel):
        gaussians = Gaussians.of((m, r), symbols.grid, model.row_exponents)
        return gaussian_code_length(count_by_gaussian(symbols.integers, gaussians, counts), gaussian_stds(model, gaussians.steps)), 0.0
    tables = [shared_table(counts)] if model.kind == "shared" else column_tables(counts)
    bits = math.fsum(int(t.frequencies.sum()) * entropy_bits(t) for t in tables)
    return bits, 8.0 * sum(len(histogram_bytes(t)) for t in tables)
