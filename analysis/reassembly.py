"""Error of 4-bit activations before and after channel reassembly, with its prediction, over the threshold of splitting.

Layers with six outlier channels, ten to sixty times as large as the others; of the second kind every channel has a similar twin. The
prediction takes errors as uncorrelated: twins that are both rounded to zero err alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from rdtools.errors import UsageError
from rdtools.quantizers.grids.row import row_grid
from rdtools.quantizers.reassembly.reassembler import Reassembler
from rdtools.records import ActivationGrid, InputMap
from rdtools.report.figures.reassembly import BITS
from rdtools.report.figures.reassembly import draw as draw
from rdtools.theory.activation import minmax_step_power, reassembled_distortion

GRID = ActivationGrid(BITS, symmetric=False)
COLUMNS, ROWS, TOKENS, OUTLIERS = 512, 128, 1000, 6
SEEDS = (0, 1, 2)
#: θ over the largest channel maximum.
THRESHOLDS = (0.4, 0.3, 0.2, 0.15, 0.1, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03)
#: Settings of what is compared.
VARIANTS: dict[str, dict[str, Any]] = {
    "split": {"assembly": "none"},
    "split, staggered": {"assembly": "none", "staggered": True},
    "merged": {"rescale": False},
    "merged, rescaled": {},
    "merged, released metric": {"rescale": False, "metric": "released"},
    "pruned": {"assembly": "prune"},
}


def outlier_layer(seed: int, *, similar: bool) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, twice TOKENS, and weights: normal; with twins of correlation 1/1.04, and likewise their columns, if `similar`."""
    rng = np.random.default_rng(seed)
    distinct = COLUMNS // 2 if similar else COLUMNS
    x, weight = rng.standard_normal((2 * TOKENS, distinct)), rng.standard_normal((ROWS, distinct))
    if similar:
        x = np.repeat(x, 2, axis=1) + 0.2 * rng.standard_normal((2 * TOKENS, COLUMNS))
        weight = np.repeat(weight, 2, axis=1) + 0.2 * rng.standard_normal((ROWS, COLUMNS))
    x[:, rng.choice(COLUMNS, OUTLIERS, replace=False)] *= np.linspace(10, 60, OUTLIERS)
    return x, weight / np.sqrt(COLUMNS)


def errors(chain: InputMap, x: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Output error behind a map over the output's power: activations rounded alone, with its standard error over tokens and its prediction,
    and beside weights of as many bits.
    """
    power = np.mean((x @ weight.T) ** 2)
    mapped, moment = chain.apply(x), x.T @ x / len(x)
    q, coded = GRID.quantize(mapped, chain.shifts), chain.weight(weight)
    lost = np.mean((x @ weight.T - q @ coded.T) ** 2, axis=1) / power
    assembly = InputMap(chain.links if chain.copies is None else chain.links[:-1], columns=x.shape[1])
    predicted = reassembled_distortion(
        minmax_step_power(mapped, bits=BITS),
        np.ones(assembly.outputs, dtype=int) if chain.copies is None else chain.copies,
        weight,
        moment,
        assembly,
        staggered=chain.shifts is not None,
    )
    rows = row_grid(coded, 2**BITS, grid="asymmetric")
    both = np.mean((x @ weight.T - q @ rows.values(rows.nearest(coded)).T) ** 2) / power
    return {
        "relative_error": float(lost.mean()),
        "relative_error_stderr": float(lost.std(ddof=1) / np.sqrt(len(lost))),
        "pred_relative_error": predicted * x.shape[1] / power,
        "relative_error_with_weights": float(both),
    }


def measure(seed: int, *, similar: bool) -> Iterator[dict[str, Any]]:
    """A row before reassembly, and one for each variant and threshold; maps from one half of the tokens, errors on the other."""
    x, weight = outlier_layer(seed, similar=similar)
    train, test = x[:TOKENS], x[TOKENS:]
    known = {"channels": "similar" if similar else "independent", "seed": seed}
    yield known | {"variant": "before", "threshold": 1.0, "expansion": 0.0} | errors(InputMap(columns=COLUMNS), test, weight)
    for variant, settings in VARIANTS.items():
        for threshold in THRESHOLDS:
            try:
                reassembled = Reassembler(threshold=threshold, weight_bits=BITS, grid=GRID, **settings).reassemble(train, weight)
            except UsageError:
                continue  # fewer channels are left to be merged than were added
            row = known | {"variant": variant, "threshold": threshold, "expansion": reassembled.expansion}
            yield row | errors(reassembled.input_map, test, weight)


def run() -> pd.DataFrame:
    """Rows of every seed and kind of layer."""
    return pd.DataFrame([row for similar in (False, True) for seed in SEEDS for row in measure(seed, similar=similar)])
