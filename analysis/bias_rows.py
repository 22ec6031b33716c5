"""Bits per weight that a stored bias gains, net of its own, from the rows of a run with and without ``+bias``, by layer type.

Both rows are files with everything counted, decoded and measured; with a bias the integers were decided under the covariance. The gain is
½ log2 of the distortion without over that with the bias, less the bits by which its file is longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.files import sole_writer
from rdtools.methods import make_quantizers
from rdtools.methods.names import BIAS
from rdtools.report.figures.bias_rows import draw as draw
from rdtools.report.rows import ok_rows
from rdtools.runs.store import open_run
from rdtools.sweep.job import agenda, collect_results, do_tasks

METHODS, BITS = ("rtn", "hrtn", "gptq", "hptq", "watersic"), (3.0,)
COLUMNS = (
    *("model", "layer", "layer_type", "block", "method", "target_bpw", "cost_bpw"),
    *("total_bpw", "bias_total_bpw", "distortion", "bias_distortion", "gain_bpw"),
)


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each layer, method and rate that a table has both with and without the bias, all of one seed."""
    ok, keys = ok_rows(table), ["layer", "method", "target_bpw", "seed"]
    beside = ok[ok["method"].str.endswith(f"+{BIAS}")].assign(method=lambda rows: rows["method"].str.removesuffix(f"+{BIAS}"))
    both = ok.merge(beside[[*keys, "total_bpw", "distortion"]].rename(columns=lambda c: c if c in keys else f"{BIAS}_{c}"), on=keys)
    both["cost_bpw"] = 16 / both["columns"]
    both["gain_bpw"] = 0.5 * np.log2(both["distortion"] / both["bias_distortion"]) - (both["bias_total_bpw"] - both["total_bpw"])
    return both[list(COLUMNS)].reset_index(drop=True)


def run(runs: Sequence[Path], methods: Sequence[str] = METHODS) -> pd.DataFrame:
    """Gains in the first run; rows that it has not are made and stored there, and its tables stay as they are."""
    opened = open_run(runs[0])
    quantizers = make_quantizers([name for method in methods for name in (method, f"{method}+{BIAS}")], BITS)
    with sole_writer(opened.path):
        todo = agenda(opened, quantizers)
        do_tasks(opened, todo.remaining, workers=1)
    found = gains(collect_results(opened, todo.plan).table)
    return found[found["method"].isin(methods) & found["target_bpw"].isin(BITS)].reset_index(drop=True)
