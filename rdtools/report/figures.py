"""Figures: each takes rows and draws; none computes science."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rdtools.curves import FINITE_RATE, JOINT_LIMIT, LIMIT, PREDICTIONS, SHANNON, UNIVERSAL
from rdtools.files import atomic_path
from rdtools.hessians.layers import LAYER_TYPES
from rdtools.report import style
from rdtools.report.style import RC, SAVE_METADATA, method_style

_THEORY_TICK: dict[str, Any] = {
    "linestyle": "none",
    "marker": "_",
    "markersize": 11,
    "markeredgewidth": 1.6,
    "alpha": 0.6,
    "zorder": 1,
}

#: Lines that no method is predicted to lie on: curve → label and look.
_REFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    LIMIT: ("limit, mean variance", style.LIMIT),
    JOINT_LIMIT: ("limit, row variances", style.JOINT_LIMIT),
    UNIVERSAL: ("limit + 0.11 bit, H unknown to the decoder", style.UNIVERSAL),
    SHANNON: ("Shannon lower bound, law of all weights", style.SHANNON),
}


#: Lines of a legend that fit beside the panels; longer ones go below them.
_LEGEND_IN_PANEL = 14


def ordered_types(types: pd.Series) -> list[str]:
    """Layer types in the order of a Llama block, others after them by name."""
    present = set(types)
    return [t for t in LAYER_TYPES if t in present] + sorted(present - set(LAYER_TYPES))


def ok_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows that may be averaged."""
    return table[table["status"] == "ok"]


def _new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _empty(message: str) -> Figure:
    figure = _new_figure(5, 1.5)
    figure.text(0.5, 0.5, message, ha="center", va="center")
    return figure


