"""Layers with outlier channels, and the error of theirs behind a map, measured on tokens."""

from __future__ import annotations

import numpy as np

from rdtools.quantizers.grids.row import row_grid
from rdtools.records import ActivationGrid, InputMoments

COLUMNS, ROWS, TOKENS = 512, 128, 800
GRID = ActivationGrid(4, symmetric=False)


def outliers(seed, *, similar=False, columns=COLUMNS, rows=ROWS, tokens=2 * TOKENS):
    """Normal tokens, half to calibrate and half to test, with six channels 10 to 60 times as large, and normal weights.

    Where channels are `similar`, each has a twin: both have correlation 1/1.04, and so have their columns."""
    rng = np.random.default_rng(seed)
    shape = (tokens, columns // 2 if similar else columns)
    x, W = rng.standard_normal(shape), rng.standard_normal((rows, shape[1])) / np.sqrt(columns)
    if similar:
        x = np.repeat(x, 2, axis=1) + 0.2 * rng.standard_normal((tokens, columns))
        W = np.repeat(W, 2, axis=1) + 0.2 * rng.standard_normal((rows, columns)) / np.sqrt(columns)
    x[:, rng.choice(columns, 6, replace=False)] *= np.linspace(10, 60, 6)
    return x[: tokens // 2], x[tokens // 2 :], W


def rounded(weight, bits):
    """Each row to the nearest level of its min-max grid."""
    grid = row_grid(weight, 2**bits, grid="asymmetric")
    return grid.values(grid.nearest(weight))


def relative_error(input_map, x, weight, *, weight_bits=None):
    """‖W x − Ŵ Q(T x)‖² over ‖W x‖², on tokens."""
    mapped = input_map.weight(weight)
    coded = mapped if weight_bits is None else rounded(mapped, weight_bits)
    y = x @ weight.T
    return float(((y - GRID.quantize(input_map.apply(x), input_map.shifts) @ coded.T) ** 2).sum() / (y**2).sum())


def moments_of(input_map, x):
    q = GRID.quantize(input_map.apply(x), input_map.shifts)
    return InputMoments.quantized(x.T @ x / len(x), q.T @ q / len(x), x.T @ q / len(x), tokens=len(x))
