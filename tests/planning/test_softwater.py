"""WaterSIC of an output head with row steps by class."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.coding import decode, encode
from rdtools.errors import UsageError
from rdtools.measure import measure
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.quantizers import Preparation
from rdtools.records import Hessian
from rdtools.theory import output_head

K, N = 96, 24


@pytest.fixture(scope="module")
def head():
    """A head whose classes are likely to very different degrees, with its predictions on 4000 tokens, and these tokens."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, N)) @ (rng.standard_normal((N, N)) / 5)
    W = rng.standard_normal((K, N)) * np.exp(rng.standard_normal(K))[:, None]
    p = _softmax(x @ W.T)
    facts = {"output_variances": (p * (1 - p)).mean(0), "output_means": p.mean(0)}
    return Layer.of(W, Hessian(x.T @ x / len(x), len(x), name="head", **facts), name="head"), x, p


def _softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _kl(layer, x, p, decoded):
    return np.mean(np.sum(p * (np.log(p) - np.log(_softmax(x @ decoded.T))), axis=1))


def test_the_kl_is_lower_and_near_its_proxy_at_the_same_symbol_rate(head):
    """By at least half the gain of the classes, their entropy models being the same; D is larger; the file decodes to what was measured."""
    layer, x, p = head
    found = {}
    for name in ("watersic", "softwater"):
        answer = parse_method(name, 5).quantize(layer)
        decoded = decode(encode(answer.weight).data).dequantize()
        point, errors = measure(layer, answer), layer.weight - decoded
        proxy = output_head.kl_proxy_nats(np.einsum("ki,ij,kj->k", errors, layer.hessian.matrix, errors), layer.hessian.output_variances)
        found[name] = _kl(layer, x, p, decoded), point
        assert found[name][0] == pytest.approx(proxy, rel=0.2)
    lam = output_head.smoothed_variances(layer.hessian.output_means, layer.hessian.output_variances, 0.1)
    gain = 0.5 * np.log2(found["watersic"][0] / found["softwater"][0])
    assert gain > 0.5 * output_head.class_gain_bits(lam)
    assert found["softwater"][1].symbol_bpw == pytest.approx(found["watersic"][1].symbol_bpw, abs=0.05)
    assert found["softwater"][1].distortion > found["watersic"][1].distortion
    extra = found["softwater"][1].overhead_bpw - found["watersic"][1].overhead_bpw
    assert extra == pytest.approx(16 / N, abs=0.2)


def test_steps_are_the_stored_ones(head):
    """β of theory rounded to bfloat16, in the grid of the file; the integers are WaterSIC's of the rows divided by them."""
    layer, *_ = head
    lam = output_head.smoothed_variances(layer.hessian.output_means, layer.hessian.output_variances, 0.3)
    weight = parse_method("softwater(smoothing=0.3)", 4).quantize(layer).weight
    steps = weight.symbols.grid.rows.scales[:, 0]
    np.testing.assert_allclose(steps, output_head.row_steps(lam), rtol=2.0**-8)
    divided = parse_method("watersic", 4).quantize(Layer.of(layer.weight / steps[:, None], layer.hessian, name="head")).weight
    np.testing.assert_array_equal(weight.symbols.integers, divided.symbols.integers)


def test_a_layer_without_classes_has_equal_steps_and_says_so(head):
    layer = Layer.of(head[0].weight, head[0].hessian.matrix)
    one, two = (parse_method(name, 4).quantize(layer) for name in ("softwater", "watersic"))
    assert encode(one.weight).data == encode(two.weight).data
    assert "no predictions of classes" in one.note


def test_what_cannot_be_is_refused(head):
    hessian = Hessian(head[0].hessian.matrix, 0, name="head", output_variances=head[0].hessian.output_variances)
    with pytest.raises(UsageError, match="head: no mean probability of each output, which smoothing needs; collect the Hessians again"):
        parse_method("softwater", 4).quantize(Layer.of(head[0].weight, hessian))
    for smoothing in (0, 1.5, "none"):
        with pytest.raises((UsageError, TypeError), match="smoothing"):
            parse_method(f"softwater(smoothing={smoothing})", 4)
    with pytest.raises(UsageError, match="row_steps beside a drift, dropped columns or a rotation of the outputs"):
        Preparation(row_steps=(1.0,), row_rotation="haar")
