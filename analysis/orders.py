"""Bits by which entropy-coded GPTQ is above WaterSIC, by the order of its columns, with and without a random rotation, on every layer.

Differences in measured bits hold what coders make of the integers besides what steps and order do. WaterSIC's coder has a Gaussian model
per column, and standard deviations of rows where they pay; one histogram has neither, and is sent. At the highest rate GPTQ is therefore
measured with WaterSIC's coder as well: for independent weights that leaves the G of theory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rdtools.moments.layer import Layer
from rdtools.quantizers import HPTQ, Quantizer, WaterSIC
from rdtools.records import CodeModelKind
from rdtools.report.figures.orders import ORDERS as ORDERS
from rdtools.report.figures.orders import draw as draw
from rdtools.report.figures.orders import gptq_rows as gptq_rows
from rdtools.runs.store import open_run
from rdtools.sweep.task import quantize_layer

RATES = (2.0, 3.0, 4.0)
#: Coding of GPTQ → rates.
CODINGS: dict[CodeModelKind, tuple[float, ...]] = {"shared": RATES, "column": RATES[-1:]}
#: Columns of the result table that are kept.
KEPT = (
    "model",
    "layer",
    "layer_type",
    "block",
    "method",
    "target_bpw",
    "status",
    "rotation",
    "rate_gap_symbols_bpw",
    "rate_gap_total_bpw",
    "pred_gptq_gap_as_run_bpw",
)


def measure(layer: Layer) -> pd.DataFrame:
    """Rows of one layer: WaterSIC, and GPTQ in each order and basis, with what each is above WaterSIC at the same target rate."""
    quantizers: list[Quantizer] = [WaterSIC(rate_bits=rate) for rate in RATES]
    for coding, rates in CODINGS.items():
        for rotation in (None, "auto"):
            quantizers += [HPTQ(rate_bits=rate, coding=coding, order=order, rotation=rotation) for order in ORDERS for rate in rates]
    rows = pd.DataFrame(quantize_layer(layer, tuple(quantizers), seed=0)).reindex(columns=list(KEPT))
    reference = rows[rows["method"] == "watersic"].set_index("target_bpw")["rate_gap_symbols_bpw"]
    rows["above_watersic_bpw"] = rows["rate_gap_symbols_bpw"] - rows["target_bpw"].map(reference)
    return rows


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of every layer of runs of `rdtools report` or `rdtools hessians collect`, one run a model."""
    opened = [open_run(folder) for folder in folders]
    return pd.concat([measure(run[name]) for run in opened for name in run], ignore_index=True)
