"""Bits per weight that a bias of 16 bits per row saves, by layer type and model: theory from H and E[x], and measured at 3 bits.

Theory: rounding to nearest and GPTQ with one step at high rate, and R(D) of Gaussian weights at 3 bits. Measured: ½ log2 of the distortion
at 3 bits without the bias, over that with the best bias, of weights that were quantized for the covariance in place of the second moment;
the 16/n bits of the bias are not taken off, and drawn as a line. Means over the layers of a type, bars from min to max.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.coding import reconstruct
from rdtools.measure import weighted_error
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.report.figures.bias import THEORY
from rdtools.report.figures.bias import draw as draw
from rdtools.runs.store import Run, open_run
from rdtools.theory import bias_correction
from rdtools.theory.waterfilling import distortion_rate, rate_distortion

BITS, BIAS_BITS = 3.0, 16
METHODS = tuple(THEORY)
#: Models with more weights than this are measured in their middle block alone.
MOST_WEIGHTS = 10**7
#: Columns of theory and of measurements.
SAVINGS = tuple(f"{part}_saving_bpw" for method, (theory, _) in THEORY.items() for part in (theory, method))


def _diagonal(moment: np.ndarray) -> np.ndarray:
    """Cholesky diagonal, 1e-10 of the mean diagonal added so that nearly dead channels do not matter."""
    ridge = 1e-10 * np.trace(moment) / len(moment)
    return np.diag(np.linalg.cholesky(moment + ridge * np.eye(len(moment))))


def theory(hessian: np.ndarray, mean: np.ndarray, variance: float) -> dict[str, float]:
    """Savings of an input whose weights have this mean square."""
    centred = bias_correction.centred_moment(hessian, mean)
    parts = [variance * np.maximum(np.linalg.eigvalsh(matrix), 0.0) for matrix in (hessian, centred)]
    reached = distortion_rate(BITS, parts[0]).distortion
    share = bias_correction.explained_share(hessian, mean)
    return {
        "mean_share": float(mean @ mean / np.trace(hessian)),
        "explained_share": share,
        "rounding_saving_bpw": bias_correction.rounding_saving_bits(hessian, mean),
        "feedback_saving_bpw": bias_correction.feedback_saving_bits(_diagonal(hessian), _diagonal(centred)),
        "limit_saving_bpw": bias_correction.limit_saving_bits(share, len(hessian)),
        "bound_saving_bpw": BITS - float(rate_distortion(reached, parts[1]).rate_bits),
    }


def measured(layer: Layer, mean: np.ndarray) -> dict[str, float]:
    """Savings of `METHODS` on a layer: of weights made for the covariance, and of the bias beside weights made without it."""
    moment, errors = layer.hessian.matrix, {}
    centred = bias_correction.centred_moment(moment, mean)
    beside = Layer(layer.key, layer.weight, replace(layer.hessian, matrix=centred, mean=None))
    for method in METHODS:
        quantizer = parse_method(method, BITS)
        plain, made = (reconstruct(quantizer.quantize(some).weight) for some in (layer, beside))
        without = weighted_error(layer.weight, plain, moment).mean
        errors[f"{method}_saving_bpw"] = 0.5 * math.log2(without / weighted_error(layer.weight, made, centred).mean)
        errors[f"{method}_after_saving_bpw"] = 0.5 * math.log2(without / weighted_error(layer.weight, plain, centred).mean)
    return errors


def _rows(run: Run) -> list[dict[str, object]]:
    rows, known = [], {}
    small = sum(math.prod(entry.shape) for entry in run.layers) <= MOST_WEIGHTS
    middle = max(run.key(entry).block for entry in run.layers) // 2
    for entry in run.layers:
        layer, key = run[entry.name], run.key(entry)
        mean = layer.hessian.mean
        if mean is None:
            raise ValueError(f"{run.path}: no mean of the input of {entry.name}; collect the run again")
        if entry.hessian not in known:
            known = {entry.hessian: theory(layer.hessian.matrix, mean, layer.statistics.weight_variance)}
        m, n = entry.shape
        facts = {"model": run.model_name, "layer": entry.name, "layer_type": key.type, "block": key.block, "rows": m, "columns": n}
        cost = {"cost_bpw": BIAS_BITS / n}
        rows.append({**facts, **cost, **known[entry.hessian], **(measured(layer, mean) if small or key.block == middle else {})})
    return rows


def run(runs: Sequence[Path]) -> pd.DataFrame:
    """A row for each layer of each run; a run needs means of its inputs, which runs before version 0.2 have not."""
    return pd.DataFrame([row for folder in runs for row in _rows(open_run(folder))])


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean savings less the cost of the bias, by model and layer type, and how many layers gain."""
    names = [name for name in SAVINGS if name in rows]
    net = rows[names].sub(rows["cost_bpw"], axis=0)
    groups = [rows["model"], rows["layer_type"]]
    return net.groupby(groups, sort=False).mean().join(net.gt(0).groupby(groups, sort=False).sum().add_suffix("_gain"))
