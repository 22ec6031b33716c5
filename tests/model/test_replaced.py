from __future__ import annotations

import numpy as np
import pytest
import torch

from rdtools.errors import NotByBlocks
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.opened import open_model
from rdtools.model.replaced import replaced_layers
from rdtools.records import ActivationGrid, EffectiveLayer, InputMap, LowRank


@pytest.fixture
def opened(tiny_llama):
    return open_model(open_checkpoint(tiny_llama))


def effective(layer, rng, **parts):
    return EffectiveLayer(rng.standard_normal(layer.shape), InputMap(columns=layer.shape[1]), **parts)


def test_weights_are_in_place_inside_and_back_after(opened, rng):
    name = "model.layers.0.mlp.up_proj"
    layer = next(layer for item in opened.layers.inputs for layer in item.layers if layer.name == name)
    parameter, other = opened.model.get_parameter(f"{name}.weight"), effective(layer, rng)
    before = parameter.clone()
    with replaced_layers(opened.model, opened.stages.places, opened.layers.inputs, {name: other}):
        assert np.array_equal(parameter.detach().numpy(), other.matrix.astype(np.float32))
    assert torch.equal(parameter, before)


def test_layers_with_quantized_activations_compute_what_they_say(opened, rng):
    """y = Ŵ Q(x) + U Vᵀ x at the layer, its parameter untouched; the other reader of the input is the original's."""
    name = "model.layers.0.mlp.up_proj"
    mlp = opened.model.model.layers[0].mlp
    layer = next(layer for item in opened.layers.inputs for layer in item.layers if layer.name == name)
    low = LowRank.rounded(rng.standard_normal((24, 2)), rng.standard_normal((16, 2)))
    other = effective(layer, rng, activation=ActivationGrid(4), low_rank=low)
    x = torch.from_numpy(rng.standard_normal((2, 3, 16))).float()
    with torch.no_grad():
        gate = mlp.gate_proj(x)
        with replaced_layers(opened.model, opened.stages.places, opened.layers.inputs, {name: other}):
            found, unchanged = mlp.up_proj(x), mlp.gate_proj(x)
    assert torch.equal(unchanged, gate)
    np.testing.assert_array_equal(found.numpy(), other.apply(x.double().numpy()).astype(np.float32))


def test_a_layer_that_is_never_multiplied_is_an_error(opened, rng):
    name = "model.layers.0.mlp.up_proj"
    layer = next(layer for item in opened.layers.inputs for layer in item.layers if layer.name == name)
    other = effective(layer, rng, activation=ActivationGrid(4))
    with (
        pytest.raises(NotByBlocks, match=r"layers.0.mlp.up_proj.weight: its product was not seen"),
        replaced_layers(opened.model, opened.stages.places, opened.layers.inputs, {name: other}),
    ):
        pass


def test_a_weight_held_as_in_by_out_is_replaced_and_keeps_its_bias(tmp_path, rng):
    """GPT-2 multiplies by addmm(bias, x, W), W of (in, out)."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"vocab_size": 48, "bos_token_id": 0, "eos_token_id": 0}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **sizes, n_embd=32, n_layer=1, n_head=4, n_positions=64))
        torch.nn.init.normal_(model.transformer.h[0].mlp.c_fc.bias)
    model.save_pretrained(tmp_path)
    opened, name = open_model(open_checkpoint(tmp_path)), "transformer.h.0.mlp.c_fc"
    layer = next(layer for item in opened.layers.inputs for layer in item.layers if layer.name == name)
    module, x = opened.model.transformer.h[0].mlp.c_fc, torch.from_numpy(rng.standard_normal((2, 3, 32))).float()
    quantized, plain = effective(layer, rng, activation=ActivationGrid(4)), effective(layer, rng)
    for other in (quantized, plain):
        with torch.no_grad(), replaced_layers(opened.model, opened.stages.places, opened.layers.inputs, {name: other}):
            found = module(x)
        expected = other.apply(x.double().numpy()) + module.bias.detach().numpy()
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-4)
