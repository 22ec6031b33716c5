"""Gains and rotations in the weights of a model, which computes what it did."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rdtools.cli.main import main
from rdtools.errors import CorruptFile, ModelUnreadable, OutputError, UsageError
from rdtools.jobs.rotate import rotate_model
from rdtools.model import mapped, stages
from rdtools.model.fused import fuse, fused_text
from rdtools.model.norms import find_stream

_SIZES = {"vocab_size": 64, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
_SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_IDS = torch.from_numpy(np.random.default_rng(1).integers(0, 64, (3, 16)))


def _model(kind, **settings):
    """A random model whose biases and gains are random, too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(_SIZES | settings))).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


def _logits(model):
    with torch.no_grad():
        return model(_IDS).logits.numpy()


@pytest.mark.parametrize(
    ("kind", "settings", "fused"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}, ("hadamard of 24", "haar of 6")),
        ("llama", {"tie_word_embeddings": True, "head_dim": 12}, ("hadamard of 24", "hadamard of 12")),
        ("gemma", {"head_dim": 8}, ("hadamard of 24", "hadamard of 8")),  # its gain is 1 + weight, its embedding is scaled and tied
        ("qwen3", {"hidden_size": 22, "head_dim": 8}, ("haar of 22", "hadamard of 8")),  # with norms of queries and keys
    ],
)
def test_logits_stay_to_the_rounding_of_float32(kind, settings, fused):
    """Within 2e-6 of the spread: 16 roundings of 6e-8 side by side on the way through two blocks, and some room."""
    model = _model(kind, **settings)
    before = _logits(model)
    found = fuse(model, rotation="auto", heads=True, seed=0)
    after = _logits(model)
    assert (found.norms, found.stream, found.heads) == (5, *fused)
    assert np.linalg.norm(after - before) <= 2e-6 * np.linalg.norm(before - before.mean(axis=-1, keepdims=True))
    assert found.change <= 2e-6
    assert found.untied == (kind == "gemma" or settings.get("tie_word_embeddings", False))
    assert model.lm_head.weight is not model.get_input_embeddings().weight
    assert all(norm.neutral == (0.0 if kind == "gemma" else 1.0) for norm in find_stream(model, _IDS).norms)
    assert all((norm.module.weight == norm.neutral).all() for norm in find_stream(model, _IDS).norms)
    with pytest.raises(ModelUnreadable, match="in its weights already"):
        fuse(model, rotation="auto", heads=True, seed=0)


def test_a_stream_of_one_outlier_channel_is_spread():
    """The norm gives all channels a share of what one had before; without a rotation gains alone are folded."""
    model, plain = _model("llama"), _model("llama")
    for one in (model, plain):
        one.model.embed_tokens.weight.data[:, 3] += 20
    fuse(model, rotation="auto", heads=False, seed=0)
    fuse(plain, rotation=None, heads=False, seed=0)
    largest = []
    for one in (plain, model):
        seen = []
        with one.model.layers[0].self_attn.q_proj.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0])):
            _logits(one)
        largest.append(float((seen[0].abs().amax(dim=-1) / seen[0].square().mean(dim=-1).sqrt()).mean()))
    assert largest[0] > 0.9 * np.sqrt(24)  # one channel has nearly all of the power
    assert largest[1] < 2


@pytest.mark.parametrize(
    ("kind", "settings", "error", "message"),
    [
        ("gpt2", {"n_embd": 24, "n_layer": 1, "n_head": 4}, ModelUnreadable, r"transformer\.h\.0\.ln_1: LayerNorm, .* subtracts the mean"),
        ("gemma2", {"head_dim": 8}, ModelUnreadable, "post_attention_layernorm: no matrix multiplies what this normalization gives"),
        ("mixtral", {"num_local_experts": 2}, ModelUnreadable, "experts, whose tokens are picked"),
        ("phi3", {}, UsageError, "0 matrices called v_proj and 2 called o_proj .*without `heads`"),
    ],
)
def test_models_that_cannot_be_folded_are_refused(kind, settings, error, message):
    with pytest.raises(error, match=message):
        fuse(_model(kind, **settings), rotation="auto", heads=True, seed=0)


