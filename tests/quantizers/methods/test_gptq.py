from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from tolerances import STANDARD_ERRORS, rounding

from rdtools.coding import decode, encode, reconstruct, round_to_bfloat16, spread_groups
from rdtools.errors import RateUnreachable, UsageError
from rdtools.measure import measure
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.ops import sic_sweep
from rdtools.quantizers import GPTQ, RTN
from rdtools.quantizers.grids.row import RowGrid, row_grid
from rdtools.quantizers.rounding.groups import sweep_groups
from rdtools.theory.mismatch import damped_noise_gains
from rdtools.transforms.orders import ORDERS


def _layer(m=96, n=70, seed=0) -> Layer:
    rng = np.random.default_rng(seed)
    return Layer.of(rng.standard_normal((m, n)), haar_moment(power_law(n, 1.0), rng), name="layer")


def _textbook(W, H, columns, group_size, fit, dynamic):
    """GPTQ as its reference implementation has it: columns decided in the order given, by the factor of the inverse.

    ``H⁻¹ = Tᵀ T`` with T upper triangular; each error over T_ii, times the row of T, is taken from the columns that are left.
    """
    W = W[:, columns].copy()
    T = np.linalg.cholesky(np.linalg.inv(H[np.ix_(columns, columns)])).T
    groups = columns // group_size
    grids = {} if dynamic else {group: fit(W[:, groups == group]) for group in set(groups.tolist())}
    integers, values = np.empty(W.shape, dtype=np.int32), np.empty_like(W)
    for i, (column, group) in enumerate(zip(columns, groups.tolist(), strict=True)):
        if group not in grids:
            grids[group] = fit(W[:, groups == group])
        w = W[:, i : i + 1]
        z = grids[group].nearest(w)
        integers[:, column], values[:, column] = z[:, 0], grids[group].values(z)[:, 0]
        W[:, i:] -= (w[:, 0] - values[:, column])[:, None] / T[i, i] * T[i, i:]
    return integers, values


CASES = [
    {"group_size": 16},
    {"group_size": 16, "grid": "asymmetric"},
    {"group_size": 16, "grid": "asymmetric", "range_rule": "mse"},
    {"group_size": 16, "order": "reversed"},
    {"group_size": 16, "groups": "dynamic"},
    {"group_size": 16, "groups": "dynamic", "order": "reversed"},
    {"group_size": 16, "groups": "dynamic", "order": "reversed", "grid": "asymmetric", "range_rule": "mse"},
    {"group_size": 16, "order": "act-order"},
    {"group_size": 16, "order": "min-pivot", "grid": "asymmetric"},
    {"group_size": 70, "grid": "asymmetric"},
    {"group_size": 1},
    {"grid": "asymmetric"},
    {"grid": "asymmetric", "order": "act-order"},
    {"range_rule": "mse"},
    {"range_rule": "mse", "grid": "asymmetric", "order": "reversed"},
]


@pytest.mark.parametrize("settings", CASES, ids=lambda s: ",".join(map(str, s.values())))
def test_it_is_the_textbook_on_the_same_grids(settings):
    """The same integers in every order; 70 columns, so that the last group of 16 has 6."""
    layer = _layer()
    quantizer = GPTQ(rate_bits=3, damping=0.01, **settings)
    q = quantizer.quantize(layer)
    n = layer.weight.shape[1]
    H = layer.hessian.matrix + 0.01 * np.trace(layer.hessian.matrix) / n * np.eye(n)
    fit = functools.partial(row_grid, levels=8, grid=quantizer.grid, range_rule=quantizer.range_rule)
    # orders list columns from the last decided to the first
    columns = ORDERS[quantizer.order](layer.hessian.matrix)[::-1]
    integers, values = _textbook(layer.weight, H, columns, quantizer.group_size or n, fit, quantizer.groups == "dynamic")
    # 6720 targets that two computations put 1e-12 apart at most: none of them is so near a boundary
    np.testing.assert_array_equal(q.weight.symbols.integers, integers)
    np.testing.assert_array_equal(reconstruct(q.weight), values)


