"""WaterSIC in full: gains, dropped features, drift, rate; faults of other implementations that must not come back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tolerances import rounding

import rdtools.quantizers.grids.entropy as entropy_grid
import rdtools.quantizers.rounding.sample_gains as sample_gains
import rdtools.quantizers.rounding.sic as sweep
import rdtools.quantizers.search.step as entropy_search
from rdtools import arrays
from rdtools.coding import decode, encode, reconstruct, scalar_code_length
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.measure import error, measure, weighted_error
from rdtools.measure.point import same_weight
from rdtools.methods import format_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import ar1_moment, channel_scaled, haar_moment, power_law
from rdtools.quantizers import HPTQ, HRTN, WaterSIC
from rdtools.quantizers.grids.column_gains import point_values
from rdtools.quantizers.rounding.sample_gains import sample_gain_fit
from rdtools.records import EffectiveLayer, InputMap, InputMoments
from rdtools.theory.waterfilling import components, rate_distortion
from rdtools.transforms import rotate

M, N = 192, 32


def uneven_moment(n=N, seed=0, exponent=1.0):
    """A Hessian whose Cholesky diagonal spreads over two decades."""
    rng = np.random.default_rng(seed)
    return channel_scaled(haar_moment(power_law(n, exponent), rng), np.exp(0.7 * rng.standard_normal(n)))


def gaussian_layer(m=M, n=N, seed=0, exponent=1.0) -> Layer:
    return Layer.of(np.random.default_rng(seed + 1).standard_normal((m, n)), uneven_moment(n, seed, exponent), name="gaussian")


def drift_of(layer: Layer, *, shrink=0.8, noise=0.05, writes=True, seed=0) -> InputMoments:
    """x̂ = s x + noise, the noise correlated among inputs, and a residual moment within what such tokens could have."""
    rng = np.random.default_rng(seed)
    H = layer.hessian.matrix
    n = len(H)
    extra = noise * np.mean(np.diagonal(H)) * ar1_moment(n, 0.5)
    residual = 0.05 * rng.standard_normal(layer.weight.shape) @ (shrink**2 * H + extra) if writes else None
    return InputMoments.drifted(H, shrink**2 * H + extra, shrink * H, residual, name=layer.key.name)


def drifted_error(layer: Layer, reconstruction: np.ndarray, drift: InputMoments):
    return error(layer, EffectiveLayer(reconstruction, InputMap(columns=N)), drift)


def gap(layer: Layer, quantizer: WaterSIC) -> float:
    point = measure(layer, quantizer.quantize(layer))
    limit = rate_distortion(point.distortion, components(layer.statistics.weight_variance * layer.spectrum.eigenvalues))
    return point.symbol_bpw - float(limit.rate_bits)


# Names and settings


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "watersic"),
        ({"lmmse": True}, "watersic-lmmse"),
        ({"lmmse": "sample", "coding": "shared"}, "watersic-shared(lmmse=sample)"),
        ({"ridge": 0.1, "rescale": True, "rotation": "auto"}, "watersic(rescale=true,ridge=0.1)+rotation"),
        ({"dead_threshold": 1e-3, "order": "act-order"}, "watersic(dead_threshold=0.001)+act-order"),
        ({"coding": "shared", "damping": 1e-4, "dead_threshold": 1e-3, "lmmse": "sample", "rescale": True}, "watersic-published"),
    ],
)
def test_names_say_what_differs_from_plain_watersic(settings, name):
    assert format_method(WaterSIC(rate_bits=2, **settings)) == name


def test_the_published_settings_are_those_of_the_paper_and_can_be_changed_one_by_one():
    published = WaterSIC.published(2.0)
    assert (published.coding, published.damping, published.dead_threshold) == ("shared", 1e-4, 1e-3)
    assert (published.lmmse, published.rescale, published.ridge) == ("sample", True, 0.0)
    assert format_method(WaterSIC.published(2.0, damping=1e-2)) == "watersic-published(damping=0.01)"


@pytest.mark.parametrize(
    "settings", [{"lmmse": "mean"}, {"dead_threshold": -0.1}, {"dead_threshold": 2.0}, {"dead_threshold": float("nan")}]
)
def test_settings_that_cannot_be_meant_are_refused(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        WaterSIC(rate_bits=2, **settings)


# The sweep


def swept(target, factor, steps, update):
    """ZSIC with its update spelled out, so that a wrong one can be put in."""
    Y = target @ factor
    V = np.zeros_like(target)
    for i in range(len(factor) - 1, -1, -1):
        z = np.rint(Y[:, i] / (steps[i] * factor[i, i]))
        V[:, i] = steps[i] * z
        Y -= np.outer(update(steps[i], factor[i, i]) * z, factor[i])
    return V


@pytest.mark.parametrize("settings", [{}, {"order": "act-order"}, {"rotation": "haar", "ridge": 0.05}])
@pytest.mark.parametrize("drifted", [False, True])
def test_the_residual_stays_in_its_box(settings, drifted):
    """Lemma 3.2: without gains every entry of (T − V) L is within α_i ℓ_ii/2, whatever T; α_i ℓ_ii = c up to the grid of steps."""
    layer = gaussian_layer()
    quantizer = WaterSIC(rate_bits=2.0, **settings)
    problem = quantizer.prepare(layer, drift=drift_of(layer) if drifted else None)
    symbols = quantizer.quantize(layer, problem=problem).weight.symbols
    widths = symbols.column_steps[problem.order] * np.diagonal(problem.factor)
    residual = (problem.target - point_values(symbols))[:, problem.order] @ problem.factor
    scale = np.abs(problem.target[:, problem.order] @ problem.factor).max()
    assert (np.abs(residual) <= widths / 2 + rounding(N**2) * scale).all()
    # half an eighth of an octave to each side
    assert widths.max() / widths.min() <= 2.0 ** (1 / 8) * (1 + rounding(10))


def test_an_update_by_the_common_width_in_place_of_the_step_is_another_algorithm():
    """What is fed back is α_i z_i L_i: with c = α_i ℓ_ii for α_i the residual leaves its box, and the integers here are not those."""
    layer = gaussian_layer()
    quantizer = WaterSIC(rate_bits=3.0)
    problem = quantizer.prepare(layer)
    symbols = quantizer.quantize(layer).weight.symbols
    steps = symbols.column_steps
    right = swept(problem.target, problem.factor, steps, lambda step, pivot: step)
    wrong = swept(problem.target, problem.factor, steps, lambda step, pivot: step * pivot)
    # a tie that falls the other way in the last bit changes a code by one
    assert (point_values(symbols) != right).mean() < 1e-3
    H = layer.hessian.matrix
    assert weighted_error(layer.weight, right, H).mean < 0.1 * weighted_error(layer.weight, wrong, H).mean
    assert (np.abs((layer.weight - wrong) @ problem.factor) > steps * np.diagonal(problem.factor)).any()


# Gains


@pytest.mark.parametrize("coding", ["column", "shared"])
@pytest.mark.parametrize("rate", [1.0, 1.5, 2.0])
def test_sample_gains_bring_low_rates_nearer_to_the_limit(coding, rate):
    """By what they are worth for one scalar: the difference of the gaps without and with LMMSE is 0.19 bit at 1.24 bits, 0.12 at 1.59."""
    layer = gaussian_layer(m=1024)
    plain = gap(layer, WaterSIC(rate_bits=rate, coding=coding))
    sample = gap(layer, WaterSIC(rate_bits=rate, coding=coding, lmmse="sample"))
    assert sample < plain - 0.03


@pytest.mark.parametrize(("correlation", "gains"), [(0.0, True), (0.99, False)])
def test_gains_are_left_out_where_they_cost_more_than_they_save(correlation, gains):
    """Of correlated columns, what a gain leaves of one widens the next: −0.07 bit becomes +0.03. The better of both answers, to the bit."""
    weight = np.random.default_rng(0).standard_normal((M, N)) @ np.linalg.cholesky(ar1_moment(N, correlation)).T
    layer = Layer.of(weight, ar1_moment(N, 0.9))
    both = {kind: WaterSIC(rate_bits=2.0, lmmse=kind) for kind in (True, False)}
    answer = WaterSIC(rate_bits=2.0, lmmse="either").quantize(layer)
    assert answer.weight.symbols.gains.of_integers is gains
    assert same_weight(answer.weight, both[gains].quantize(layer).weight)
    assert gap(layer, both[gains]) + 0.02 < gap(layer, both[not gains])


def test_sample_gains_are_those_of_their_columns():
    """γ_i = ⟨z_i, Y_:i⟩/(c_i ‖z_i‖²), Y_:i what column i was given: with integers decided by γ itself, up to 2⁻⁸ of rounding and the few
    integers that the second sweep decides otherwise.
    """
    layer = gaussian_layer(m=2048)
    quantizer = WaterSIC(rate_bits=2.0, lmmse="sample")
    problem = quantizer.prepare(layer)
    symbols = quantizer.quantize(layer).weight.symbols
    L, z = problem.factor, symbols.integers.astype(np.float64)
    widths = symbols.column_steps * np.diagonal(L)
    residual = (problem.target - point_values(symbols)) @ L
    given = residual + z * symbols.gains.columns * widths
    fitted = (z * given).sum(axis=0) / (widths * (z**2).sum(axis=0))
    np.testing.assert_allclose(symbols.gains.columns, fitted, rtol=0.01)
    assert symbols.gains.columns.min() >= 0.5
    assert symbols.gains.lmmse_std == 0


def test_codes_are_decided_on_the_grid_of_the_scales_that_are_stored():
    """A sweep whose points are the stored scales' and whose thresholds have the fitted gains finds the very same integers: what rounding
    did to the scales was fed back.
    """
    layer = gaussian_layer()
    for coding in ("column", "shared"):
        quantizer = WaterSIC(rate_bits=3.0, lmmse="sample", coding=coding)
        problem = quantizer.prepare(layer)
        symbols = quantizer.quantize(layer).weight.symbols
        scales = symbols.column_steps * symbols.gains.columns
        plain = 1 / np.sqrt(problem.prepared_input.noise_gains)
        exponents = np.rint(8 * np.log2(plain / plain.min()))
        steps = symbols.grid.step * 2.0 ** (exponents / 8)
        rounding_rule = sweep.sic_rounding(problem.factor, problem.order, None)
        _, gains = sample_gain_fit(problem.factor, problem.order, None)(problem.target, steps)
        again = rounding_rule(problem.target, scales / gains, gains, 0.0, -(2**30), 2**30)
        assert (again == symbols.integers).all()


def test_one_number_a_column_holds_step_and_gain_where_no_law_needs_the_step():
    """Beside histogram, header and checksums the published method has 16 bits per column and row, 16/m + 16/n bits per weight, at most."""
    layer = gaussian_layer(m=1024)
    q = WaterSIC.published(2.0).quantize(layer)
    symbols = q.weight.symbols
    assert symbols.grid.exponents is None
    assert symbols.gains.lmmse_std == 0
    assert symbols.gains.columns.shape == (N,)
    scales = 16 * N + (0 if symbols.grid.rows is None else 16 * 1024)
    _, histogram = scalar_code_length(symbols)
    point = measure(layer, q)
    side = (point.total_bpw - point.payload_bpw) * layer.weight.size
    # 24 bytes of header and checksum, and below 24 of flags, step, counts and the checksum of one block
    assert 0 < side - scales - histogram < 8 * 48
    with_gaussian = WaterSIC(rate_bits=2.0, lmmse="sample").quantize(layer).weight.symbols
    assert with_gaussian.grid.exponents is not None


# Dropped features


def layer_with_weak_features(correlated: bool) -> Layer:
    """Features 3 and 17 have a 10⁻⁴ of the others' energy; correlated, half of it is a copy of feature 0."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((4000, N))
    weak = 1e-2 * rng.standard_normal((4000, 2))
    X[:, [3, 17]] = weak + (1e-2 * X[:, [0]] if correlated else 0.0)
    return Layer.of(rng.standard_normal((M, N)), X.T @ X / len(X), name="weak")


