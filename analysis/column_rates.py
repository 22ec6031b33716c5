"""Entropy of each column of a layer, measured, beside what high-rate theory and the rounded Gaussian promise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rdtools.analysis.one_block import layers_of_middle_block

from rdtools.linalg import log2_am_over_gm
from rdtools.moments.layer import Layer
from rdtools.quantizers import HPTQ, WaterSIC
from rdtools.report.figures.column_rates import draw as draw
from rdtools.rounded import rounded_gaussian

RATES = (2.0, 4.0)
#: Columns that are kept, evenly by rank.
KEPT = 256


def measure(layer: Layer) -> pd.DataFrame:
    """A row for each method, rate and column, or of many columns every few, the largest ℓ² first."""
    ell = layer.spectrum.cholesky_diagonal
    variance = float(np.mean(layer.weight[:, layer.active] ** 2))
    rows = []
    for rate in RATES:
        for name, quantizer in (("hptq", HPTQ(rate_bits=rate)), ("watersic", WaterSIC(rate_bits=rate))):
            symbols = quantizer.quantize(layer).weight.symbols
            relative = symbols.column_steps / np.sqrt(variance)
            probabilities = [counts / counts.sum() for counts in (np.unique(z, return_counts=True)[1] for z in symbols.integers.T)]
            rows.append(
                pd.DataFrame(
                    {
                        "layer": layer.key.name,
                        "method": name,
                        "target_bpw": rate,
                        "ell_squared": ell**2 / np.mean(ell**2),
                        "entropy_bpw": [-float(p @ np.log2(p)) for p in probabilities],
                        "pred_high_rate_bpw": np.maximum(0.0, 0.5 * np.log2(2 * np.pi * np.e / relative**2)),
                        "pred_rounded_bpw": [rounded_gaussian(float(step)).entropy_bits for step in relative],
                    }
                )
                .sort_values("ell_squared", ascending=False, kind="stable", ignore_index=True)
                .rename_axis("rank")
                .reset_index()
                .iloc[np.unique(np.linspace(0, len(ell) - 1, KEPT).astype(int))]
            )
    return pd.concat(rows, ignore_index=True)


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of the layer of the middle block of the first run whose ℓ² differ most."""
    layers = layers_of_middle_block(folders[0])
    return measure(max(layers.values(), key=lambda layer: log2_am_over_gm(layer.spectrum.cholesky_diagonal**2)))