@pytest.mark.parametrize("settings", CASES[:9], ids=lambda s: ",".join(map(str, s.values())))
def test_what_is_decoded_is_what_was_fed_back(settings):
    """To the bit, from the bytes of the file."""
    layer = _layer()
    quantizer = GPTQ(rate_bits=3, **settings)
    problem = quantizer.prepare(layer)
    fit = functools.partial(row_grid, levels=8, grid=quantizer.grid, range_rule=quantizer.range_rule)
    dynamic = quantizer.groups == "dynamic"
    found = sweep_groups(problem.target, problem.factor, problem.order, quantizer.group_size, fit, dynamic=dynamic, keep=True)
    data = encode(quantizer.quantize(layer, problem=problem).weight).data
    np.testing.assert_array_equal(reconstruct(decode(data)), found.values)


def test_without_groups_it_is_one_sweep():
    """``z = sweep(W/s)`` with s = 2 max|w|/K; and a single group of all columns is the same to the bit."""
    layer = _layer()
    q = GPTQ(rate_bits=3, grid="midrise").quantize(layer)
    scales = round_to_bfloat16(2 * np.abs(layer.weight).max(axis=1) / 8)
    L = GPTQ(rate_bits=3).prepare(layer).factor
    integers, _ = sic_sweep(layer.weight / scales[:, None], L, np.ones(70), offset=0.5, integer_min=-4, integer_max=3)
    np.testing.assert_array_equal(q.weight.symbols.integers, integers)
    np.testing.assert_array_equal(q.weight.symbols.grid.rows.scales, scales[:, None])
    for size in (70, 10**9):
        grouped = GPTQ(rate_bits=3, group_size=size, grid="midrise").quantize(layer)
        np.testing.assert_array_equal(grouped.weight.symbols.integers, integers)
        np.testing.assert_array_equal(reconstruct(grouped.weight), reconstruct(q.weight))


@pytest.mark.parametrize("groups", ["static", "dynamic"])
def test_reversed_is_natural_on_reversed_columns(groups):
    """Where the group size divides the columns, groups reverse with them."""
    layer = _layer(n=64)
    mirrored = Layer.of(layer.weight[:, ::-1].copy(), layer.hessian.matrix[::-1, ::-1].copy(), name="layer")
    settings = {"rate_bits": 3, "group_size": 16, "groups": groups, "grid": "asymmetric"}
    natural = GPTQ(**settings).quantize(layer).weight.symbols
    other = GPTQ(**settings, order="reversed").quantize(mirrored).weight.symbols
    np.testing.assert_array_equal(other.integers[:, ::-1], natural.integers)
    np.testing.assert_array_equal(other.grid.rows.zero_points[:, ::-1], natural.grid.rows.zero_points)


def test_rounding_to_nearest_in_groups():
    """Each column on the grid of its group, 6 columns in the last one."""
    layer = _layer()
    for settings in ({}, {"grid": "asymmetric"}, {"range_rule": "mse"}):
        q = RTN(rate_bits=3, group_size=16, **settings).quantize(layer)
        values = reconstruct(decode(encode(q.weight).data))
        for first in range(0, 70, 16):
            part = layer.weight[:, first : first + 16]
            grid = row_grid(part, 8, **settings)
            np.testing.assert_array_equal(values[:, first : first + 16], grid.values(grid.nearest(part)))


@pytest.mark.parametrize("method", [GPTQ, RTN])
def test_side_information_is_what_scales_and_zero_points_take(method):
    """Two bytes a scale and one a zero point; a group size of more than one byte would add to them."""
    layer = _layer()
    plain = method(rate_bits=3).quantize(layer)
    for settings, scales, zeros in (
        ({"grid": "asymmetric"}, 96, 96),
        ({"range_rule": "mse"}, 96, 0),
        ({"group_size": 16}, 5 * 96, 0),
        ({"group_size": 16, "grid": "asymmetric"}, 5 * 96, 5 * 96),
    ):
        q = method(rate_bits=3, **settings).quantize(layer)
        points = measure(layer, plain), measure(layer, q)
        extra = (points[1].overhead_bpw - points[0].overhead_bpw) * layer.weight.size / 8
        assert extra == pytest.approx(2 * (scales - 96) + zeros, abs=1e-6)
        assert points[1].symbol_bpw == q.symbol_rate_bits == 3.0
        assert points[1].rate_kind == "fixed"


