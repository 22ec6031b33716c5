from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools import ops
from rdtools.errors import NotPositiveSemidefinite, ShapeMismatch, UsageError
from rdtools.linalg import cholesky
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers.rounding import block_ldlq as module
from rdtools.quantizers.rounding.block_ldlq import block_ldlq, refine_blocks
from rdtools.testing import layers


def _parts(n, block):
    return [slice(max(0, stop - block), stop) for stop in range(n, 0, -block)]


def _block_trace(L, block):
    return sum((L[part, part] ** 2).sum() for part in _parts(len(L), block))


def _case(m, n, seed=0):
    rng = np.random.default_rng(seed)
    H = haar_moment(power_law(n, 1.0), rng)
    return rng.standard_normal((m, n)), H, cholesky(H).lower


def _rint(step):
    return lambda targets, first_column: step * np.rint(targets / step)


def _e8p(scale):
    return lambda targets, first_column: ops.e8p_nearest(targets * scale)[1] / scale


def _textbook(W, L, block, rule):
    """The formula, one block after another."""
    V = np.zeros_like(W)
    for part in _parts(W.shape[1], block):
        later = slice(part.stop, None)
        Y = (W - V)[:, later] @ L[later, part]
        V[:, part] = rule(W[:, part] + scipy.linalg.solve(L[part, part].T, Y.T).T, part.start)
    return V


@given(layers(max_condition=1e4), st.integers(1, 9), st.sampled_from(["rint", "nothing", "noise"]))
def test_the_loss_is_that_of_the_roundings_own_errors(layer, block, kind):
    """``tr(E H Eᵀ) = Σ tr(η_k D_k η_kᵀ)`` whatever the rule does to its target."""
    W = layer.weight
    n = W.shape[1]
    L = cholesky(layer.hessian.matrix).lower
    own = np.full(W.shape, np.nan)
    spread = np.abs(W).max()
    noise = np.random.default_rng(n).standard_normal(W.shape) * spread

    def rule(targets, first_column):
        columns = slice(first_column, first_column + targets.shape[1])
        assert targets.flags.c_contiguous
        rounded = {"rint": spread * np.rint(targets / spread), "nothing": np.zeros_like(targets), "noise": targets + noise[:, columns]}[
            kind
        ]
        own[:, columns] = targets - rounded
        return rounded

    E = W - block_ldlq(W, L, block, rule)
    expected = sum(((own[:, part] @ L[part, part]) ** 2).sum() for part in _parts(n, block))
    # errors and targets grow by the condition of the blocks of L at most
    scale = (np.abs(E).max() + spread) ** 2 * (L**2).sum() * len(W)
    assert abs(((E @ L) ** 2).sum() - expected) <= rounding(10 * n, condition=100) * scale


@given(layers(max_condition=1e4), st.floats(0.05, 2.0))
def test_single_columns_on_a_grid_are_the_scalar_sweep(layer, step):
    """The same integers, or a tie to rounding in the first column where they differ."""
    W = layer.weight
    n = W.shape[1]
    L = cholesky(layer.hessian.matrix).lower
    step *= np.abs(W).max()
    integers, residual = ops.sic_sweep(W, L, np.full(n, step))
    mine = np.rint(block_ldlq(W, L, 1, _rint(step)) / step)
    for row in np.flatnonzero((integers != mine).any(axis=1)):
        i = np.flatnonzero(integers[row] != mine[row])[-1]
        width = step * L[i, i]
        slack = rounding(10 * n, condition=100) * (np.abs(W).max() + step) * np.abs(L).max() * n
        assert abs(residual[row, i]) == pytest.approx(width / 2, abs=slack)


@pytest.mark.parametrize("n", [1, 7, 64, 137, 300])
@pytest.mark.parametrize("block", [1, 5, 8, 200])
@pytest.mark.parametrize("panel", [128, 20])
def test_panels_leave_the_formula_as_it_is(n, block, panel, monkeypatch):
    """Values on a grid of step ½ are those of the textbook; n need not be a multiple of the block, nor the panel."""
    monkeypatch.setattr(module, "PANEL", panel)
    W, _, L = _case(6, n)
    columns = []

    def rule(targets, first_column):
        columns.append((first_column, targets.shape))
        return _rint(0.5)(targets, first_column)

    assert (block_ldlq(W, L, block, rule) == _textbook(W, L, block, _rint(0.5))).all()
    assert columns == [(part.start, (6, part.stop - part.start)) for part in _parts(n, block)]


