"""Moments of two models side by side, against two whole models of transformers with hooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_tiny_llama
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

from rdtools.errors import NotByBlocks
from rdtools.model.attention import received_attention
from rdtools.model.beside import capture_beside
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.opened import open_model
from rdtools.model.tokens import Tokens

#: float32 sums of 16 and 24 terms in both, in another order.
CLOSE = 2e-5


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Moments of all inputs with every layer replaced by one that is off by a fifth, and inputs and streams of both models by hooks."""
    folder = make_tiny_llama(tmp_path_factory.mktemp("beside") / "model")
    ids = np.random.default_rng(0).integers(0, 64, (3, 9))
    opened = open_model(open_checkpoint(folder))
    tokens = Tokens(ids, ids == ids, "test")
    models = [AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval() for _ in range(2)]
    replaced, results, trials = {}, {}, {}
    for one in capture_beside(
        opened.stages,
        [item for item in opened.layers.inputs if not item.is_head],
        tokens,
        replaced=replaced,
        residual=True,
        attention=True,
        mixing=True,
    ):
        for layer in one.item.layers:
            weight = models[0].get_parameter(f"{layer.name}.weight").detach().numpy().astype(np.float64)
            replaced[layer.name] = weight + 0.2 * weight.std() * np.random.default_rng(len(replaced)).standard_normal(weight.shape)
            models[1].get_parameter(f"{layer.name}.weight").data.copy_(torch.tensor(replaced[layer.name]))
        results[one.item.name] = one
        if one.trial is not None:
            trials[one.item.name] = one.trial({layer.name: replaced[layer.name] for layer in one.item.layers})
    seen = [_seen(model, torch.from_numpy(ids)) for model in models]
    return results, trials, seen


def _seen(model, ids):
    """Inputs of all linear layers (k, n), the stream before each norm, and attention, of a whole model."""
    inputs, streams = {}, {}

    def see(name, into):
        return lambda module, args: into.update({name: args[0].detach().reshape(-1, args[0].shape[-1]).double().numpy()})

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(see(name, inputs))
        elif name.endswith("layernorm"):
            module.register_forward_pre_hook(see(name, streams))
    with torch.no_grad():
        attention = model(ids, output_attentions=True).attentions
    return inputs, streams, attention


@pytest.mark.parametrize("name", ["self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"])
@pytest.mark.parametrize("block", [0, 1])
def test_moments_are_those_of_two_whole_models(found, block, name):
    """x̂ of a layer is that of a model with all earlier layers replaced: the later ones do not reach it."""
    results, _, ((x, streams, _), (actual, drifted, _)) = found
    name = f"model.layers.{block}.{name}"
    moments = results[name].moments
    count = len(x[name])
    for mine, theirs in (
        (moments.reference, x[name].T @ x[name]),
        (moments.actual, actual[name].T @ actual[name]),
        (moments.cross, x[name].T @ actual[name]),
    ):
        assert np.abs(mine - theirs / count).max() < CLOSE * np.abs(moments.reference).max()
    assert moments.tokens == 27
    if block == 0 and name.endswith("q_proj"):
        assert moments.is_plain
    if name.endswith(("o_proj", "down_proj")) and not (block == 0 and name.endswith("o_proj")):
        norm = f"model.layers.{block}.{'input' if name.endswith('o_proj') else 'post_attention'}_layernorm"
        lacking = (streams[norm] - drifted[norm]).T @ actual[name] / count
        assert np.abs(moments.residual - lacking).max() < CLOSE * np.abs(streams[norm]).max() * np.abs(actual[name]).max()
    else:
        assert moments.residual is None  # before the first layer that is replaced, the stream lacks nothing


@pytest.mark.parametrize("block", [0, 1])
def test_weights_are_the_attention_that_tokens_receive(found, block):
    """Loops over heads and tokens, on what transformers itself returns as attention."""
    results, _, ((x, _, attention), (actual, _, _)) = found
    name = f"model.layers.{block}.self_attn.q_proj"
    A = attention[block].double().numpy()
    batch, heads, t, _ = A.shape
    p = np.zeros((batch, t))
    for b in range(batch):
        for j in range(t):
            p[b, j] = sum(A[b, h, i, j] for h in range(heads) for i in range(j, t)) / (heads * (t - j))
    p = p.reshape(-1)
    weighted = results[name].weighted
    expected = (x[name] * p[:, None]).T @ actual[name] / p.sum()
    assert np.abs(weighted.cross - expected).max() < CLOSE * np.abs(weighted.reference).max()
    assert weighted.weight_sum == pytest.approx(p.sum(), rel=1e-5)
    assert results[f"model.layers.{block}.mlp.down_proj"].weighted is None


def test_a_trial_is_the_relative_error_before_the_output_projection(found):
    """The weights that were tried are those that the second whole model ended with."""
    _, trials, ((x, _, _), (actual, _, _)) = found
    for block in (0, 1):
        name = f"model.layers.{block}.self_attn.o_proj"
        expected = np.sum((x[name] - actual[name]) ** 2) / np.sum(x[name] ** 2)
        assert trials[f"model.layers.{block}.self_attn.q_proj"] == pytest.approx(expected, rel=1e-3)
    assert len(trials) == 2


def test_attention_that_looks_ahead_is_refused():
    with pytest.raises(NotByBlocks, match="expected causal softmax attention"):
        received_attention(torch.full((1, 1, 2, 2), 0.5))


def test_an_architecture_without_such_a_stream_is_refused(tmp_path):
    """Both parts of a block of GPT-NeoX are given the same stream: neither adds to it as it stands behind the other."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPTNeoXConfig(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
        GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "model")
    opened = open_model(open_checkpoint(tmp_path / "model"))
    ids = np.random.default_rng(0).integers(0, 64, (2, 9))
    inputs = [item for item in opened.layers.inputs if not item.is_head]
    with pytest.raises(NotByBlocks, match="no layer adds its output to the residual stream"):
        next(capture_beside(opened.stages, inputs, Tokens(ids, ids == ids, "test"), replaced={}, residual=True))
