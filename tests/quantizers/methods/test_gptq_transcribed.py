"""The integers of GPTQ and RTN on the grids of gptq.py, from a transcription of the algorithm (arXiv 2210.17323 and its code)."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.coding import round_to_bfloat16
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import GPTQ, RTN


def find_params(x, bits, *, sym, mse):
    """`Quantizer.find_params` for each row of x: scale, as stored, and zero, with maxq = 2^bits − 1."""
    maxq = 2**bits - 1
    low, high = np.minimum(x.min(axis=1), 0.0), np.maximum(x.max(axis=1), 0.0)
    if sym:
        high = np.maximum(np.abs(low), high)
        low = -high

    def params(p):
        scale = round_to_bfloat16(p * (high - low) / maxq).astype(np.float64)
        return scale, np.full(len(x), (maxq + 1) / 2) if sym else np.clip(np.round(-p * low / scale), 0, maxq)

    best, (scales, zeros) = np.full(len(x), np.inf), params(1.0)
    for i in range(80 if mse else 0):
        scale, zero = params(1 - i / 100)
        error = np.sum(np.abs(quantize(x, scale[:, None], zero[:, None], maxq)[1] - x) ** 2.4, axis=1)
        better = error < best
        best, scales, zeros = (np.where(better, new, old) for new, old in ((error, best), (scale, scales), (zero, zeros)))
    return scales, zeros


def quantize(x, scale, zero, maxq):
    q = np.clip(np.round(x / scale) + zero, 0, maxq)
    return q, scale * (q - zero)


def fasterquant(W, H, bits, *, sym, mse, group_size=None, static_groups=False, act_order=False, percdamp=0.01):
    """`GPTQ.fasterquant`, one column after another: integers from 0 to maxq, scales and zeros of the groups, in the columns' own order."""
    W, H = W.copy(), H.copy()
    n = W.shape[1]
    size = n if group_size is None else group_size
    params = [find_params(W[:, g : g + size], bits, sym=sym, mse=mse) for g in range(0, n, size)]
    perm = np.argsort(-np.diag(H), kind="stable") if act_order else np.arange(n)
    W, H = W[:, perm], H[np.ix_(perm, perm)]
    H[np.diag_indices(n)] += percdamp * np.mean(np.diag(H))
    Hinv = np.linalg.cholesky(np.linalg.inv(H)).T  # upper triangular
    Q = np.empty(W.shape)
    for i in range(n):
        group = perm[i] // size
        if group_size is not None and not static_groups and i % size == 0:
            params[group] = find_params(W[:, i : i + size], bits, sym=sym, mse=mse)
        scale, zero = params[group]
        Q[:, i], values = quantize(W[:, i], scale, zero, 2**bits - 1)
        error = (W[:, i] - values) / Hinv[i, i]
        W[:, i:] -= np.outer(error, Hinv[i, i:])
    return Q[:, np.argsort(perm)], np.stack([s for s, _ in params], axis=1), np.stack([z for _, z in params], axis=1)


def _layer(seed, m=16, n=64):
    rng = np.random.default_rng(seed)
    return Layer.of(rng.standard_normal((m, n)), haar_moment(power_law(n, 1.0), rng), name="layer")


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("range_rule", ["absmax", "mse"])
@pytest.mark.parametrize("grid", ["symmetric", "asymmetric"])
@pytest.mark.parametrize(
    ("groups", "order"),
    [(None, "reversed"), (None, "act-order"), ("static", "reversed"), ("static", "act-order"), ("dynamic", "reversed")],
)
def test_all_integers_are_those_of_gptq(grid, range_rule, groups, order, bits, seed):
    """1024 of 1024, with the same scales; gptq.py decides columns from the first on, which is "reversed" here."""
    layer = _layer(seed)
    settings = {} if groups is None else {"group_size": 16, "groups": groups}
    q = GPTQ(rate_bits=bits, grid=grid, range_rule=range_rule, order=order, damping=0.01, **settings).quantize(layer).weight.symbols
    expected, scales, zeros = fasterquant(
        layer.weight,
        layer.hessian.matrix,
        bits,
        sym=grid == "symmetric",
        mse=range_rule == "mse",
        group_size=settings.get("group_size"),
        static_groups=groups == "static",
        act_order=order == "act-order",
    )
    middle = 2 ** (bits - 1)
    np.testing.assert_array_equal(q.grid.rows.scales, scales)
    np.testing.assert_array_equal(q.integers, expected - middle)
    np.testing.assert_array_equal(0 if q.grid.rows.zero_points is None else q.grid.rows.zero_points, zeros - middle)
    assert q.grid.offset == 0


@pytest.mark.parametrize("range_rule", ["absmax", "mse"])
@pytest.mark.parametrize("grid", ["symmetric", "asymmetric"])
def test_rounding_to_nearest_is_the_same_without_feedback(grid, range_rule):
    layer = _layer(3)
    for group_size in (None, 16):
        q = RTN(rate_bits=3, grid=grid, range_rule=range_rule, group_size=group_size).quantize(layer).weight.symbols
        size = group_size or 64
        for g in range(0, 64, size):
            part = layer.weight[:, g : g + size]
            scale, zero = find_params(part, 3, sym=grid == "symmetric", mse=range_rule == "mse")
            np.testing.assert_array_equal(q.grid.rows.scales[:, g // size], scale)
            np.testing.assert_array_equal(q.integers[:, g : g + size], quantize(part.T, scale, zero, 7)[0].T - 4)
