from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import STANDARD_ERRORS

from rdtools.compare import result_row
from rdtools.errors import RateUnreachable, UnknownMethod, UsageError
from rdtools.measure import measure
from rdtools.methods import format_method, make_quantizers
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.planning.watersic_mmse import MmseWaterSIC
from rdtools.quantizers import QTIP, QuIP, QuIPSharp
from rdtools.quantizers.rounding.clamp_safe import clamp_safe_feedback


def _layer(m=512, n=64, exponent=1.0, seed=0) -> Layer:
    rng = np.random.default_rng(seed)
    return Layer.of(rng.standard_normal((m, n)), haar_moment(power_law(n, exponent), rng), name="gaussian")


def _bounded() -> Layer:
    """Weights uniform on ±√3, of mean square 1 and well inside the published range of ±2.4."""
    rng = np.random.default_rng(1)
    return Layer.of(rng.uniform(-(3**0.5), 3**0.5, (4096, 64)), haar_moment(power_law(64, 1.0), rng), name="bounded")


_NOTHING_CLAMPED = {"rotation": None, "half_range": 2.4, "clips_first": True, "damping": 0.0}


@pytest.mark.parametrize(("stochastic", "error"), [(False, 1 / 12), (True, 1 / 6)])
def test_where_nothing_is_clamped_the_loss_is_that_of_ldlq(stochastic, error):
    """``s²/12 · m tr D`` to nearest and twice that at random, within 1 % and the band of 4096 rows (QuIP, Theorem 1)."""
    layer = _bounded()
    quantizer = QuIP(rate_bits=8, adaptive="ldlq", stochastic=stochastic, **_NOTHING_CLAMPED)
    q = quantizer.quantize(layer)
    symbols = q.weight.symbols
    assert not np.isin(symbols.integers, [-128, 127]).any()
    row = result_row(layer, quantizer, q).to_row()
    D = np.diagonal(quantizer.prepare(layer).factor) ** 2
    # to nearest the prediction takes the errors of these very weights, of which each column has 4096
    uniform = STANDARD_ERRORS * math.sqrt(0.8 / 4096)
    assert row["pred_high_rate_distortion"] == pytest.approx(error * symbols.grid.step**2 * D.mean(), rel=1e-12 if stochastic else uniform)
    band = 0.01 + STANDARD_ERRORS * row["distortion_stderr"] / row["distortion"]
    assert row["measured_over_pred_high_rate"] == pytest.approx(1, abs=band)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_best_is_at_least_as_good_as_published_and_its_passes_help(bits, exponent):
    layer = _layer(exponent=exponent)
    loss = {q: measure(layer, q.quantize(layer)).distortion for q in _presets(bits)}
    published, best, plain = loss.values()
    assert best < plain < published


def _presets(bits):
    return QuIP.published(bits), QuIP(rate_bits=bits), QuIP(rate_bits=bits, adaptive="ldlq")


def test_published_is_as_published():
    """Columns rescaled, two Haar factors a side, damping 0.01, and largest level 2.4 root mean squares of the rotated weights."""
    layer = _layer()
    quantizer = QuIP.published(3)
    q = quantizer.quantize(layer)
    basis, symbols = q.weight.basis, q.weight.symbols
    assert (basis.rotation.kind, basis.row_rotation.kind, q.damping) == ("kronecker", "kronecker", 0.01)
    assert basis.column_scales is not None
    rms = quantizer.prepare(layer).weight_std
    assert symbols.grid.step * 3.5 == pytest.approx(2.4 * rms, rel=2**-23)
    assert (symbols.integers.min(), symbols.integers.max()) == (-4, 3)


def test_best_rotates_by_hadamard_matrices_and_stores_no_column_scales():
    q = QuIP(rate_bits=3).quantize(_layer())
    assert (q.weight.basis.rotation.kind, q.weight.basis.row_rotation.kind, q.damping) == ("hadamard", "hadamard", 0.0)
    assert q.weight.basis.column_scales is None
    unrotated = QuIP(rate_bits=3, rotation=None)
    assert unrotated.quantize(_layer()).weight.basis.rotation is None
    assert format_method(unrotated) == "quip(rotation=none)"