def test_groups_of_live_columns():
    """Dead columns belong to no group: equal to the layer without them."""
    layer = _layer()
    keep = np.ones(73, dtype=bool)
    keep[[0, 20, 72]] = False
    H, W = np.zeros((73, 73)), np.full((96, 73), 7.0)
    H[np.ix_(keep, keep)], W[:, keep] = layer.hessian.matrix, layer.weight
    for settings in ({"group_size": 16, "groups": "dynamic"}, {"group_size": 16, "grid": "asymmetric", "order": "act-order"}):
        quantizer = GPTQ(rate_bits=3, **settings)
        a, b = quantizer.quantize(layer), quantizer.quantize(Layer.of(W, H, name="layer"))
        np.testing.assert_array_equal(a.weight.symbols.integers, b.weight.symbols.integers)
        np.testing.assert_array_equal(a.weight.symbols.grid.rows.scales, b.weight.symbols.grid.rows.scales)


@pytest.mark.parametrize(
    "settings", [{"group_size": 16, "groups": "dynamic"}, {"group_size": 16}, {"grid": "asymmetric", "range_rule": "mse"}]
)
def test_a_layer_without_live_columns_has_an_empty_answer(settings):
    layer = Layer.of(np.ones((4, 6)), np.zeros((6, 6)))
    for method in (GPTQ, RTN):
        if method is RTN:
            settings = {k: v for k, v in settings.items() if k != "groups"}
        q = method(rate_bits=3, **settings).quantize(layer)
        assert q.symbol_rate_bits == 0
        assert measure(layer, q).distortion == 0


@pytest.mark.parametrize(
    "settings", [{"group_size": 16, "groups": "dynamic"}, {"group_size": 16, "order": "act-order"}, {"grid": "asymmetric"}]
)
def test_single_precision_is_as_good(settings):
    """Integers that fall the other way feed back another error of the same distribution: for m n independent errors that are uniform, whose
    squares have a variance of 4/5 of their squared mean, two losses differ by ``√(2 · 4/5 / (m n))`` of themselves."""
    layer = _layer()
    distortions = []
    for precision in ("float64", "float32"):
        q = GPTQ(rate_bits=3, precision=precision, **settings).quantize(layer)
        distortions.append(measure(layer, q).distortion)
    band = STANDARD_ERRORS * math.sqrt(1.6 / layer.weight.size)
    assert distortions[1] == pytest.approx(distortions[0], rel=band)


@pytest.fixture(scope="module")
def published():
    """W and H of the published comparison: 1024 columns, an H of 4096 samples, numbers from torch's generator."""
    n = 1024
    generator = torch.Generator().manual_seed(0)
    W = 0.02 * torch.randn(n, n, generator=generator)
    X = torch.randn(4 * n, n, generator=generator)
    H = X.T @ X / (4 * n)
    H = H.double().numpy()
    return Layer.of(W.double().numpy(), 0.5 * (H + H.T))


