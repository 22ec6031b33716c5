"""Gap to R(D) from 1 to 4 bits: GPTQ, WaterSIC, MMSE-WaterSIC, and that on a trellis, on every Hessian of a run.

For Gaussian and real weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from rdtools.compare import LayerFacts, layer_facts
from rdtools.compare.bounds import RD_BOUND
from rdtools.moments.layer import Layer
from rdtools.planning import MmseWaterSIC, TrellisWaterSIC
from rdtools.quantizers import HPTQ, WaterSIC
from rdtools.report.figures.low_rate import draw as draw
from rdtools.rounded import cell_probabilities, entropy_bits
from rdtools.runs.store import open_run
from rdtools.sweep.task import quantize_layer
from rdtools.theory.finite_rate import FiniteRatePoint, sic_at_finite_rate
from rdtools.theory.waterfilling import components, rate_distortion

RATES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
#: Rows of the normal weights.
ROWS = 4096
#: Columns of the result table that are kept.
KEPT = ("layer", "layer_type", "block", "method", "target_bpw", "status", "symbol_bpw", "rate_gap_symbols_bpw", "rate_gap_total_bpw")

Method = HPTQ | WaterSIC | MmseWaterSIC


def methods() -> tuple[Method, ...]:
    """Every method at every rate."""
    made: list[Method] = []
    for rate in RATES:
        made += [
            HPTQ(rate_bits=rate, order="act-order"),
            WaterSIC(rate_bits=rate),
            WaterSIC(rate_bits=rate, lmmse=True),
            MmseWaterSIC(rate_bits=rate),
            TrellisWaterSIC(rate_bits=rate),
        ]
    return tuple(made)


def pooled_bits(stds: np.ndarray) -> float:
    """Entropy of one histogram of rounded normal variables with these standard deviations."""
    p = cell_probabilities(1 / stds, int(np.ceil(12 * stds.max())) + 1).mean(axis=0)
    return entropy_bits(np.concatenate([p[:0:-1], p]))


def predicted_gap_bits(layer: Layer, quantizer: Method) -> float:
    """Gap of independent normal weights at the target rate by theory at finite rate, which does not depend on their variance.

    That of the plan where there is one. GPTQ's one histogram is charged as such, but not its bytes. nan for a singular H.
    """
    spectrum, share = layer.spectrum, float(layer.active.mean())
    if spectrum.rank < spectrum.active:
        return np.nan
    if isinstance(quantizer, MmseWaterSIC):
        return share * quantizer.plan(layer).gap_bits
    problem = quantizer.prepare(layer)
    ell = np.diagonal(problem.factor)
    relative = 1 / ell if isinstance(quantizer, WaterSIC) else np.ones_like(ell)

    def predict(octave: float) -> tuple[float, FiniteRatePoint]:
        steps = 2.0**octave * relative
        point = sic_at_finite_rate(problem.factor, steps, lmmse=isinstance(quantizer, WaterSIC) and bool(quantizer.lmmse))
        if quantizer.coding == "column":
            return point.rate_bits, point
        return pooled_bits(np.sqrt(point.input_variances) / (steps * ell)), point

    octave = 0.5 * np.log2(2 * np.pi * np.e) - quantizer.rate_bits - np.mean(np.log2(relative))
    root = brentq(lambda x: predict(x)[0] - quantizer.rate_bits, octave - 4, octave + 4, xtol=1e-4)
    rate, point = predict(root)
    return share * (rate - float(rate_distortion(point.distortion, components(spectrum.eigenvalues)).rate_bits))


def gap_stderr_bits(facts: LayerFacts, row: Mapping[str, Any]) -> float:
    """Bits of the gap to R(D), one variance, that a standard error of D is; nan for a row that is not ok."""
    if row["status"] != "ok":
        return np.nan
    mean, error = row["distortion"], row["distortion_stderr"]
    return 0.5 * (RD_BOUND.rate(facts, mean - error) - RD_BOUND.rate(facts, mean + error))


def measure(layer: Layer, kind: str, predicted: Mapping[Method, float]) -> Iterator[dict[str, object]]:
    """A row for each method and rate, with the predicted gap and what a standard error of D is in bits of the gap."""
    facts = layer_facts(layer)
    values = layer.spectrum.eigenvalues
    condition = float(values[0] / values[-1]) if layer.spectrum.rank == len(values) else np.inf
    for quantizer, row in zip(predicted, quantize_layer(layer, tuple(predicted), seed=0, facts=facts), strict=True):
        kept = {name: row.get(name, np.nan) for name in KEPT}
        spread = gap_stderr_bits(facts, row)
        yield {"weights": kind, **kept, "rate_gap_stderr_bpw": spread, "pred_rate_gap_bpw": predicted[quantizer], "condition": condition}


def normal_layer(layer: Layer, seed: int) -> Layer:
    """The layer with independent standard normal weights of ROWS rows in place of its own, and the very same Hessian."""
    return replace(layer, weight=np.random.default_rng(seed).standard_normal((ROWS, layer.weight.shape[1])))


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of every layer of the first run, and before those of one input, which follow one another, rows of normal weights on it."""
    opened = open_run(folders[0])
    rows: list[dict[str, object]] = []
    hessians = []
    for name in opened:
        layer = opened[name]
        if not hessians or hessians[-1] is not layer.hessian:
            hessians.append(layer.hessian)
            predicted = {quantizer: predicted_gap_bits(layer, quantizer) for quantizer in methods()}
            rows += measure(normal_layer(layer, len(hessians) - 1), "normal", predicted)
        rows += measure(layer, "real", predicted)
    return pd.DataFrame(rows)