def test_passes_never_raise_the_loss_and_zero_of_them_is_ldlq_in_activation_order():
    layer = _layer(n=48)
    losses = [measure(layer, QuIP.published(2, adaptive="ldlq-rg", passes=k).quantize(layer)) for k in (0, 1, 10)]
    # passes descend in the damped loss of clamped weights, which is not the loss that is measured: allow them its damping
    assert losses[2].distortion <= losses[1].distortion * 1.01 <= losses[0].distortion * 1.01**2


def test_clamp_safe_feedback_keeps_codes_inside_and_its_loss():
    """``s²/6 · tr(H Rᵀ R)`` where nothing is clamped; 8 bits leave room."""
    layer = _bounded()
    quantizer = QuIP(rate_bits=8, adaptive="clamp-safe", slack=0.2, **_NOTHING_CLAMPED)
    q = quantizer.quantize(layer)
    factor = quantizer.prepare(layer).factor
    trace = clamp_safe_feedback(factor @ factor.T, 0.2).objective
    point = measure(layer, q)
    predicted = q.weight.symbols.grid.step**2 / 6 * trace / layer.weight.shape[1]
    assert point.distortion == pytest.approx(predicted, rel=0.01 + STANDARD_ERRORS * point.distortion_stderr / point.distortion)
    assert math.isnan(result_row(layer, quantizer, q).pred_high_rate_distortion)


def test_seeds_draw_rotations_and_random_roundings():
    layer = _layer()
    quantizer = QuIP(rate_bits=3, stochastic=True, adaptive="ldlq", rotation=None)
    a, b = (quantizer.quantize(layer, seed=seed).weight.symbols.integers for seed in (1, 2))
    assert (a != b).any()
    assert (a == quantizer.quantize(layer, seed=1).weight.symbols.integers).all()


def test_nonsense_is_refused():
    for half_range in ("wide", 0.0, -1.0, math.inf, True):
        with pytest.raises(UsageError, match="half_range"):
            QuIP(rate_bits=2, half_range=half_range)
    with pytest.raises(UsageError, match="adaptive 'ldl'"):
        QuIP(rate_bits=2, adaptive="ldl")
    with pytest.raises(UsageError, match="stochastic rounding with adaptive 'ldlq-rg'"):
        QuIP(rate_bits=2, stochastic=True)
    with pytest.raises(UsageError, match="-1 passes"):
        QuIP(rate_bits=2, passes=-1)
    with pytest.raises(RateUnreachable, match="whole number of levels"):
        QuIP(rate_bits=2.5).quantize(_layer())


def test_any_number_of_levels_will_do():
    """Three levels have a zero."""
    q = QuIP(rate_bits=math.log2(3)).quantize(_layer())
    assert q.weight.symbols.grid.offset == 0
    assert set(np.unique(q.weight.symbols.integers).tolist()) == {-1, 0, 1}


@pytest.mark.parametrize("kind", [QuIP, QuIPSharp, QTIP, MmseWaterSIC])
def test_settings_that_mean_nothing_are_refused_at_once(kind):
    with pytest.raises(UsageError, match="rotation 'hadmard'"):
        kind(rate_bits=2, rotation="hadmard")
    for damping in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="damping"):
            kind(rate_bits=2, damping=damping)


def test_names_say_what_was_changed():
    assert format_method(QuIP(rate_bits=2, passes=3, rescale=True)) == "quip(passes=3,rescale=true)"
    assert format_method(QuIP(rate_bits=2, adaptive="clamp-safe", slack=0.5)) == "quip-clamp-safe(slack=0.5)"
    assert format_method(QuIPSharp(rate_bits=2, passes=1)) == "quip-sharp(passes=1)"
    with pytest.raises(UsageError, match="-1 passes"):
        QuIPSharp(rate_bits=2, passes=-1)
    for name in ("quip+rotation", "quip-sharp+rotation", "qtip+rotation"):
        with pytest.raises(UnknownMethod, match="by default"):
            make_quantizers([name], [2.0])
