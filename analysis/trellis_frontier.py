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
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rdtools.analysis.low_rate import gap_stderr_bits, predicted_gap_bits

from rdtools.coding import encode
from rdtools.compare import LayerFacts, layer_facts, result_row
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.ops import COSET_STATES
from rdtools.planning import MmseWaterSIC
from rdtools.quantizers import Quantizer, WaterSIC, prepare
from rdtools.report.figures import legend_entries
from rdtools.report.rows import ok_rows
from rdtools.report.style import BOUNDS, method_looks
from rdtools.runs.store import open_run
from rdtools.units import SCALAR_LOSS_BITS

#: Block whose matrices are measured, and the layer under whose Hessian Gaussian weights of ROWS rows are.
BLOCK, NORMAL_LAYER, ROWS = 2, "gate_proj", 4096
RATES = (1.0, 2.0, 3.0, 4.0, 5.0)
#: States that are drawn; the table has all.
DRAWN = (4, 8, 64, 256, 1024)


def trellis(states: int, suffix: str = "") -> str:
    """Name of the trellis of so many states as tables have it."""
    return ("watersic-trellis" if states == 256 else f"watersic-trellis(states={states})") + suffix


#: Name of a method → rates that it is measured at; on Gaussian weights as well, and on trained ones alone.
BOTH: Mapping[str, tuple[float, ...]] = {
    "watersic": RATES,
    "watersic-mmse": RATES,
    "watersic-d4": RATES,
    "watersic-e8": RATES,
    "quip-sharp": (2.0, 3.0, 4.0),
    "qtip": (1.0, 2.0, 3.0, 4.0),
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


def mean_by_rate(rows: pd.DataFrame, column: str) -> pd.Series:
    """Mean of a column over matrices by target rate."""
    return rows.groupby("target_bpw")[column].mean()


def _draw_bound(axis: Axes, panel_rows: pd.DataFrame, name: str, column: str, label: str) -> None:
    """Draw another bound relative to R(D), at the distortions of the trellis of 256 states."""
    part = panel_rows[panel_rows["method"] == "watersic-trellis"]
    below = mean_by_rate(part, "rate_gap_total_bpw") - mean_by_rate(part, column)
    axis.plot(below, label=label, **{**BOUNDS[name], "linewidth": 1.0})


def draw(rows: pd.DataFrame) -> Figure:
    """Gap over rate, mean over matrices: symbol rate on Gaussian weights, with predictions as lines; total rate on trained ones."""
    ok = ok_rows(rows)
    left_out = {trellis(states) for states in COSET_STATES if states not in DRAWN} | {"watersic-trellis-plain", "watersic-trellis+rotation"}
    looks = method_looks(ok["method"])
    figure = Figure(figsize=(9.6, 5.0))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    panels = (
        ("normal", "rate_gap_symbols_bpw", "i.i.d. Gaussian weights, symbol rate"),
        ("trained", "rate_gap_total_bpw", "trained weights, total rate"),
    )
    for axis, (kind, column, title) in zip(axes, panels, strict=True):
        panel_rows = ok[ok["weights"] == kind]
        for method, points in panel_rows[~panel_rows["method"].isin(left_out)].groupby("method", sort=False):
            style = {**looks[str(method)], "linestyle": "none"}
            axis.plot(mean_by_rate(points, column), label=str(method), **style)
            if kind == "normal":
                axis.plot(mean_by_rate(points, "pred_rate_gap_bpw").dropna(), color=style["color"], linestyle="--", linewidth=0.8)
        axis.axhline(0, label="R(D), one variance", **BOUNDS["rd_bound"])
        axis.axhline(SCALAR_LOSS_BITS, color="black", linewidth=0.6, label="½ log₂(2πe/12)")
        axis.set_title(f"{title} ({panel_rows['layer'].nunique()} {'Hessian' if kind == 'normal' else 'matrices'})")
        axis.set_xlabel("target rate of the symbols (bits per active weight)")
        axis.set_xticks(sorted(panel_rows["target_bpw"].unique()))
    trained = ok[ok["weights"] == "trained"]
    _draw_bound(axes[1], trained, "rd_bound_rowvar", "rate_gap_total_rowvar_bpw", "R(D), row variances")
    _draw_bound(axes[1], trained, "rd_bound_aligned", "rate_gap_total_aligned_bpw", "R(D), aligned with H")
    _draw_bound(axes[1], trained, "rd_bound_covariance", "rate_gap_total_covariance_bpw", "R(D), covariance of rows")
    axes[0].set_ylabel("rate − R(D), one variance (bpw)")
    axes[0].plot([], [], color="black", linestyle="--", linewidth=0.8, label="theory at finite rate, Gaussian weights")
    figure.legend(*legend_entries(list(axes)), loc="outside lower center", ncols=4, fontsize=7)
    return figure