def test_features_below_the_threshold_are_dropped_and_cost_nothing():
    layer = layer_with_weak_features(correlated=False)
    quantizer = WaterSIC(rate_bits=2.0, dead_threshold=1e-3)
    q = quantizer.quantize(layer)
    active = q.weight.basis.active
    assert np.flatnonzero(~active).tolist() == [3, 17]
    assert (reconstruct(q.weight)[:, ~active] == 0).all()
    assert abs(q.symbol_rate_bits * N / (N - 2) - 2.0) <= 0.01
    assert same_weight(decode(encode(q.weight).data), q.weight)
    # at a tenth of the energy and below nothing is dropped: the threshold is relative to the median
    assert WaterSIC(rate_bits=2.0, dead_threshold=1e-5).prepare(layer).basis.active.all()


def test_the_threshold_is_relative_to_the_median_and_not_the_mean():
    """One input of 10⁶ times the energy: a mean of it would make all others look dead."""
    moment = np.eye(N)
    moment[5, 5] = 1e6
    layer = Layer.of(np.ones((4, N)), moment)
    assert WaterSIC(rate_bits=2.0, dead_threshold=1e-3).prepare(layer).basis.active.all()


def test_without_weak_features_a_threshold_changes_nothing():
    layer = gaussian_layer()
    a, b = (WaterSIC(rate_bits=2.0, dead_threshold=threshold).quantize(layer) for threshold in (None, 1e-6))
    assert same_weight(a.weight, b.weight)