def test_the_example_of_low_rank():
    """tr D of rank 16 (plus 1e-6) at n = 256 grows with the block, here measured with errors of unit variance; the example is one draw.

    So it lies within so many standard deviations of draws, and so do its increments from block to block, which vary less.
    """
    sizes, example = (1, 2, 4, 8, 16), np.array([0.585, 0.593, 0.604, 0.743, 0.991])
    eigenvalues = np.where(np.arange(256) < 16, 1.0, 1e-6)
    traces = []
    for seed in range(10):
        L = cholesky(haar_moment(eigenvalues, np.random.default_rng(seed))).lower
        traces.append([_block_trace(L, g) for g in sizes])
    rng, m = np.random.default_rng(0), 400
    for g, trace in zip(sizes, traces[-1], strict=True):
        noise = rng.standard_normal((m, 256))
        E = -block_ldlq(np.zeros((m, 256)), L, g, lambda targets, first, e=noise: targets + e[:, first : first + targets.shape[1]])
        losses = ((E @ L) ** 2).sum(axis=1)
        assert abs(losses.mean() - trace) <= STANDARD_ERRORS * losses.std() / math.sqrt(m)
    increments = np.diff(np.array(traces), axis=1, prepend=0)
    expected = np.diff(example, prepend=0)
    assert (np.abs(increments.mean(axis=0) - expected) <= STANDARD_ERRORS * increments.std(axis=0)).all()
    assert (np.diff(np.array(traces)[:, [0, 1, 3, 4]], axis=1) >= -rounding(256)).all()


def _wishart(n, seed=0):
    X = np.random.default_rng(seed).standard_normal((4 * n, n))
    H = X.T @ X / (4 * n)
    return H + 0.01 * np.trace(H) / n * np.eye(n)


#: Squared error of E8P on standard normal weights; see the tests of its kernel.
E8P_ERROR = {0.9: 0.0990, 1.03: 0.0913}


def test_e8p_loses_what_its_error_on_normal_weights_says():
    """Loss = m · MSE · tr D within 2 %: the surplus is overload, because feedback widens the targets; it grows with the scale.

    Refined it loses .0829 and .0761 of the weights' energy at the two scales, .0875 and .0815 before, as at n = 1024; here n = 256, where
    tr D/tr H of a Wishart matrix of 4n samples is less than 1 % from its limit, and the draw of m n = 2¹⁷ weights less than 1 %.
    """
    n, m = 256, 512
    H = _wishart(n)
    L = cholesky(H).lower
    W = np.random.default_rng(1).standard_normal((m, n))
    energy = ops.quadratic_form(W, H).sum()
    surplus = []
    for (scale, mse), before, after in zip(E8P_ERROR.items(), (0.0875, 0.0815), (0.0829, 0.0761), strict=True):
        V = block_ldlq(W, L, 8, _e8p(scale))
        loss = ops.quadratic_form(W - V, H).sum()
        surplus.append(loss / (m * mse * _block_trace(L, 8)) - 1)
        refined = ops.quadratic_form(W - refine_blocks(W, H, V, 8, _e8p(scale), 10), H).sum()
        assert loss / energy == pytest.approx(before, rel=0.02)
        assert refined / energy == pytest.approx(after, rel=0.02)
    assert 0 < surplus[0] < surplus[1] < 0.02


@given(layers(max_condition=1e4), st.floats(0.05, 2.0))
def test_single_columns_never_raise_the_loss(layer, step):
    W, H = layer.weight, layer.hessian.matrix
    step *= np.abs(W).max()
    V = step * np.rint(np.random.default_rng(W.size).standard_normal(W.shape))
    losses = [ops.quadratic_form(W - V, H)]
    for _ in range(4):
        V = refine_blocks(W, H, V, 1, _rint(step), 1)
        losses.append(ops.quadratic_form(W - V, H))
    slack = rounding(100 * len(H), condition=1e4) * losses[0].max()
    assert (np.diff(losses, axis=0) <= slack).all()


