"""Incoherence of weights and Hessians before and after each rotation of the input, with what theory bounds it by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rdtools.analysis.one_block import spaced_blocks

from rdtools.moments.layer import Layer
from rdtools.moments.spectrum import eigendecomposition
from rdtools.report.figures.incoherence import draw as draw
from rdtools.runs.store import open_run
from rdtools.seeds import rotation_seed
from rdtools.theory import incoherence as theory
from rdtools.transforms import is_hadamard_order, new_rotation, rotate

#: Rotation → bound on μ_H by columns.
BOUNDS = {
    "hadamard": theory.hadamard_incoherence_bound,
    "haar": theory.haar_incoherence_bound,
    "kronecker": lambda columns, failure: theory.kronecker_incoherence_bound(columns, failure=failure),
}
#: Probability with which a rotation may exceed its bound.
FAILURE = 0.01


def measure(layer: Layer, vectors: np.ndarray, rotation: str, seed: int) -> dict[str, object]:
    """A row of a layer: μ_W and μ_H behind a rotation, and the bound on the latter."""
    weight, columns = layer.weight[:, layer.active], vectors.T
    bound = np.nan
    if rotation != "none":
        turned = new_rotation(rotation, len(vectors), seed)
        weight, columns = rotate(weight, turned), rotate(columns, turned)
        bound = BOUNDS[rotation](len(vectors), failure=FAILURE)
    return {
        "layer": layer.key.name,
        "layer_type": layer.key.type,
        "block": layer.key.block,
        "columns": len(vectors),
        "rotation": rotation,
        "weight_incoherence": theory.weight_incoherence(weight),
        "hessian_incoherence": float(np.sqrt(len(vectors)) * np.abs(columns).max()),
        "hessian_incoherence_bound": bound,
    }


def rows_of(layers: Iterator[Layer]) -> Iterator[dict[str, object]]:
    """A row for each layer and rotation that exists for its columns; layers of one input, which follow one another, share its vectors."""
    hessian, vectors = None, np.zeros((0, 0))
    for layer in layers:
        if layer.hessian is not hessian:
            hessian, vectors = layer.hessian, np.asarray(eigendecomposition(layer.hessian.matrix).vectors)
        for rotation in ("none", *BOUNDS):
            if rotation != "hadamard" or is_hadamard_order(len(vectors)):
                yield measure(layer, vectors, rotation, rotation_seed(0, layer.hessian.name))


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of the layers of up to eight blocks of the first run."""
    opened = open_run(folders[0])
    return pd.DataFrame(rows_of(opened[name] for name in spaced_blocks(opened)))