def test_what_dropped_features_share_with_the_others_is_not_lost():
    """The ideal reconstruction is the regression W H_:l H_ll⁻¹; against the reduced problem it saves tr(C H_ll⁻¹ Cᵀ), C = W_d H_dl."""
    layer = layer_with_weak_features(correlated=True)
    problem = WaterSIC(rate_bits=2.0, dead_threshold=1e-3).prepare(layer)
    active, H, W = problem.basis.active, layer.hessian.matrix, layer.weight
    Hll, C = H[np.ix_(active, active)], W[:, ~active] @ H[np.ix_(~active, active)]
    expected = np.linalg.solve(Hll, H[active] @ W.T).T
    # Cholesky of a sample covariance of condition below 10
    np.testing.assert_allclose(problem.ideal, expected, rtol=0, atol=rounding(N**2, condition=10) * np.abs(W).max())

    def distortion(values):
        V = np.zeros_like(W)
        V[:, active] = values
        return weighted_error(W, V, H).mean

    saved = float(np.vdot(C, np.linalg.solve(Hll, C.T).T)) / W.size
    left = distortion(W[:, active]) - distortion(problem.ideal)
    assert left == pytest.approx(saved, rel=1e-6)
    assert saved > 0.3 * distortion(W[:, active])


# Drift