def test_a_pass_moves_each_block_to_the_best_place_given_the_others(monkeypatch):
    """Without rounding, each visit puts the gradient of its block to zero; the textbook's numbers at any panel width."""
    W, H, _ = _case(5, 37)
    start = np.round(W)
    V = start.copy()
    for part in _parts(37, 6):
        V[:, part] += np.linalg.solve(H[part, part], ((W - V) @ H[:, part]).T).T
    for panel in (128, 12):
        monkeypatch.setattr(module, "PANEL", panel)
        seen = []
        mine = refine_blocks(W, H, start, 6, lambda targets, first_column, seen=seen: (seen.append(first_column), targets)[1], 1)
        np.testing.assert_allclose(mine, V, rtol=0, atol=rounding(37, condition=1e2) * np.abs(V).max())
        assert seen == [part.start for part in _parts(37, 6)]
    first = slice(0, 1)  # the block visited last
    gradient = (W - mine) @ H[:, first]
    assert np.abs(gradient).max() <= rounding(37, condition=1e2) * np.abs(W - mine).max()


def test_refinement_stops_where_nothing_changes():
    W, H, L = _case(20, 48)
    rule, calls = _e8p(2.0), []

    def counted(targets, first_column):
        calls.append(first_column)
        return rule(targets, first_column)

    V = refine_blocks(W, H, block_ldlq(W, L, 8, rule), 8, counted, 1000)
    passes = len(calls) // 6
    assert passes < 1000
    assert (refine_blocks(W, H, V, 8, counted, 1000) == V).all()
    assert len(calls) == 6 * (passes + 1)
    assert (refine_blocks(W, H, V, 8, counted, 0) == V).all()


def test_rows_that_a_pass_leaves_alone_are_not_rounded_again():
    """Rows together end where each ends alone, and Q is told whose targets it is given."""
    W, H, L = _case(20, 48)
    rule, rows, heights = _e8p(2.0), [np.arange(20)], []

    def counted(targets, first_column):
        assert len(targets) == len(rows[-1])
        heights.append(len(targets))
        return rule(targets, first_column)

    start = block_ldlq(W, L, 8, rule)
    together = refine_blocks(W, H, start, 8, counted, 1000, narrowed=rows.append)
    assert all(set(fewer) < set(more) for more, fewer in itertools.pairwise(rows))
    assert heights[-1] < 20
    alone = np.concatenate([refine_blocks(w[None], H, v[None], 8, rule, 1000) for w, v in zip(W, start, strict=True)])
    assert (together == alone).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dtype_and_inputs_stay_as_they_are(dtype):
    """In float32 too, and for views without a layout of their own."""
    W, H, L = _case(9, 40)
    wide = np.repeat(W.astype(dtype), 2, axis=1)[:, ::2]
    for array in (wide, H, L):
        array.flags.writeable = False
    V = block_ldlq(wide, L, 8, _rint(0.25))
    V.flags.writeable = False
    refined = refine_blocks(wide, H, V, 8, _rint(0.25), 2)
    assert V.dtype == refined.dtype == dtype
    if dtype == np.float64:
        np.testing.assert_array_equal(V, _textbook(W, L, 8, _rint(0.25)))


def test_wrong_input_is_refused():
    W, H, L = _case(3, 8)
    with pytest.raises(ShapeMismatch, match=r"expected \(m, n\)"):
        block_ldlq(W, L[:4, :4], 8, _rint(1.0))
    with pytest.raises(UsageError, match="blocks of 0"):
        block_ldlq(W, L, 0, _rint(1.0))
    with pytest.raises(UsageError, match=r"diagonal entry of 0\.0"):
        block_ldlq(W, L * (np.arange(len(L)) != 3), 8, _rint(1.0))
    with pytest.raises(ShapeMismatch, match="values"):
        refine_blocks(W, H, W[:2], 8, _rint(1.0), 1)
    singular = H.copy()
    singular[0] = singular[:, 0] = 0
    with pytest.raises(NotPositiveSemidefinite, match="columns from 0"):
        refine_blocks(W, singular, W, 4, _rint(1.0), 1)


@pytest.mark.parametrize(("m", "n"), [(0, 5), (5, 0)])
def test_nothing_to_decide(m, n):
    W = np.zeros((m, n))
    assert block_ldlq(W, np.eye(n), 2, _rint(1.0)).shape == (m, n)
    assert refine_blocks(W, np.eye(n), W, 2, _rint(1.0), 1).shape == (m, n)