def _exact(values, levels):
    """Min-max grid whose step is not rounded for storage."""
    lowest, highest = np.minimum(values.min(axis=1), 0), np.maximum(values.max(axis=1), 0)
    steps = (highest - lowest) / (levels - 1)
    return RowGrid(levels, steps, (np.rint(-lowest / steps) - levels // 2).astype(np.int8))


def _prepared(layer):
    return GPTQ(rate_bits=4, grid="asymmetric", order="reversed", damping=0.01).prepare(layer)


@pytest.mark.parametrize(("bits", "loss"), [(2, 72.154), (3, 13.4753), (4, 2.93488)])
def test_the_loss_is_that_of_the_published_implementation(published, bits, loss):
    """``½ tr(E (H + λ I) Eᵀ)`` as IST-DASLab's gptq.py prints it, to 1e-4: it computes in float32, and its steps are not rounded."""
    problem = _prepared(published)
    fit = functools.partial(_exact, levels=2**bits)
    values = sweep_groups(problem.target, problem.factor, problem.order, 1024, fit, keep=True).values
    residual = (problem.target - values)[:, problem.order] @ problem.factor
    assert 0.5 * np.sum(residual**2) == pytest.approx(loss, rel=1e-4)


def test_the_loss_in_dynamic_groups_is_that_of_the_published_implementation(published):
    """Groups of 128 at four bits, each on the grid of its targets."""
    problem = _prepared(published)
    fit = functools.partial(_exact, levels=16)
    values = sweep_groups(problem.target, problem.factor, problem.order, 128, fit, dynamic=True, keep=True).values
    residual = (problem.target - values)[:, problem.order] @ problem.factor
    assert 0.5 * np.sum(residual**2) == pytest.approx(1.88547, rel=1e-4)


@pytest.mark.parametrize(("bits", "relative"), [(3, 0.063464), (4, 0.0138222)])
def test_distortion_is_the_sum_of_squared_steps_over_twelve(published, bits, relative):
    """``Σ_k s_k² tr(D)/12`` within 1 %, D of the damped H and s as stored; and the published relative loss under the undamped H."""
    quantizer = GPTQ(rate_bits=bits, grid="asymmetric", order="reversed", damping=0.01)
    problem = quantizer.prepare(published)
    q = quantizer.quantize(published, problem=problem)
    squares = float(np.sum(q.weight.symbols.grid.rows.scales**2))
    residual = (published.weight - reconstruct(q.weight))[:, problem.order] @ problem.factor
    assert np.sum(residual**2) == pytest.approx(squares / 12 * np.sum(np.diagonal(problem.factor) ** 2), rel=0.01)
    gains = damped_noise_gains(problem.factor, 0.01 * float(np.mean(np.diagonal(published.hessian.matrix))))
    point = measure(published, q)
    assert point.distortion == pytest.approx(squares / 12 * gains.sum() / published.weight.size, rel=0.01)
    # steps are rounded to 8 bits here: another draw of the 1024² errors
    assert point.relative_distortion == pytest.approx(relative, rel=STANDARD_ERRORS * math.sqrt(1.6) / 1024)


def test_groups_lower_the_loss_as_published(published):
    """0.01382 without groups, 0.00888 in groups of 128, at four bits; static groups as dynamic ones."""
    settings = {"rate_bits": 4, "grid": "asymmetric", "order": "reversed", "damping": 0.01, "group_size": 128}
    for groups in ("static", "dynamic"):
        q = GPTQ(**settings, groups=groups).quantize(published)
        assert measure(published, q).relative_distortion == pytest.approx(0.0088797, rel=STANDARD_ERRORS * math.sqrt(1.6) / 1024)


def _grid_error(symbols, targets):
    """Mean square of each column of targets less their nearest levels on the grids of some integers."""
    steps = spread_groups(symbols.grid.rows.scales, symbols.grid.rows.group_size, targets.shape[1])
    zeros = (
        0
        if symbols.grid.rows.zero_points is None
        else spread_groups(symbols.grid.rows.zero_points, symbols.grid.rows.group_size, targets.shape[1])
    )
    half = symbols.grid.levels // 2
    z = np.clip(np.rint(targets / steps - symbols.grid.offset + zeros), -half, half - 1)
    return np.mean((targets - (z + symbols.grid.offset - zeros) * steps) ** 2, axis=0)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize(
    "settings", [{}, {"grid": "asymmetric"}, {"group_size": 16}, {"group_size": 16, "groups": "dynamic"}, {"range_rule": "mse"}], ids=str
)
def test_the_error_of_the_grids_predicts_the_distortion(settings, bits):
    """``(1/n) Σ_i ℓ_ii² mean_k (t_ki − q_ki(t_ki))²``, overload and edges included: too little where the targets t are the weights, too
    much where they are widened by independent noise of the variance that feedback gives them, ``Σ_{j>i} (diag(L) L⁻¹)_ji² mse_j``.

    Both within the draw of m n errors that are uniform, whose squares have a variance of 4/5.
    """
    layer = _layer(m=512, n=96)
    quantizer = GPTQ(rate_bits=bits, **settings)
    problem = quantizer.prepare(layer)
    q = quantizer.quantize(layer, problem=problem)
    gains, integers, L = problem.prepared_input.noise_gains, q.weight.symbols, problem.factor
    plain = _grid_error(integers, layer.weight)
    feedback = (np.diagonal(L)[:, None] * np.linalg.inv(L)) ** 2
    np.fill_diagonal(feedback, 0)
    noise = np.random.default_rng(5).standard_normal(layer.weight.shape)
    widened = plain
    for _ in range(4):  # each round is nearer to the fixed point, by a factor of mse over the weights' variance
        widened = _grid_error(integers, layer.weight + np.sqrt(widened @ feedback) * noise)
    band = STANDARD_ERRORS * math.sqrt(1.6 / layer.weight.size)
    measured = measure(layer, q).distortion
    assert np.mean(gains * plain) * (1 - band) <= measured <= np.mean(gains * widened) * (1 + band)
    assert np.mean(gains * widened) < 1.1 * np.mean(gains * plain)


def test_searched_grids_and_groups_are_better_where_they_should_be():
    """At two bits for normal weights; groups cost no code rate, only side information."""
    layer = _layer(m=256)
    plain, searched, grouped, both = (
        measure(layer, GPTQ(rate_bits=2, **settings).quantize(layer))
        for settings in ({}, {"range_rule": "mse"}, {"group_size": 14}, {"range_rule": "mse", "group_size": 14})
    )
    assert searched.distortion < 0.9 * plain.distortion
    assert both.distortion < grouped.distortion < 0.9 * plain.distortion
    assert grouped.overhead_bpw > plain.overhead_bpw


@pytest.mark.parametrize("method", [GPTQ, RTN])
def test_zero_points_of_a_byte_have_no_more_than_eight_bits(method):
    with pytest.raises(RateUnreachable, match="9 bits per weight cannot be reached: a zero point has one byte"):
        method(rate_bits=9, grid="asymmetric").quantize(_layer())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"group_size": 0}, ("group_size 0",)),
        ({"grid": "minmax"}, ("grid 'minmax'", "symmetric, asymmetric, midrise")),
        ({"range_rule": "minmax"}, ("range_rule 'minmax'", "absmax, mse")),
    ],
)
@pytest.mark.parametrize("method", [GPTQ, RTN])
def test_settings_that_mean_nothing_are_refused(method, settings, named):
    with pytest.raises(UsageError) as caught:
        method(**({"rate_bits": 3} | settings))
    assert all(name in str(caught.value) for name in named)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"groups": "dynamic"}, ("groups='dynamic'", "group_size=None")),
        ({"groups": "dynamic", "group_size": 128, "order": "act-order"}, ("groups='dynamic'", "order='act-order'")),
        ({"groups": "both", "group_size": 128}, ("groups 'both'",)),
    ],
)
def test_groups_that_cannot_start_are_refused(settings, named):
    with pytest.raises(UsageError) as caught:
        GPTQ(**({"rate_bits": 3} | settings))
    assert all(name in str(caught.value) for name in named)


def test_groups_in_a_rotated_basis():
    """The groups are of rotated columns; the file holds everything, and the loss is that of the sweep."""
    layer = _layer(n=64)
    quantizer = GPTQ(rate_bits=3, rotation="hadamard", group_size=16, groups="dynamic", grid="midrise")
    problem = quantizer.prepare(layer, seed=3)
    q = quantizer.quantize(layer, seed=3, problem=problem)
    fit = functools.partial(row_grid, levels=8, grid="midrise")
    values = sweep_groups(problem.target, problem.factor, problem.order, 16, fit, dynamic=True, keep=True).values
    residual = (problem.target - values) @ problem.factor
    expected = float(np.mean(residual**2))
    assert measure(layer, q).distortion == pytest.approx(expected, rel=rounding(1000))