@pytest.mark.parametrize("settings", [{}, {"damping": 0.1}, {"order": "act-order", "rotation": "haar"}, {"ridge": 0.05, "damping": 0.01}])
def test_no_drift_is_no_drift_to_the_bit(settings):
    """With Σ_x̂ = Σ_xx̂ = Σ_x the target is W whatever the damping; a target without δ W would be off by the damping."""
    layer = gaussian_layer()
    H = layer.hessian.matrix
    quantizer = WaterSIC(rate_bits=2.5, **settings)
    plain, same = (
        quantizer.prepare(layer, seed=3),
        quantizer.prepare(layer, seed=3, drift=InputMoments.drifted(H, H, H, np.zeros_like(layer.weight))),
    )
    assert (same.target == plain.target).all()
    assert (same.factor == plain.factor).all()
    if "ridge" not in settings:
        assert (same.target == same.weight).all()
    a, b = quantizer.quantize(layer, seed=3), quantizer.quantize(layer, seed=3, drift=InputMoments.plain(H))
    assert same_weight(a.weight, b.weight)


def solved(gram, cross):
    return np.linalg.solve(gram, cross.T).T


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize("damping", [None, 0.02])
@pytest.mark.parametrize("settings", [{}, {"order": "min-pivot"}, {"rotation": "haar"}, {"rotation": "hadamard", "order": "act-order"}])
def test_the_target_solves_the_normal_equations_in_every_basis(ridge, damping, settings):
    """T (Σ_x̂ + (δ + μ) I) = W (Σ_xx̂ + δ I) + S, where E‖W x + d − V x̂‖² + δ ‖W − V‖² + μ ‖V‖² has no slope; times Q where rotated.

    The ideal reconstruction is that without μ.
    """
    layer = gaussian_layer()
    drift = drift_of(layer)
    problem = WaterSIC(rate_bits=2.0, ridge=ridge, damping=damping, **settings).prepare(layer, drift=drift)
    turn = problem.basis.rotation
    mean, eye = np.mean(np.diagonal(drift.actual)), np.eye(N)

    def regression(mu):
        delta = (damping or 0.0) * (mean + mu)
        found = solved(drift.actual + (delta + mu) * eye, layer.weight @ (drift.cross + delta * eye) + drift.residual)
        return found if turn is None else rotate(found, turn)

    for found, expected in ((problem.target, regression(ridge * mean)), (problem.ideal, regression(0.0))):
        tolerance = rounding(N**2, condition=np.linalg.cond(drift.actual)) * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_the_sweep_starts_from_the_transposed_inverse_factor():
    """Y = (W Σ_xx̂ + S) L⁻ᵀ. With L⁻¹ in its place, or S multiplied by Σ_x̂⁻¹ first, Y is nowhere near."""
    layer = gaussian_layer()
    drift = drift_of(layer)
    problem = WaterSIC(rate_bits=2.0).prepare(layer, drift=drift)
    L, C = problem.factor, layer.weight @ drift.cross + drift.residual
    Y = problem.target @ L
    size = np.linalg.norm(Y)
    inverse = np.linalg.inv(L)
    assert np.linalg.norm(Y - C @ inverse.T) <= rounding(N**2, condition=np.linalg.cond(drift.actual)) * size
    assert np.linalg.norm(Y - C @ inverse) > 0.1 * size
    twice = (layer.weight @ drift.cross + drift.residual @ np.linalg.inv(drift.actual)) @ inverse.T
    assert np.linalg.norm(Y - twice) > 0.1 * size


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("settings", [{}, {"lmmse": "sample", "rescale": True}, {"rotation": "haar", "coding": "shared"}])
def test_what_heeds_the_drift_beats_what_does_not_by_the_distance_of_their_targets(writes, settings):
    """With T the regression, error(V) = error(T) + ‖V − T‖², squared norm under Σ_x̂. Ignoring the drift V is near W, so ‖V − T‖ is
    ‖W − T‖ up to ‖V − W‖ to either side, here within 5 %. Heeding it nothing but quantization is left, which is below 1 % of that.
    """
    layer = gaussian_layer(exponent=0.5)
    drift = drift_of(layer, shrink=0.5, writes=writes)
    W = layer.weight
    T = solved(drift.actual, W @ drift.cross + (drift.residual if writes else 0.0))
    quantizer = WaterSIC(rate_bits=6.0, **settings)
    floor = drifted_error(layer, T, drift).mean
    heeding, ignoring = (
        drifted_error(layer, reconstruct(quantizer.quantize(layer, drift=d).weight), drift).mean - floor for d in (drift, None)
    )
    predicted = weighted_error(T, W, drift.actual).mean
    blur = np.sqrt(weighted_error(W, reconstruct(quantizer.quantize(layer).weight), drift.actual).mean)
    assert abs(np.sqrt(ignoring) - np.sqrt(predicted)) <= blur
    assert blur < 0.05 * np.sqrt(predicted)
    assert 0 < heeding < 1e-2 * predicted


