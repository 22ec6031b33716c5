"""Bytes of the files of a block by what they are for: payload, steps of columns, scales of rows, entropy models, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rdtools.analysis.one_block import layers_of_middle_block

from rdtools.coding import count_integers, encode, shared_table
from rdtools.coding.entropy.exponents import exponent_bytes
from rdtools.coding.entropy.models import histogram_bytes
from rdtools.methods import parse_method
from rdtools.records import QuantizedWeight, ScalarSymbols
from rdtools.report.figures.rate_split import PARTS
from rdtools.report.figures.rate_split import draw as draw

RATE = 3.0
METHODS = ("rtn", "gptq", "gptq-g128", "hptq", "hptq-column", "watersic", "watersic-shared", "watersic-mmse", "watersic-trellis", "qtip")


def split(weight: QuantizedWeight) -> dict[str, float]:
    """Bits per weight of each part of a file; they sum to its size."""
    data, symbols = encode(weight), weight.symbols
    sizes = dict.fromkeys(PARTS, 0)
    sizes["payload"] = data.payload_bytes
    grid, model = getattr(symbols, "grid", None), getattr(symbols, "model", None)
    if grid is not None and grid.exponents is not None:
        sizes["steps"] = len(exponent_bytes(grid.exponents))
    if grid is not None and grid.rows is not None:
        zero_points = 0 if grid.rows.zero_points is None else grid.rows.zero_points.nbytes
        sizes["scales"] = 2 * grid.rows.scales.size + zero_points
    if model is not None and model.row_exponents is not None:
        sizes["models"] = len(exponent_bytes(model.row_exponents))
    if isinstance(symbols, ScalarSymbols) and symbols.model.kind == "shared":
        sizes["models"] = len(histogram_bytes(shared_table(count_integers(symbols.integers))))
    if isinstance(symbols, ScalarSymbols) and symbols.gains.columns is not None:
        sizes["gains"] = 2 * symbols.gains.columns.size
    sizes["rest"] = len(data.data) - sum(sizes.values())
    return {f"{name}_bpw": 8 * size / (weight.basis.rows * len(weight.basis.active)) for name, size in sizes.items()}


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """A row for each method and matrix of the middle block of the first run, at 3 bits."""
    layers = layers_of_middle_block(folders[0])
    return pd.DataFrame(
        [
            {"layer": layer.key.name, "layer_type": kind, "method": name, **split(parse_method(name, RATE).quantize(layer).weight)}
            for kind, layer in layers.items()
            for name in METHODS
        ]
    )
