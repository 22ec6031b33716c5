from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from conformance import SUBJECTS, Subject
from hypothesis import given, settings
from tolerances import STANDARD_ERRORS, rounding

from rdtools.coding import decode, encode, reconstruct, scalar_code_length
from rdtools.coding.formats.additive import payload_bits
from rdtools.compare import result_row
from rdtools.errors import RateUnreachable, ScaleOutOfRange
from rdtools.measure import measure, weighted_error
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import RTN
from rdtools.records import AdditiveCodes, CosetSymbols, LatticePoints, LatticeWords, QuantizedLayer, ScalarSymbols, TilePaths, TrellisPaths
from rdtools.testing import layers

subjects = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)


@functools.cache
def gaussian_layer() -> Layer:
    """One layer for all: that answers leave it alone is a test below."""
    rng = np.random.default_rng(0)
    return Layer.of(rng.standard_normal((192, 48)), haar_moment(power_law(48, 1.0), rng), name="gaussian")


_ANSWERS: dict[tuple[str, float], QuantizedLayer] = {}


def answer(subject: Subject, rate: float) -> QuantizedLayer:
    """What a method makes of that layer, quantized once."""
    if (subject.name, rate) not in _ANSWERS:
        _ANSWERS[subject.name, rate] = subject.build(rate).quantize(gaussian_layer())
    return _ANSWERS[subject.name, rate]


def same_integers(a: QuantizedLayer, b: QuantizedLayer) -> bool:
    """Whether two answers have the same integers, scales apart."""
    pairs = {
        "integers": (ScalarSymbols, CosetSymbols, LatticePoints),
        "words": LatticeWords,
        "paths": (TrellisPaths, TilePaths),
        "codes": AdditiveCodes,
    }
    name = next(name for name, kind in pairs.items() if isinstance(a.weight.symbols, kind))
    return np.array_equal(np.array(getattr(a.weight.symbols, name)), np.array(getattr(b.weight.symbols, name)))


@subjects
@pytest.mark.parametrize("rate", [2.0, 3.0, 4.0])
def test_the_rate_is_hit(subject: Subject, rate):
    q = answer(subject, rate)
    assert abs(q.symbol_rate_bits - rate) <= 0.01


@subjects
def test_it_is_decodable_and_deterministic_and_leaves_its_input_alone(subject: Subject):
    layer = Layer.of(gaussian_layer().weight.copy(), gaussian_layer().hessian.matrix.copy(), name="gaussian")
    before = layer.weight.copy(), layer.hessian.matrix.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002  (the global state must not move)
    q = subject.build(3.0).quantize(layer, seed=5)
    again = subject.build(3.0).quantize(layer, seed=5)
    assert (before[0] == layer.weight).all()
    assert (before[1] == layer.hessian.matrix).all()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert encode(q.weight).data == encode(again.weight).data
    rebuilt = reconstruct(decode(encode(q.weight).data))
    assert (rebuilt == reconstruct(q.weight)).all()
    assert rebuilt.shape == layer.weight.shape


@subjects
@pytest.mark.parametrize("rate", [1.0, 2.0, 4.0, 8.0])
def test_iid_gaussian_weights_never_beat_the_limit(subject: Subject, rate):
    """Converse: for W iid N(0, σ²), coded bits ≥ R_WF(D) up to the draw.

    R_WF uses the drawn mean square, which is off by √(2/mn) of σ²; a relative error e in variance or distortion moves the rate of
    k/n ≤ 1 active components by at most ½ log2(e)·e.
    """
    layer = gaussian_layer()
    rate = min(rate, 4.0) if subject.vector else rate
    rate = max(rate, 2.0) if subject.lowest > 1 else rate
    row = result_row(layer, subject.build(rate), answer(subject, rate)).to_row()
    relative = math.sqrt(2 / layer.weight.size) + row["distortion_stderr"] / row["distortion"]
    budget = STANDARD_ERRORS * 0.5 * math.log2(math.e) * relative
    assert row["rate_gap_total_bpw"] >= -budget
    # a codebook made from the weights holds part of them
    assert subject.trained or row["rate_gap_symbols_bpw"] >= -budget


@functools.cache
def plain_rounding(rate: float):
    return measure(gaussian_layer(), RTN(rate_bits=rate, grid="midrise").quantize(gaussian_layer()))


@subjects
@pytest.mark.parametrize("rate", [2.0, 4.0])
def test_never_much_worse_than_plain_rounding(subject: Subject, rate):
    """At most the distortion of fixed-rate rounding to nearest in the same layer, times 1.1 for the draw of a rotation.

    What rounds at random has twice the error of rounding to nearest, a grid for all rows lacks the bits that scales of rows of 48 cost, and
    K levels with a zero among them have K − 1 steps between ±max, not K.
    """
    layer = gaussian_layer()
    plain = plain_rounding(rate)
    levels = 2**rate
    wider = (levels / (levels - 1)) ** 2 if subject.fixed_grid and "midrise" not in subject.name else 1.0
    allowance = 2.0 if subject.name.startswith(("quip-nearest", "quip-clamp-safe", "quip-published")) else 1.1 * wider
    assert measure(layer, answer(subject, rate)).distortion <= allowance * plain.distortion