def test_quantization_on_top_of_drift_is_that_of_a_layer_of_its_own():
    """The integers are those of weights T with the Hessian Σ_x̂, and so is the error above the floor."""
    layer = gaussian_layer()
    drift = drift_of(layer)
    T = solved(drift.actual, layer.weight @ drift.cross + drift.residual)
    own = Layer.of(T, drift.actual, name="gaussian")
    quantizer = WaterSIC(rate_bits=3.0, lmmse="sample")
    a, b = quantizer.quantize(layer, drift=drift), quantizer.quantize(own)
    # T is solved twice, so that a tie may fall the other way; the search may stop at another of its trials
    assert abs(a.symbol_rate_bits - b.symbol_rate_bits) <= 0.004
    W = layer.weight
    excess = drifted_error(layer, reconstruct(a.weight), drift).mean - drifted_error(layer, T, drift).mean
    # 0.004 bit, and the draw of rounding errors, of which there are m n
    assert excess == pytest.approx(measure(own, b).distortion, rel=0.01 + 4 * np.sqrt(2 / W.size))


def test_an_input_that_the_drift_silences_is_dropped():
    layer = gaussian_layer()
    H = layer.hessian.matrix
    keep = np.ones(N, dtype=bool)
    keep[4] = False
    drift = InputMoments.drifted(H, H * np.outer(keep, keep), H * keep, name="gaussian")
    quantizer = WaterSIC(rate_bits=3.0)
    problem = quantizer.prepare(layer, drift=drift)
    assert (problem.basis.active == keep).all()
    expected = solved(H[np.ix_(keep, keep)], layer.weight @ H[:, keep])
    tolerance = rounding(N**2, condition=layer.spectrum.eigenvalues[0] / layer.spectrum.eigenvalues[-1]) * np.abs(expected).max()
    np.testing.assert_allclose(problem.target, expected, rtol=0, atol=tolerance)
    assert (reconstruct(quantizer.quantize(layer, problem=problem).weight)[:, 4] == 0).all()


