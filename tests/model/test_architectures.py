"""The matrix of architectures: layers, weights and second moments against plain module hooks on single sequences."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.model.capture import capture
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.inputs import check_weights, find_layers
from rdtools.model.layer_names import layer_type
from rdtools.model.pretrained import load_model
from rdtools.model.stages import Stages
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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_block_at_a_time_gives_the_same_to_the_bit(name, tmp_path):
    """Nothing of a block is in memory but while it runs; layers, their places in the files and all moments are those of the whole model."""
    build(name, tmp_path)
    checkpoint, tokens = open_checkpoint(tmp_path), _tokens()
    model = load_model(checkpoint)
    found = find_layers(model, checkpoint, head=True)
    stages = Stages(checkpoint, kept_bytes=0)
    assert find_layers(stages.model, checkpoint, head=True, stages=stages) == found
    whole = {shared.name: hessian for shared, hessian in capture(model, found.inputs, tokens)}
    meta = {name for name, tensor in stages.model.named_parameters() if tensor.is_meta}
    assert all(name in meta for path, block in stages.blocks for name in (f"{path}.{part}" for part, _ in block.named_parameters()))
    parts = dict(capture(stages.model, found.inputs, tokens, stages=stages))
    assert {name for name, tensor in stages.model.named_parameters() if tensor.is_meta} == meta
    assert sorted(shared.name for shared in parts) == sorted(whole)
    for shared, hessian in parts.items():
        expected = whole[shared.name]
        assert (hessian.n_tokens, hessian.dropped_tokens) == (expected.n_tokens, expected.dropped_tokens)
        np.testing.assert_array_equal(hessian.matrix, expected.matrix, err_msg=shared.name)
        np.testing.assert_array_equal(hessian.mean, expected.mean, err_msg=shared.name)
        if shared.is_head:
            np.testing.assert_array_equal(hessian.output_variances, expected.output_variances)


def test_the_matrix_has_the_kinds_that_matter():
    assert len(ARCHITECTURES) >= 40


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "dbrx", "llama4_text", "deepseek_v3", "granitemoe"])
def test_experts_have_types_of_their_own(name, tmp_path):
    build(name, tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    layers = [layer.name for shared in find_layers(load_model(checkpoint), checkpoint).inputs for layer in shared.layers]
    assert {kind for kind in map(layer_type, layers) if kind.startswith("expert_")} == {"expert_gate", "expert_up", "expert_down"}
