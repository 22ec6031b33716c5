"""The matrix of architectures: layers, weights and second moments against plain module hooks on single sequences."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.model.capture import capture
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.inputs import check_weights, find_layers
from rdtools.model.layer_names import layer_type
from rdtools.model.pretrained import load_model
from rdtools.model.tokens import Tokens
from tests.model.architectures import ARCHITECTURES, VISION, build, linear_parameters, second_moments

#: Lengths of the sequences, and whether the padding stands before them.
_LENGTHS, _LEFT = np.array([12, 7, 12, 4]), np.array([False, True, False, False])


def _tokens():
    ids, place = np.random.default_rng(0).integers(1, 47, (4, 12)), np.arange(12)
    mask = np.where(_LEFT[:, None], place >= 12 - _LENGTHS[:, None], place < _LENGTHS[:, None])
    return Tokens(np.where(mask, ids, 0), mask, "test")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layers_weights_and_second_moments(name, tmp_path):
    """At least 99 % of the weights in linear maps are analysed, those of vision towers apart, through which no text goes."""
    built = build(name, tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    model = load_model(checkpoint)
    found = find_layers(model, checkpoint, head=True)
    for shared in found.inputs:
        check_weights(model, checkpoint, shared)
    tokens = _tokens()
    moments = {layer.name: (layer, hessian) for shared, hessian in capture(model, found.inputs, tokens) for layer in shared.layers}
    expected = second_moments(built, [ids[mask] for ids, mask in zip(tokens.ids, tokens.mask, strict=True)])
    assert sorted(moments) == sorted(expected)
    for layer_name, (weight, matrix, count) in expected.items():
        layer, hessian = moments[layer_name]
        np.testing.assert_array_equal(checkpoint.weight(layer), weight.double().numpy(), err_msg=layer_name)
        assert (hessian.n_tokens, layer.shape) == (count, tuple(weight.shape)), layer_name
        matrix = matrix.numpy()
        np.testing.assert_allclose(hessian.matrix, matrix, rtol=0, atol=1e-6 * np.abs(matrix).max(), err_msg=layer_name)
    analysed = sum(layer.shape[0] * layer.shape[1] for layer, _ in moments.values())
    assert analysed == found.analysed
    assert analysed >= 0.99 * linear_parameters(built, VISION.get(name, ()))
    if name not in VISION:
        assert analysed >= 0.99 * found.parameters


def test_the_matrix_has_the_kinds_that_matter():
    assert len(ARCHITECTURES) >= 40


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "dbrx", "llama4_text", "deepseek_v3", "granitemoe"])
def test_experts_have_types_of_their_own(name, tmp_path):
    build(name, tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    layers = [layer.name for shared in find_layers(load_model(checkpoint), checkpoint).inputs for layer in shared.layers]
    assert {kind for kind in map(layer_type, layers) if kind.startswith("expert_")} == {"expert_gate", "expert_up", "expert_down"}
