from __future__ import annotations

import numpy as np
import pytest
from tolerances import EPS

import rdtools as rd
from rdtools import arrays
from rdtools.coding import effective_layer
from rdtools.compare import layer_facts, result_row
from rdtools.errors import ShapeMismatch, WrongType
from rdtools.measure import measure
from rdtools.moments.heldout import HeldoutMoment, mean_ratio
from rdtools.quantizers import HPTQ, HRTN, WaterSIC
from rdtools.records import Hessian


@pytest.fixture(params=[2**16, 64], ids=["one panel", "several"])
def _panels(request, monkeypatch):
    monkeypatch.setattr(arrays, "PANEL_ENTRIES", request.param)


def _moment(rng, tokens, n, dead=()):
    X = rng.standard_normal((tokens, n))
    X[:, list(dead)] = 0
    return X.T @ X / tokens


@pytest.mark.usefixtures("_panels")
def test_parts_give_what_the_whole_matrix_gives(rng):
    H, held, E = _moment(rng, 200, 40, dead=(3, 20)), _moment(rng, 90, 40, dead=(7,)), rng.standard_normal((37, 40))
    moment, active = HeldoutMoment.of(held), np.diagonal(H) > 0
    budget = 40 * 40 * EPS * np.abs(held).max() * np.square(E).sum(axis=1).max()
    np.testing.assert_allclose(moment.quadratic_form(E), np.einsum("ij,jk,ik->i", E, held, E), rtol=0, atol=budget)
    inverse = np.linalg.inv(H[np.ix_(active, active)])
    expected = np.trace(inverse @ held[np.ix_(active, active)]) / active.sum()
    assert mean_ratio(Hessian(H, 200), moment) == pytest.approx(expected, rel=1e-11)
    assert mean_ratio(Hessian(H, 200), HeldoutMoment.of(H)) == pytest.approx(1, rel=1e-11)


def test_weights_of_another_input_are_refused():
    with pytest.raises(ShapeMismatch, match="a held-out moment of 3 inputs beside weights"):
        HeldoutMoment.of(np.eye(3)).quadratic_form(np.ones((2, 4)))


def test_held_out_distortion_is_of_the_decoded_weights(rng):
    layer, held = rd.Layer.of(rng.standard_normal((30, 12)), _moment(rng, 80, 12), n_tokens=80), _moment(rng, 50, 12)
    q = HPTQ(rate_bits=3)
    quantized = q.quantize(layer)
    point = measure(layer, quantized, HeldoutMoment.of(held))
    E = layer.weight - effective_layer(quantized.weight).matrix
    H, W = layer.hessian.matrix, layer.weight
    lost, signal, calibrated, energy = (np.trace(A @ M @ A.T) for A, M in ((E, held), (W, held), (E, H), (W, H)))
    assert point.heldout_distortion == pytest.approx(lost / signal, rel=1e-12)
    assert point.heldout_over_calibration == pytest.approx(lost / signal / (calibrated / energy), rel=1e-12)
    assert np.isnan(measure(layer, quantized).heldout_distortion)


def test_a_text_of_more_energy_has_the_same_held_out_ratio(rng):
    """Exactly, where the energy is a power of two more; and the ratio is 1 under the calibration moment itself."""
    layer = rd.Layer.of(rng.standard_normal((30, 12)), _moment(rng, 80, 12), n_tokens=80)
    quantized, held = HPTQ(rate_bits=3).quantize(layer), _moment(rng, 50, 12)
    ratios = {measure(layer, quantized, HeldoutMoment.of(energy * held)).heldout_over_calibration for energy in (2.0**-20, 1.0, 8.0)}
    assert len(ratios) == 1
    own = measure(layer, quantized, HeldoutMoment.of(layer.hessian.matrix)).heldout_over_calibration
    assert own == pytest.approx(1, abs=12 * 12 * EPS * np.linalg.cond(layer.hessian.matrix))
    silent = measure(layer, quantized, HeldoutMoment.of(np.zeros((12, 12))))
    assert np.isnan(silent.heldout_distortion)
    assert np.isnan(silent.heldout_over_calibration)


def test_no_weights_but_the_layers_own_are_held_out(rng):
    """One moment serves layers of one input, each with its own energy; only a moment of as many inputs is taken."""
    held, H = HeldoutMoment.of(np.eye(12)), _moment(rng, 80, 12)
    for scale in (1.0, 5.0):
        layer = rd.Layer.of(scale * rng.standard_normal((6, 12)), H)
        quantized = HPTQ(rate_bits=3).quantize(layer)
        point = measure(layer, quantized, held)
        E = layer.weight - effective_layer(quantized.weight).matrix
        assert point.heldout_distortion == pytest.approx(np.sum(E**2) / np.sum(layer.weight**2), rel=1e-12)
    for other in (np.eye(12), "held-out", layer):
        with pytest.raises(WrongType, match=f"got {type(other).__name__} as held-out moment, expected a HeldoutMoment: HeldoutMoment.of"):
            measure(layer, quantized, other)
    with pytest.raises(
        ShapeMismatch, match=r"held-out moment of 3 inputs beside weights \(6, 12\), expected the moment of this layer's 12"
    ):
        measure(layer, quantized, HeldoutMoment.of(np.eye(3)))


def test_held_out_distortion_is_as_predicted(rng):
    """Normal tokens, four for each column, under an exact held-out moment; at high rate, and 1 without feedback."""
    n, ratios, effective = 48, {}, []
    for _ in range(6):
        hessian = Hessian(_moment(rng, 4 * n, n), 4 * n, distinct_tokens=4 * n)
        layer = rd.Layer.of(rng.standard_normal((200, n)), hessian)
        facts = layer_facts(layer, HeldoutMoment.of(np.eye(n)))
        effective.append(facts.row.effective_tokens)
        for q in (WaterSIC(rate_bits=5), HPTQ(rate_bits=5), HRTN(rate_bits=5)):
            row = result_row(layer, q, q.quantize(layer), facts=facts)
            ratios.setdefault(type(q), []).append(row.point.heldout_over_calibration / row.pred_heldout_over_calibration)
        assert row.pred_heldout_over_calibration == 1
        assert facts.row.pred_calibration_penalty_bpw == pytest.approx(0.1087, abs=1e-4)
    # the mean eigenvalue of one sample differs from its expectation by about √(2 y/(1 − y)³)/n = 2 %
    assert np.mean(ratios[WaterSIC]) == pytest.approx(1, abs=0.04)
    assert np.mean(ratios[HPTQ]) == pytest.approx(1, abs=0.04)
    assert np.mean(ratios[HRTN]) == pytest.approx(1, abs=0.04)
    assert np.mean(effective) == pytest.approx(4 * n, rel=0.1)
