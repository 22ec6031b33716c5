"""Bits that WaterSIC loses to few calibration tokens and to damping, measured on held-out moments, beside theory.

The Hessian of a layer is taken as the second moment of normal tokens, of which calibration sees N: what is held out is the layer's own
Hessian, so that the loss is of calibration alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rdtools.analysis.one_block import layers_of_middle_block

from rdtools.compare import layer_facts
from rdtools.compare.bounds import RD_BOUND
from rdtools.measure import measure
from rdtools.moments.layer import Layer
from rdtools.quantizers import WaterSIC
from rdtools.records import Hessian
from rdtools.report.figures.calibration import draw as draw
from rdtools.theory.calibration import calibration_penalty_bits
from rdtools.theory.mismatch import damping_penalty_bits

RATE = 4.0
#: Tokens per column; 0 for the exact moment.
SIZES = (1.25, 1.5, 2.0, 4.0, 8.0, 16.0, 64.0)
DAMPINGS = (0.0001, 0.001, 0.01, 0.1, 1.0)
SEEDS = (0, 1, 2)
KIND = "o_proj"


def gap(layer: Layer, known: Layer, damping: float) -> float:
    """Bits above R(D), one variance, of the layer, at the distortion under its own Hessian, of an answer for what is known of it."""
    quantized = WaterSIC(rate_bits=RATE, damping=damping).quantize(known)
    point = measure(layer, quantized)
    return point.symbol_bpw - RD_BOUND.rate(layer_facts(layer), point.distortion)


def sampled(layer: Layer, tokens: int, seed: int) -> Layer:
    """The layer with the second moment of some normal tokens in place of its own."""
    factor = np.linalg.cholesky(layer.hessian.matrix)
    x = np.random.default_rng(seed).standard_normal((tokens, len(factor))) @ factor.T
    return replace(layer, hessian=Hessian(x.T @ x / tokens, tokens))


def rows_of(layer: Layer) -> Iterator[dict[str, object]]:
    """A row for each number of tokens, undamped and with a damping of 1 %, and for each damping of the exact moment and of few tokens."""
    n, exact = layer.weight.shape[1], gap(layer, layer, 0.0)
    cases = [(size, damping, seed) for size in SIZES for damping in (0.0, 0.01) for seed in SEEDS]
    cases += [(0.0, damping, 0) for damping in DAMPINGS] + [(4.0, damping, seed) for damping in (0.0, *DAMPINGS) for seed in SEEDS]
    for size, damping, seed in dict.fromkeys(cases):
        known = sampled(layer, round(size * n), seed) if size else layer
        yield {
            "layer": layer.key.name,
            "tokens_per_column": size,
            "damping": damping,
            "seed": seed,
            "penalty_bpw": gap(layer, known, damping) - exact,
            "pred_calibration_bpw": calibration_penalty_bits(1 / size) if size else 0.0,
            "pred_damping_bpw": damping_penalty_bits(layer.spectrum, damping),
        }


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of the o of the middle block of the first run, or of its first layer."""
    layers = layers_of_middle_block(folders[0])
    return pd.DataFrame(rows_of(layers.get(KIND) or next(iter(layers.values()))))
