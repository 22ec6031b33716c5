"""Rate above R(D) of the matrices of one input in a file each, and in one file: q, k and v, gate and up, as one matrix of all their rows.

A stack has one step, one table of column exponents and one set of models, which learn from all rows. All its matrices have about the same
distortion per weight, where single files have the same rate; R(D) is that of each matrix at its own D, so a gap depends little on that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.coding import encode, reconstruct
from rdtools.compare import BOUNDS, LayerFacts, layer_facts
from rdtools.measure import measure
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.report.figures.trellis_stacked import draw as draw
from rdtools.runs.store import open_run

BLOCKS = (0, 2, 4)
GROUPS = {"q, k, v": ("q_proj", "k_proj", "v_proj"), "gate, up": ("gate_proj", "up_proj")}
METHODS = ("watersic-trellis", "watersic-trellis+adaptive")
RATES = (2.0, 3.0, 4.0)
#: Bits of a stack's file for the rows of each matrix, which the container of one matrix does not have.
ROW_COUNT_BITS = 16
BOUND = "rd_bound"


def stacked(layers: Sequence[Layer]) -> Layer:
    """One layer with the rows of several of one input."""
    return replace(layers[0], weight=np.vstack([layer.weight for layer in layers]))


def single_rows(layers: Sequence[Layer], facts: Sequence[LayerFacts], method: str, rate: float) -> tuple[float, float]:
    """Bits of files of one matrix each, and of R(D) at the distortion of each."""
    bits = limit = 0.0
    for layer, known in zip(layers, facts, strict=True):
        point = measure(layer, parse_method(method, rate).quantize(layer))
        bits += point.total_bpw * layer.weight.size
        limit += BOUNDS[BOUND].rate(known, point.distortion) * layer.weight.size
    return bits, limit


def stacked_rows(layers: Sequence[Layer], facts: Sequence[LayerFacts], method: str, rate: float) -> tuple[float, float]:
    """The same of one file for all, with its row counts."""
    stack = stacked(layers)
    quantized = parse_method(method, rate).quantize(stack)
    bits = 8.0 * len(encode(quantized.weight).data) + ROW_COUNT_BITS * len(layers)
    error = stack.weight - np.asarray(reconstruct(quantized.weight))
    limit, first = 0.0, 0
    for layer, known in zip(layers, facts, strict=True):
        part = error[first : first + len(layer.weight)]
        first += len(part)
        distortion = float(np.einsum("ij,jk,ik->", part, layer.hessian.matrix, part)) / part.size
        limit += BOUNDS[BOUND].rate(known, distortion) * part.size
    return bits, limit


def rows_of(layers: Sequence[Layer], group: str) -> Iterator[dict[str, object]]:
    """A row for each method, rate and way of filing."""
    facts, weights = [layer_facts(layer) for layer in layers], sum(layer.weight.size for layer in layers)
    for method in METHODS:
        for rate in RATES:
            for files, sizes in (("single", single_rows), ("stacked", stacked_rows)):
                bits, limit = sizes(layers, facts, method, rate)
                yield {
                    "block": layers[0].key.block,
                    "group": group,
                    "weights": weights,
                    "method": method,
                    "target_bpw": rate,
                    "container_layers": len(layers) if files == "stacked" else 1,
                    "total_bpw": bits / weights,
                    "rate_gap_total_bpw": (bits - limit) / weights,
                }


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of the groups of some blocks of the first run."""
    opened, rows = open_run(folders[0]), []
    layers = {(layer.key.block, layer.key.type): layer for layer in (opened[name] for name in opened) if layer.key.block in BLOCKS}
    for block in BLOCKS:
        for group, types in GROUPS.items():
            rows += rows_of([layers[block, kind] for kind in types], group)
    return pd.DataFrame(rows)
