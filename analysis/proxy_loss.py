"""QuIP's theory on every layer: tr D over tr H and its bounds, the proxy loss of LDLQ, and what incoherence is worth at 2 bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rdtools.analysis.one_block import spaced_blocks

from rdtools.measure import measure
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.moments.spectrum import eigendecomposition
from rdtools.quantizers import prepare
from rdtools.report.figures.proxy_loss import draw as draw
from rdtools.runs.store import open_run
from rdtools.theory.incoherence import incoherence_trace_bound
from rdtools.transforms import rotate

RATE = 2.0
#: Method of a fixed rate → whether it feeds errors back.
FIXED = ("rtn", "gptq")


def rows_of(layer: Layer, vectors: np.ndarray) -> list[dict[str, object]]:
    """A row for each basis: traces, proxy loss of entropy-coded LDLQ in squared steps, and relative distortion of fixed rates at 2 bits."""
    values, rows = layer.spectrum.eigenvalues, []
    for basis, suffix in (("unrotated", ""), ("rotated", "+rotation")):
        quantizer = parse_method(f"hptq{suffix}", RATE)
        problem = prepare(layer, quantizer.preparation, seed=0)
        quantized = quantizer.quantize(layer, problem=problem)
        rotation = quantized.weight.basis.rotation
        turned = vectors.T if rotation is None else rotate(vectors.T, rotation)
        trace = float(np.sum(np.diagonal(problem.factor) ** 2))
        loss = measure(layer, quantized).distortion * layer.weight.shape[1]  # of a row
        point = {name: measure(layer, parse_method(name + suffix, RATE).quantize(layer)).relative_distortion for name in FIXED}
        rows.append(
            {
                "layer": layer.key.name,
                "layer_type": layer.key.type,
                "block": layer.key.block,
                "basis": basis,
                "trace_ratio": trace / float(values.sum()),
                "incoherence_bound_ratio": incoherence_trace_bound(np.sqrt(len(values)) * np.abs(turned).max(), values)
                / float(values.sum()),
                "proxy_loss_ratio": loss / (quantized.weight.symbols.grid.step**2 * trace),
                **{f"{name}_relative_distortion": value for name, value in point.items()},
            }
        )
    return rows


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of the layers of up to eight blocks of the first run, at 2 bits."""
    opened, rows, hessian, vectors = open_run(folders[0]), [], None, np.zeros((0, 0))
    for name in spaced_blocks(opened):
        layer = opened[name]
        if layer.hessian is not hessian:
            hessian, vectors = layer.hessian, np.asarray(eigendecomposition(layer.hessian.matrix).vectors)
        rows += rows_of(layer, vectors)
    return pd.DataFrame(rows)