@subjects
def test_every_byte_is_counted(subject: Subject):
    layer = gaussian_layer()
    q = answer(subject, 3.0)
    point = measure(layer, q)
    assert point.total_bpw * layer.weight.size / 8 == len(encode(q.weight).data)
    assert point.total_bpw == pytest.approx(point.symbol_bpw + point.overhead_bpw, rel=rounding(1))
    assert point.overhead_bpw > 0
    assert point.total_bpw > point.payload_bpw
    symbols = q.weight.symbols
    if subject.trained:  # codebooks, scales and the order of the columns are in the payload as well
        assert point.payload_bpw * layer.weight.size == 8 * -(-payload_bits(symbols) // 8)
        return
    histograms = 0.0 if subject.vector else scalar_code_length(symbols)[1]
    bits = point.symbol_bpw - histograms / layer.weight.size
    # a range coder needs less than 0.001 bit per symbol and one last word
    assert bits - 0.001 <= point.payload_bpw <= bits + 0.001 + 64 / layer.weight.size


@subjects
def test_rate_is_invariant_under_scale_and_distortion_follows_it(subject: Subject):
    """W → cW and H → c²H: same integers; c a power of two, so that nothing rounds differently."""
    layer = gaussian_layer()
    scaled = Layer.of(8.0 * layer.weight, 0.25 * layer.hessian.matrix, name="gaussian")
    a, b = answer(subject, 3.0), subject.build(3.0).quantize(scaled)
    assert same_integers(a, b)
    assert measure(scaled, b).distortion == pytest.approx(16 * measure(layer, a).distortion, rel=rounding(2000))


@subjects
def test_dead_columns_are_free(subject: Subject):
    """Equal to the reduced problem, with zeros put back."""
    layer = gaussian_layer()
    keep = np.ones(50, dtype=bool)
    keep[[3, 20]] = False
    H, W = np.zeros((50, 50)), np.full((len(layer.weight), 50), 7.0)
    H[np.ix_(keep, keep)], W[:, keep] = layer.hessian.matrix, layer.weight
    wide = Layer.of(W, H, name="gaussian")
    a, b = answer(subject, 3.0), subject.build(3.0).quantize(wide)
    assert same_integers(a, b)
    assert (reconstruct(b.weight)[:, ~keep] == 0).all()
    assert b.symbol_rate_bits == pytest.approx(a.symbol_rate_bits * 48 / 50, rel=rounding(4))
    expected = weighted_error(layer.weight, reconstruct(a.weight), layer.hessian.matrix).mean * 48 / 50
    assert measure(wide, b).distortion == pytest.approx(expected, rel=rounding(2000))


@subjects
def test_all_zero_weights_are_coded_at_no_rate(subject: Subject):
    layer = Layer.of(np.zeros((128, 48)), np.eye(48))
    q = subject.build(2.0).quantize(layer)
    point = measure(layer, q)
    assert point.distortion == 0
    assert math.isnan(point.relative_distortion)
    if point.rate_kind != "fixed":
        # a histogram of one code for all, or one for each column
        columns = 48 if isinstance(q.weight.symbols, ScalarSymbols) and q.weight.symbols.model.kind == "histogram" else 1
        assert q.symbol_rate_bits <= 64 * columns / layer.weight.size


@subjects
@pytest.mark.parametrize("rate", [1.0, 3.0])
def test_layers_without_inputs_and_white_ones_are_no_special_case(subject: Subject, rate):
    """No active column: degenerate, at no loss. H = I and a single column, where feedback has nothing to do: a row as any other."""
    rng = np.random.default_rng(3)
    if subject.name.startswith("quip-sharp"):
        rate = 2.0 * rate if rate == 1 else rate
    for H, status in ((np.zeros((16, 16)), "degenerate"), (np.eye(16), "ok"), (np.eye(1), "ok")):
        layer = Layer.of(rng.standard_normal((20, len(H))), H)
        quantizer = subject.build(rate)
        try:
            row = result_row(layer, quantizer, quantizer.quantize(layer)).to_row()
        except RateUnreachable:  # twenty weights have few code sequences, and forty vectors no 256 words
            assert len(H) < 20
            continue
        assert (row["status"], row["distortion"] == 0) == (status, status == "degenerate")


@subjects
def test_singular_hessian_is_damped_and_says_so(subject: Subject):
    """Fewer tokens than dimensions: a documented rule and a mark, not an error."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((30, 48))
    layer = Layer.of(rng.standard_normal((192, 48)), X.T @ X / 30, n_tokens=30)
    q = subject.build(3.0).quantize(layer)
    preparation = subject.build(3.0).for_layer(layer).preparation
    undamped = not preparation.factor or preparation.ridge > 0  # a ridge does what damping does
    assert q.damping == (0.0 if undamped else 1e-4 if preparation.damping is None else preparation.damping)
    row = result_row(layer, subject.build(3.0), q).to_row()
    assert (row["status"], row["rank"], row["damping"]) == ("undersampled", 30, q.damping)
    # columns that the others explain are left to them, and their error is fed back: far from R(D), yet better than nothing
    assert row["relative_distortion"] < 1


@subjects
@pytest.mark.parametrize("outlier", [1e3, 1e6, 1e12])
def test_an_outlier_costs_its_row_and_little_else_or_is_refused(subject: Subject, outlier):
    """Without rotation, gain or row scales one outlier is one long code; what spreads it spreads its energy, and says so in D."""
    layer = gaussian_layer()
    W = layer.weight.copy()
    W[5, int(np.argmax(np.diagonal(layer.hessian.matrix)))] = outlier
    spiked = Layer.of(W, layer.hessian.matrix, name="spiked")
    try:
        q = subject.build(3.0).quantize(spiked)
    except RateUnreachable:
        assert outlier == 1e12
        return
    point = measure(spiked, q)
    # on K levels spanning ±max a small weight of a mid-rise grid is half a step off: (n − 1)/K² of an outlier's energy in a mean column;
    # codebooks are made for normal weights
    one_range = subject.fixed_grid or "quip" in subject.name or subject.vector
    assert point.relative_distortion < (1 if one_range else 0.05)
    if (
        not one_range
        and "+" not in subject.name
        and "mmse" not in subject.name
        and "published" not in subject.name
        and subject.name not in ("watersic-trellis", "watersic-e8", "watersic-d4")
    ):
        clean = measure(layer, answer(subject, 3.0))
        assert point.distortion < 1.3 * clean.distortion


@subjects
@settings(max_examples=6)
@given(layer=layers(max_rows=12, max_columns=12, max_condition=1e4))
def test_any_layer_is_quantized_or_refused_with_the_rates_that_exist(subject: Subject, layer):
    try:
        q = subject.build(2.0).quantize(layer)
    except RateUnreachable as error:
        assert "bits per weight cannot be reached" in str(error)  # noqa: PT017
        return
    # of the columns that are coded; whole blocks of a codebook may be more than the weights
    target = 2.0 * q.weight.basis.active.mean()
    assert -0.01 <= q.symbol_rate_bits - target <= (np.inf if subject.vector else 0.01)
    point = measure(layer, q)
    assert np.isfinite(point.distortion)
    signal = weighted_error(layer.weight, np.zeros_like(layer.weight), layer.hessian.matrix).mean
    assert point.relative_distortion == pytest.approx(point.distortion / signal, rel=rounding(1000))


@pytest.mark.parametrize("name", ["rtn-midrise", "gptq-midrise"])
def test_points_of_its_own_rows_are_fixed(name):
    """The largest level of a mid-rise row is half a step inside its range: with the range put back, the rest is found again."""
    subject = next(s for s in SUBJECTS if s.name == name)
    layer = Layer.of(np.random.default_rng(0).standard_normal((64, 48)), np.eye(48))
    on_grid = reconstruct(subject.build(3.0).quantize(layer).weight)
    on_grid[:, 0] = np.abs(layer.weight).max(axis=1)
    again = reconstruct(subject.build(3.0).quantize(Layer.of(on_grid, np.eye(48))).weight)
    np.testing.assert_array_equal(again[:, 1:], on_grid[:, 1:])


def test_scales_that_do_not_fit_a_file_are_refused():
    layer = gaussian_layer()
    for scale in (1e-44, 1e44):
        tiny = Layer.of(scale * layer.weight, layer.hessian.matrix, name="tiny")
        for name in ("hrtn", "rtn-midrise", "watersic"):
            with pytest.raises(ScaleOutOfRange, match=r"tiny: .*float32 scale.*rescale"):
                next(s for s in SUBJECTS if s.name == name).build(3.0).quantize(tiny)


@pytest.mark.parametrize("scale", [1e-80, 1e80])
def test_the_scale_of_the_hessian_does_not_matter(scale):
    layer = gaussian_layer()
    scaled = Layer.of(layer.weight, scale * layer.hessian.matrix, name="gaussian")
    for name in ("hptq", "watersic"):
        subject = next(s for s in SUBJECTS if s.name == name)
        a, b = subject.build(3.0).quantize(layer), subject.build(3.0).quantize(scaled)
        # the scale is no power of two, so a tie may fall the other way
        assert (a.weight.symbols.integers != b.weight.symbols.integers).mean() < 1e-3