def test_drift_that_cannot_be_used_is_refused():
    layer = gaussian_layer()
    quantizer = WaterSIC(rate_bits=3.0)
    with pytest.raises(UsageError, match="gaussian: a prepared problem and a drift"):
        quantizer.quantize(layer, problem=quantizer.prepare(layer), drift=drift_of(layer))
    with pytest.raises(ShapeMismatch, match="gaussian: moments of 3 inputs"):
        quantizer.prepare(layer, drift=InputMoments.plain(np.eye(3)))
    H = layer.hessian.matrix
    with pytest.raises(ShapeMismatch, match="gaussian: drift to 2 inputs, expected 32"):
        quantizer.prepare(layer, drift=InputMoments.quantized(H, H[:2, :2], H[:, :2]))
    with pytest.raises(UsageError, match="gaussian: the reference moment of the drift is not the layer's Hessian"):
        quantizer.prepare(layer, drift=InputMoments.plain(2 * H))


# Files


@pytest.mark.parametrize("coding", ["column", "shared", "histogram"])
@pytest.mark.parametrize("settings", [{"lmmse": "sample"}, {"rescale": True}, {"lmmse": "sample", "rescale": True, "rotation": "haar"}])
def test_what_is_coded_is_decoded(coding, settings):
    """`measure` decodes the file and refuses any difference; here with drift as well, whose integers are files like any other."""
    layer = gaussian_layer(m=1024)
    quantizer = WaterSIC(rate_bits=1.0, coding=coding, **settings)
    for q in (quantizer.quantize(layer), quantizer.quantize(layer, drift=drift_of(layer))):
        assert same_weight(decode(encode(q.weight).data), q.weight)
        assert measure(layer, q).total_bpw < 1.3


# Rate


@pytest.fixture
def sweeps(monkeypatch):
    """Rows of every sweep, in order, with matrices of 2¹⁹ weights searched on half of them.

    The information of a code deviates by less than 1.02 bit, see `entropy_band`, so that the rate of half of 2¹⁹ integers is that of all
    with a standard error below 1.02 √½/2⁹ = 0.0014 bit: four of them and the tolerance on the sample, 0.002, are within 0.01.
    """
    monkeypatch.setattr(entropy_search, "SAMPLED_FROM", 2**18)
    monkeypatch.setattr(entropy_search, "SAMPLE", 2**18)
    monkeypatch.setattr(arrays, "BLOCK_ROWS", 2**20)  # all rows of a sweep in one piece
    rows: list[int] = []

    def counted(kernel):
        def count(weight, *args, **kwargs):
            rows.append(len(weight))
            return kernel(weight, *args, **kwargs)

        return count

    monkeypatch.setattr(sweep, "sic_sweep", counted(sweep.sic_sweep))
    monkeypatch.setattr(sample_gains, "sic_sweep_sample_gains", counted(sample_gains.sic_sweep_sample_gains))
    return rows


def large_layer(m=8192, n=64) -> Layer:
    """Rows of unequal energy in no order, as in a model: an even sample of them would be off by more than the rate may be."""
    rng = np.random.default_rng(7)
    W = rng.standard_normal((m, n)) * np.exp(0.5 * rng.standard_normal((m, 1)))
    return Layer.of(W, haar_moment(power_law(n, 1.0), rng), name="large")


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize(
    "quantizer",
    [WaterSIC, HPTQ, lambda rate_bits: WaterSIC(rate_bits=rate_bits, coding="shared", lmmse=True)],
    ids=["column", "hptq", "shared"],
)
def test_a_large_matrix_takes_six_trials_on_a_sample_and_one_sweep(sweeps, quantizer, rate):
    """Within 0.01 bit of the rate. A search that charged the sample for the side information of all rows would be off by more."""
    q = quantizer(rate_bits=rate).quantize(large_layer())
    assert abs(q.symbol_rate_bits - rate) <= 0.01
    assert sweeps.count(8192) == 1
    assert sweeps.count(4096) == len(sweeps) - 1 <= 6


