"""Rate above R(D) from 1 to 5 bits by the shape of cells: scalar, lattice words, QTIP's trellis, trellises of 4 to 1024 states.

On the trained matrices of one block, with and without models that the decoder learns, and on Gaussian weights under one of its Hessians.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rdtools.analysis.low_rate import gap_stderr_bits, predicted_gap_bits

from rdtools.coding import encode
from rdtools.compare import LayerFacts, layer_facts, result_row
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.ops import COSET_STATES
from rdtools.planning import MmseWaterSIC
from rdtools.quantizers import Quantizer, WaterSIC, prepare
from rdtools.report.figures.trellis_frontier import DRAWN as DRAWN
from rdtools.report.figures.trellis_frontier import draw as draw
from rdtools.report.figures.trellis_frontier import mean_by_rate as mean_by_rate
from rdtools.report.figures.trellis_frontier import trellis as trellis
from rdtools.runs.store import open_run

#: Block whose matrices are measured, and the layer under whose Hessian Gaussian weights of ROWS rows are.
BLOCK, NORMAL_LAYER, ROWS = 2, "gate_proj", 4096
RATES = (1.0, 2.0, 3.0, 4.0, 5.0)


#: Name of a method → rates that it is measured at; on Gaussian weights as well, and on trained ones alone.
BOTH: Mapping[str, tuple[float, ...]] = {
    "watersic": RATES,
    "watersic-mmse": RATES,
    "watersic-d4": RATES,
    "watersic-e8": RATES,
    "quip-sharp": (2.0, 3.0, 4.0),
    "qtip": (1.0, 2.0, 3.0, 4.0),
    "qtip-waterfilled": (1.0, 2.0, 3.0, 4.0),
    **{trellis(states): RATES for states in COSET_STATES},
}
TRAINED: Mapping[str, tuple[float, ...]] = {
    "watersic-mmse+adaptive": RATES,
    "watersic-trellis+adaptive": RATES,
    "watersic-trellis-plain": RATES,
    "watersic-trellis+rotation": RATES,
}
#: Columns of results that are kept.
KEPT = (
    *("layer", "layer_type", "method", "target_bpw", "status", "symbol_bpw", "total_bpw", "container_layers", "rate_gap_symbols_bpw"),
    *("rate_gap_total_bpw", "rate_gap_total_rowvar_bpw", "rate_gap_total_aligned_bpw", "rate_gap_total_covariance_bpw"),
)


def measured(layer: Layer, quantizer: Quantizer, facts: LayerFacts) -> dict[str, object]:
    """A row of a layer, with the processor time of quantizing and coding it, factorization apart, and the gap predicted if Gaussian."""
    settled = quantizer.for_layer(layer)
    problem = prepare(layer, settled.preparation, seed=0)
    started = time.process_time()
    quantized = settled.quantize(layer, problem=problem)
    encode(quantized.weight)
    seconds = time.process_time() - started
    row = result_row(layer, quantizer, quantized, problem, facts).to_row()
    predicted = predicted_gap_bits(layer, quantizer) if isinstance(quantizer, MmseWaterSIC | WaterSIC) else np.nan
    return {
        **{name: row.get(name, np.nan) for name in KEPT},
        "rate_gap_stderr_bpw": gap_stderr_bits(facts, row),
        "pred_rate_gap_bpw": predicted,
        "encode_cpu_s": seconds,
    }


def rows_of(layer: Layer, kind: str, methods: Mapping[str, Sequence[float]]) -> Iterator[dict[str, object]]:
    """A row for each method and rate."""
    facts = layer_facts(layer)
    for name, rates in methods.items():
        for rate in rates:
            yield {"weights": kind, **measured(layer, parse_method(name, rate), facts)}


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of Gaussian weights, and of every matrix of the block in the first run."""
    opened = open_run(folders[0])
    layers = [layer for layer in (opened[name] for name in opened) if layer.key.block == BLOCK]
    rows: list[dict[str, object]] = []
    for layer in layers:
        if layer.key.type == NORMAL_LAYER:
            weight = np.random.default_rng(0).standard_normal((ROWS, layer.weight.shape[1]))
            rows += rows_of(replace(layer, weight=weight), "normal", BOTH)
        rows += rows_of(layer, "trained", {**BOTH, **TRAINED})
    return pd.DataFrame(rows)