def test_a_part_that_reads_the_stream_unseen_is_found_out():
    model = _model("llama")
    model.model.layers[1].register_forward_hook(lambda module, args, output: output + 0.1 * output.roll(1, -1))
    with pytest.raises(ModelUnreadable, match="computes something else, its logits are off by"):
        fuse(model, rotation="auto", heads=False, seed=0)


def test_weights_in_a_file_are_rotated_to_the_same_bytes(tmp_path, monkeypatch):
    """Tied, so that the head gets a matrix of its own; every matrix is larger than a page. No file of the weights is left."""
    sizes = {"hidden_size": 64, "intermediate_size": 80, "vocab_size": 96, "tie_word_embeddings": True}
    _model("llama", **sizes).save_pretrained(tmp_path / "model")
    for name in ("memory", "file"):
        rotate_model(tmp_path / "model", tmp_path / name)
        monkeypatch.setattr(stages, "KEPT_BYTES", 0)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("memory", "file")]
    assert files[0] == files[1]
    assert {"config.json", "model.safetensors"} <= files[0].keys()
    monkeypatch.setattr(mapped, "_Mapped", _full)
    with pytest.raises(OutputError, match=r"more\.rotating: weights cannot be written there: No space left on device; free some space"):
        rotate_model(tmp_path / "model", tmp_path / "more")
    assert not (tmp_path / "more.rotating").exists()


def _full(*args, **settings):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_command_writes_what_plain_transformers_loads(tmp_path, capsys):
    model = _model("llama", tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    argv = ["rotate", "--model", str(tmp_path / "model"), "--save", str(tmp_path / "rotated")]
    (tmp_path / "rotated.unfinished" / "containers").mkdir(parents=True)  # of rdtools quantize
    (tmp_path / "rotated.rotating").mkdir()
    assert main(argv) == 2
    assert "rotated.rotating: a rotated model that is not finished; delete it" in capsys.readouterr().err
    (tmp_path / "rotated.rotating").rmdir()
    assert main(argv) == 0
    assert (tmp_path / "rotated.unfinished" / "containers").exists()
    printed = capsys.readouterr().out
    assert "gains of 5 norms; residual stream: hadamard of 24; values of each head: haar of 6; output head untied" in printed
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "rotated", dtype=torch.float32).eval()
    before, after = _logits(model), _logits(loaded)
    assert np.linalg.norm(after - before) <= 2e-6 * np.linalg.norm(before - before.mean(axis=-1, keepdims=True))
    assert (tmp_path / "rotated" / "tokenizer.json").exists()
    assert not (tmp_path / "rotated.rotating").exists()
    assert fused_text(tmp_path / "rotated") == "gains of 5 norms; residual stream: hadamard of 24; values of each head: haar of 6"
    assert fused_text(tmp_path / "model") is None
    assert main([*argv[:-1], str(tmp_path / "rotated" / "config.json" / "in")]) == 2
    assert "config.json is a file; choose another place" in capsys.readouterr().err
    assert main(argv) == 2
    assert "rotated: exists; choose another directory for --save" in capsys.readouterr().err
    assert main([*argv[:-1], str(tmp_path / "twice"), "--model", str(tmp_path / "rotated")]) != 0
    assert "in its weights already" in capsys.readouterr().err
    config = json.loads((tmp_path / "rotated" / "config.json").read_text())
    (tmp_path / "rotated" / "config.json").write_text(json.dumps(config | {"rdtools_fused": {"norms": 5}}))
    with pytest.raises(CorruptFile, match="rdtools_fused is not as rdtools writes it"):
        fused_text(tmp_path / "rotated")