@pytest.mark.parametrize("coding", ["shared", "histogram"])
def test_the_histogram_of_a_sample_is_charged_to_all_rows(coding):
    """Side information of m rows on the integers of a quarter of them would make every rate seem larger than it will be."""
    problem = WaterSIC(rate_bits=2.0).prepare(gaussian_layer())
    rounding_rule = sweep.sic_rounding(problem.factor, problem.order, None)
    grid = entropy_grid.entropy_grid(problem.target, rounding_rule, coding=coding, relative_steps=None, name="layer")
    found = grid.at(0.0, np.arange(0, M, 4))
    symbols, histograms = scalar_code_length(found.result)
    assert histograms > 0
    assert found.rate_bits == pytest.approx(symbols / (M * N / 4) + histograms / (M * N), rel=rounding(10))


def test_sample_gains_take_one_sweep_more(sweeps):
    """One that fits gains, one with the gains as stored."""
    q = WaterSIC(rate_bits=2.0, lmmse="sample").quantize(large_layer())
    assert abs(q.symbol_rate_bits - 2.0) <= 0.01
    assert sweeps.count(8192) == 2
    assert sweeps.count(4096) == len(sweeps) - 2 <= 6


def test_the_published_method_on_a_large_matrix(sweeps):
    """Two trials on the sample tell what finer steps would cost. Gains, scales and the histogram move no rate."""
    layer = large_layer()
    q = WaterSIC.published(2.0).quantize(layer)
    assert abs(q.symbol_rate_bits - 2.0) <= 0.01
    assert sweeps.count(8192) == 2
    assert sweeps.count(4096) == len(sweeps) - 2 <= 8
    assert measure(layer, q).symbol_bpw == pytest.approx(q.symbol_rate_bits, rel=rounding(1000))


def test_a_sample_has_large_and_small_rows_as_the_matrix_has_them(monkeypatch):
    """Its mean log-energy is that of all rows within the spread of one stratum of rows, not of the matrix over the root of their number."""
    monkeypatch.setattr(entropy_search, "SAMPLED_FROM", 0)
    monkeypatch.setattr(entropy_search, "SAMPLE", 2**12)
    W = large_layer().weight
    rows = entropy_search.sample_rows(W)
    assert (np.diff(rows) > 0).all()
    assert len(rows) == 64
    logs = 0.5 * np.log2((W**2).sum(axis=1))
    assert abs(logs[rows].mean() - logs.mean()) < 0.1 * logs.std() / np.sqrt(len(rows))


def test_small_matrices_are_searched_on_all_rows():
    assert entropy_search.sample_rows(np.ones((4, 4))) is None
    assert abs(HRTN(rate_bits=2.0).quantize(gaussian_layer()).symbol_rate_bits - 2.0) <= 0.01


def test_the_settings_of_a_quantizer_survive_another_rate():
    """`dataclasses.replace` is how sweeps go through rates."""
    assert dataclasses.replace(WaterSIC.published(2.0), rate_bits=3.0) == WaterSIC.published(3.0)


def test_stored_gains_cost_nothing_at_high_rate():
    """Integers are decided on the grid that bfloat16 scales make: at 8 and 10 bits sample gains are as good as none, within 0.02 bit."""
    rng = np.random.default_rng(0)
    layer = Layer.of(rng.standard_normal((512, 48)), np.diag(np.linspace(1, 2, 48)))
    for rate in (8.0, 10.0):
        points = [measure(layer, q.quantize(layer)) for q in (WaterSIC(rate_bits=rate, coding="shared"), WaterSIC.published(rate))]
        gaps = [0.5 * np.log2(p.distortion) + p.entropy_pooled_bpw for p in points]
        assert gaps[1] <= gaps[0] + 0.02


def test_zero_weights_with_a_residual_are_quantized_at_the_rate_asked_for():
    rng = np.random.default_rng(1)
    H = np.eye(24) + 0.2
    layer = Layer.of(np.zeros((256, 24)), H)
    for scale in (1.0, 1e4):
        drift = InputMoments.drifted(H, H, H, scale * rng.standard_normal((256, 24)))
        assert abs(WaterSIC(rate_bits=3).quantize(layer, drift=drift).symbol_rate_bits - 3) <= 0.01