def representative_layers(table: pd.DataFrame) -> dict[str, str]:
    """For each layer type the layer of the middle block."""
    ok = ok_rows(table)
    chosen = {}
    for kind in ordered_types(ok["layer_type"]):
        blocks = ok[ok["layer_type"] == kind].drop_duplicates("layer").sort_values("block")
        chosen[kind] = str(blocks.iloc[len(blocks) // 2]["layer"])
    return chosen


def rate_distortion(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Distortion over coded bits for one layer of each type: limits and predictions as lines, measurements as markers."""
    ok = ok_rows(table)
    layers = representative_layers(table)
    if not layers:
        return _empty("no row with status ok: nothing to draw")
    columns = min(4, len(layers))
    lines = math.ceil((len(layers) + 1) / columns) if len(layers) > 3 else 1
    figure = _new_figure(2.7 * columns, 2.5 * lines + (0.7 if len(layers) <= 3 else 0))
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, (kind, layer) in zip(axes, layers.items(), strict=False):
        rows = ok[ok["layer"] == layer]
        signal = float((rows["distortion"] / rows["relative_distortion"]).iloc[0])
        own = curves[curves["layer"] == layer]
        for name in (*_REFERENCES, *PREDICTIONS, *FINITE_RATE):
            curve = own[own["curve"] == name]
            if curve.empty:
                continue
            if name in _REFERENCES:
                label, look = _REFERENCES[name]
            else:
                label = f"{name}, theory" if name in FINITE_RATE else f"{name}, high-rate theory"
                color = method_style(name.partition(" ")[0])["color"]
                look = {"color": color, "linestyle": "-" if name in FINITE_RATE else "--", "linewidth": 0.8}
            with np.errstate(divide="ignore"):
                decibel = 10 * np.log10(curve["distortion"].to_numpy() / signal)
            axis.plot(curve["rate_bits"], decibel, label=label, zorder=1, **look)
        for method, points in rows.groupby("method", sort=False):
            points = points[points["distortion"] > 0]
            spread = 10 / math.log(10) * 2 * points["distortion_stderr"] / points["distortion"]
            axis.errorbar(
                points["coded_bits"],
                10 * np.log10(points["distortion"] / signal),
                yerr=spread.fillna(0),
                linestyle="none",
                label=f"{method}, measured",
                zorder=2,
                **method_style(str(method)),
            )
        short = layer.removeprefix("model.layers.")
        axis.set_title(f"{kind}   ({short})")
        axis.set_xlabel("coded bits per weight")
        axis.set_ylabel("D / D₀ (dB)")
        low, high = rows["coded_bits"].min(), rows["coded_bits"].max()
        axis.set_xlim(max(0, low - 0.6), high + 0.4)
        shown = own[(own["curve"] == LIMIT) & own["rate_bits"].between(*axis.get_xlim())]["distortion"]
        floor = 10 * math.log10(max(shown.min(), 1e-300) / signal) if not shown.empty else None
        top = 10 * math.log10(rows["distortion"].max() / signal) if (rows["distortion"] > 0).any() else 0.0
        axis.set_ylim(bottom=None if floor is None else floor - 1.5, top=top + 3)
    handles, labels = axes[0].get_legend_handles_labels()
    for axis in axes[len(layers) :]:
        axis.axis("off")
    if len(layers) < len(axes) and len(handles) <= _LEGEND_IN_PANEL:
        axes[-1].legend(handles, labels, loc="center", fontsize=7)
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=4 if columns > 3 else 3, fontsize=7)
    return figure


def gptq_gap(table: pd.DataFrame) -> Figure:
    """What GPTQ loses to WaterSIC, by layer type, with and without rotation: theory as ticks, measurements as markers."""
    ok = ok_rows(table)
    top = ok["target_rate_bits"].max()
    at_top = ok[ok["target_rate_bits"] == top]
    reference = at_top[at_top["method"] == "watersic"].set_index("layer")["gap_bits"]
    methods = [m for m in ("gptq", "gptq+rotation", "gptq+hadamard", "gptq+haar") if m in set(at_top["method"])]
    if reference.empty or not methods:
        return _empty("needs gptq and watersic rows")
    types = ordered_types(at_top["layer_type"])
    figure = _new_figure(7.2, 3.2)
    axis = figure.subplots()
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        rows = at_top[(at_top["method"] == method) & at_top["layer"].isin(reference.index)]
        style = method_style(method)
        for j, kind in enumerate(types):
            own = rows[rows["layer_type"] == kind].sort_values("block")
            if own.empty:
                continue
            center = j + (i - (len(methods) - 1) / 2) * width
            x = center + np.linspace(-0.32, 0.32, len(own)) * width if len(own) > 1 else np.array([center])
            axis.plot(x, own["gptq_gap_bits"], color=style["color"], **_THEORY_TICK)
            axis.plot(x, own["gap_bits"].to_numpy() - reference[own["layer"]].to_numpy(), linestyle="none", **style)
        axis.plot([], [], linestyle="none", label=f"{method}, measured at {top:g} bits", **style)
    axis.plot([], [], color=method_style("gptq")["color"], label="G in theory", **_THEORY_TICK)
    axis.set_xticks(range(len(types)), types)
    axis.set_ylabel("GPTQ − WaterSIC (bits per weight)")
    axis.set_xlabel("layer type (one mark a block, first block left)")
    axis.axhline(0, color="black", linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=len(methods) + 1)
    return figure


def predicted_and_measured(table: pd.DataFrame) -> Figure:
    """Measured over predicted distortion, over the predicted one; 0 dB is agreement. By high-rate theory where there is no other."""
    ok = ok_rows(table)
    ratio = ok["finite_rate_ratio"].fillna(ok["distortion_ratio"])
    rows = ok.assign(ratio=ratio)[(ratio > 0) & np.isfinite(ratio)]
    if rows.empty:
        return _empty("no method here has a prediction")
    targets = sorted(rows["target_rate_bits"].unique())
    figure = _new_figure(min(2.6 * len(targets), 12) + 1.8, 3.2)
    axes = figure.subplots(1, len(targets), sharey=True, squeeze=False).ravel()
    for axis, target in zip(axes, targets, strict=True):
        axis.axhline(0, color="black", linewidth=0.8)
        for method, points in rows[rows["target_rate_bits"] == target].groupby("method", sort=False):
            predicted = points["relative_distortion"] / points["ratio"]
            axis.plot(
                10 * np.log10(predicted),
                10 * np.log10(points["ratio"]),
                linestyle="none",
                label=str(method),
                alpha=0.8,
                **method_style(str(method)),
            )
        axis.set_title(f"{target:g} bits per weight")
        axis.set_xlabel("predicted D / D₀ (dB)")
    axes[0].set_ylabel("measured / predicted (dB)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    return figure


def gap_to_limit(table: pd.DataFrame) -> Figure:
    """Coded bits above the limit at the measured distortion, by method: mean over layers, bars from least to most."""
    ok = ok_rows(table)
    if ok.empty:
        return _empty("no row with status ok: nothing to draw")
    methods = list(dict.fromkeys(ok["method"]))
    figure = _new_figure(7.2, 3.2)
    axis = figure.subplots()
    for i, method in enumerate(methods):
        by_rate = ok[ok["method"] == method].groupby("target_rate_bits")["coded_gap_bits"]
        mean, low, high = by_rate.mean(), by_rate.min(), by_rate.max()
        x = mean.index.to_numpy(dtype=float) + (i - (len(methods) - 1) / 2) * 0.07
        axis.errorbar(
            x,
            mean,
            yerr=[mean - low, high - mean],
            linestyle="none",
            capsize=2,
            elinewidth=0.8,
            label=method,
            **method_style(method),
        )
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(sorted(ok["target_rate_bits"].unique()))
    axis.set_xlabel("target rate of the codes (bits per weight)")
    axis.set_ylabel("coded bits above the limit")
    figure.legend(loc="outside right upper")
    return figure


#: File name → drawing of the table and the theory curves.
FIGURES: dict[str, Callable[[pd.DataFrame, pd.DataFrame], Figure]] = {
    "rate_distortion": rate_distortion,
    "gap_to_limit": lambda table, curves: gap_to_limit(table),
    "gptq_watersic_gap": lambda table, curves: gptq_gap(table),
    "predicted_measured": lambda table, curves: predicted_and_measured(table),
}


def save_figure(figure: Figure, stem: Path) -> Path:
    """Write ``stem.png`` and ``stem.pdf``, the same bytes for the same figure; returns the PNG's path.

    Raises
    ------
    OutputError
    """
    for kind, metadata in SAVE_METADATA.items():
        with atomic_path(stem.with_name(f"{stem.name}.{kind}")) as scratch:
            figure.savefig(scratch, format=kind, metadata=metadata)
    return stem.with_name(f"{stem.name}.png")


def write_figures(table: pd.DataFrame, curves: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Draw every figure and write it as PNG and PDF; returns the PNGs by name.

    Raises
    ------
    OutputError
    """
    with matplotlib.rc_context(RC):
        return {name: save_figure(draw(table, curves), folder / name) for name, draw in FIGURES.items()}
