from __future__ import annotations

import numpy as np
import pytest
import torch

from rdtools.errors import BadActivations, BadTokens, ModelUnreadable, NotEnoughMemory
from rdtools.model import capture as capture_module
from rdtools.model.capture import capture
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.inputs import check_weights, find_layers
from rdtools.model.pretrained import load_model
from rdtools.model.tokens import Tokens, load_tokens
from rdtools.moments.accumulate import MomentAccumulator

_SIZES = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2}
#: Configurations of small models by model type.
SMALL = {
    "gpt2": {"vocab_size": 32, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2},
    "gpt_neo": _SIZES
    | {
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global"], 2]],
        "max_position_embeddings": 16,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "rwkv": _SIZES | {"context_length": 16, "bos_token_id": 0, "eos_token_id": 0},
    "mixtral": _SIZES | {"intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 3},
}


def _tokens(ids, mask=None):
    ids = np.asarray(ids, dtype=np.int64)
    return Tokens(ids, np.ones(ids.shape, bool) if mask is None else np.asarray(mask, bool), "test")


def _by_name(model, checkpoint, tokens):
    return {item.name: hessian for item, hessian in capture(model, find_layers(model, checkpoint).inputs, tokens)}


@pytest.fixture
def loaded(tiny_llama):
    checkpoint = open_checkpoint(tiny_llama)
    return load_model(checkpoint), checkpoint


def test_layers_with_one_input_share_one_hessian(loaded):
    groups = [[layer.name.rpartition(".")[2] for layer in item.layers] for item in find_layers(*loaded).inputs]
    block = [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]
    assert groups == 2 * block


def test_hessian_is_the_uncentred_mean_over_tokens(loaded, tiny_tokens):
    """Against activations recorded by hand, in float64, in one go."""
    model, checkpoint = loaded
    tokens = load_tokens(tiny_tokens)
    seen = []
    name = "model.layers.1.mlp.down_proj"
    handle = model.get_submodule(name).register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    with torch.no_grad():
        model(torch.from_numpy(tokens.ids))
    handle.remove()
    x = seen[0].double().reshape(-1, 24).numpy()
    hessian = _by_name(model, checkpoint, tokens)[name]
    assert hessian.n_tokens == tokens.ids.size
    # float32 activations of another batch split differ by a few float32 roundings
    np.testing.assert_allclose(hessian.matrix, x.T @ x / len(x), rtol=0, atol=64 * 2.0**-24 * np.abs(x).max() ** 2)
    assert (hessian.matrix == hessian.matrix.T).all()


@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "rwkv", "mixtral"])
def test_padded_sequences_give_what_each_gives_alone(tmp_path, name):
    """Left, right and no padding, absolute positions, a recurrence that reads padding, experts that padding could reach."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(name, **SMALL[name])
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "m")
    model, checkpoint = load_model(open_checkpoint(tmp_path / "m")), open_checkpoint(tmp_path / "m")
    ids = np.random.default_rng(0).integers(1, 32, (5, 12))
    lengths, left = np.array([12, 7, 3, 7, 0]), np.array([False, True, False, False, True])
    places = np.arange(12)
    mask = np.where(left[:, None], places >= 12 - lengths[:, None], places < lengths[:, None])
    padded = _by_name(model, checkpoint, _tokens(np.where(mask, ids, -100), mask))
    alone = [_by_name(model, checkpoint, _tokens(row[keep][None])) for row, keep in zip(ids, mask, strict=True) if keep.any()]
    assert len(padded) >= 2
    for layer, hessian in padded.items():
        counts = [one[layer].n_tokens for one in alone]
        assert hessian.n_tokens == sum(counts)
        mean = sum(one[layer].matrix * count for one, count in zip(alone, counts, strict=True)) / max(sum(counts), 1)
        np.testing.assert_allclose(hessian.matrix, mean, rtol=0, atol=64 * 2.0**-24 * np.abs(mean).max())


def test_a_padding_id_of_the_configuration_is_a_token_in_packed_ids(tmp_path, tiny_llama):
    """Separators that some end of text shares with the padding are read by the model and counted, however the ends are listed."""
    import json

    from rdtools.jobs.calibration import CalibrationRequest
    from rdtools.jobs.collect import collect

    ids = np.random.default_rng(0).integers(3, 64, (6, 16))
    ids[:, [5, 9]] = 2
    np.save(tmp_path / "ids.npy", ids)
    config = json.loads((tiny_llama / "config.json").read_text())
    for number, end in enumerate([2, [2, 3], None]):
        (tiny_llama / "config.json").write_text(json.dumps(config | {"eos_token_id": end, "pad_token_id": 2}))
        said = []
        request = CalibrationRequest(tokens=tmp_path / "ids.npy")
        run = collect(str(tiny_llama), request, out=tmp_path / f"run{number}", say=said.append)
        assert (run.hessians[0].n_tokens, run.manifest.calibration.padding) == (96, 0)
        assert not any("padding" in sentence for sentence in said)


def test_what_is_masked_is_counted_and_said(tmp_path, tiny_llama):
    from safetensors.numpy import save_file

    from rdtools.jobs.calibration import CalibrationRequest
    from rdtools.jobs.collect import collect

    ids = np.random.default_rng(0).integers(3, 64, (6, 16))
    save_file({"input_ids": ids, "attention_mask": (np.arange(16) >= np.arange(6)[:, None]).astype(int)}, tmp_path / "ids.safetensors")
    request = CalibrationRequest(tokens=tmp_path / "ids.safetensors")
    for _ in range(2):  # the second time the run is there
        said = []
        run = collect(str(tiny_llama), request, out=tmp_path / "run", say=said.append)
        assert "ids.safetensors: 15 of 96 token ids are padding (attention_mask of the file) and left out" in said
        assert (run.hessians[0].n_tokens, run.manifest.calibration.padding_from) == (81, "attention_mask of the file")


def test_passes_over_groups_give_the_same(loaded, tiny_tokens, monkeypatch):
    tokens = load_tokens(tiny_tokens)
    whole = _by_name(*loaded, tokens)
    monkeypatch.setattr(capture_module, "ACCUMULATOR_BYTES", 1)
    progress = []
    inputs = find_layers(*loaded).inputs
    parts = {item.name: h for item, h in capture(loaded[0], inputs, tokens, progress=lambda d, t: progress.append((d, t)))}
    assert all((parts[name].matrix == whole[name].matrix).all() for name in whole)
    assert progress[-1] == (8 * tokens.ids.size, 8 * tokens.ids.size)


def test_rows_that_are_not_finite_are_dropped_and_counted():
    sums = MomentAccumulator(2)
    sums.add(np.array([[1.0, 2.0], [np.nan, 1.0], [3.0, np.inf], [0.0, 1.0]], dtype=np.float32))
    assert (sums.kept, sums.dropped) == (2, 2)
    np.testing.assert_array_equal(sums.second_moment, [[0.5, 1.0], [1.0, 2.5]])
    np.testing.assert_array_equal(sums.mean, [0.5, 1.5])


def test_too_many_bad_rows_abort_and_name_the_layer(loaded, tiny_tokens):
    model, checkpoint = loaded
    with torch.no_grad():
        model.model.layers[1].input_layernorm.weight[3] = float("nan")
    with pytest.raises(BadActivations, match=r"model\.layers\.1\.self_attn\.q_proj: 192 of 192 tokens"):
        _by_name(model, checkpoint, load_tokens(tiny_tokens))


@pytest.mark.parametrize(
    ("ids", "message"),
    [([[0, 64]], "outside the model's vocabulary of 64"), ([[]], "no tokens"), ([[1] * 33], "the model takes 32; cut the ids")],
)
def test_bad_tokens_are_refused(loaded, ids, message):
    with pytest.raises(BadTokens, match=message):
        _by_name(*loaded, _tokens(ids))


def test_weights_that_the_model_does_not_run_with_are_noticed(loaded):
    model, checkpoint = loaded
    shared = find_layers(model, checkpoint).inputs[0]
    check_weights(model, checkpoint, shared)
    with torch.no_grad():
        model.get_submodule(shared.layers[1].name).weight[0, 0] += 1
    with pytest.raises(ModelUnreadable, match=r"k_proj\.weight differs from the weight"):
        check_weights(model, checkpoint, shared)


def test_conv1d_layers_are_read_transposed(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=16, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt2")
    checkpoint = open_checkpoint(tmp_path / "gpt2")
    layers = [layer for item in find_layers(load_model(checkpoint), checkpoint).inputs for layer in item.layers]
    attention = next(layer for layer in layers if layer.name.endswith("c_attn"))
    assert (attention.shape, attention.transposed) == ((24, 8), True)
    assert checkpoint.read(attention.tensor).shape == (8, 24)


def test_capture_changes_no_global_setting(loaded, tiny_tokens):
    import transformers

    def state():
        logging = transformers.utils.logging
        return (
            torch.get_default_dtype(),
            torch.random.get_rng_state().sum(),
            logging.get_verbosity(),
            logging.is_progress_bar_enabled(),
        )

    before = state()
    _by_name(*loaded, load_tokens(tiny_tokens))
    assert state() == before


def test_missing_tensors_are_not_filled_with_random_numbers(tiny_llama):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_llama / "model.safetensors")
    for name in ("model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"):
        save_file({k: v for k, v in weights.items() if k != name}, tiny_llama / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelUnreadable, match=f"1 tensors are missing, the first {name}"):
            load_model(open_checkpoint(tiny_llama))


def test_code_that_comes_with_a_model_is_run_only_when_asked(tiny_llama, tmp_path):
    import json

    from rdtools.model.opened import open_model
    from rdtools.model.pretrained import load_tokenizer, model_limits

    config = json.loads((tiny_llama / "config.json").read_text())
    own = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "configuration_own.OwnModel"}
    config |= {"model_type": "own", "auto_map": own}
    (tiny_llama / "config.json").write_text(json.dumps(config))
    (tiny_llama / "configuration_own.py").write_text(
        f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\nclass OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    checkpoint = open_checkpoint(tiny_llama)
    for read in (model_limits, load_tokenizer, load_model, open_model):
        with pytest.raises(ModelUnreadable):
            read(checkpoint)
    assert not (tmp_path / "ran").exists()
    assert model_limits(checkpoint, trust_remote_code=True).vocabulary == 64
    assert (tmp_path / "ran").exists()
    opened = open_model(checkpoint, trust_remote_code=True)
    assert opened.stages is None
    assert opened.runner == "whole: its class is not one of transformers' own"
    assert sum(len(item.layers) for item in opened.layers.inputs) == 14
    # its model's code alone, beside a configuration that transformers knows
    own = {"AutoModelForCausalLM": "modeling_own.OwnLlama"}
    (tiny_llama / "config.json").write_text(json.dumps(config | {"model_type": "llama", "auto_map": own}))
    (tiny_llama / "modeling_own.py").write_text("from transformers import LlamaForCausalLM\nclass OwnLlama(LlamaForCausalLM):\n    pass\n")
    checkpoint = open_checkpoint(tiny_llama)
    assert type(open_model(checkpoint, trust_remote_code=True).model).__name__ == "OwnLlama"
    assert type(open_model(checkpoint).model).__name__ == "LlamaForCausalLM"


@pytest.mark.parametrize("fits", [1, 5])
def test_a_batch_that_is_too_much_for_the_device_is_halved_and_counted_once(fits, loaded, tiny_tokens, monkeypatch):
    """The device takes so many sequences, and fails in the middle of a pass, when some layers have seen the batch."""
    model, checkpoint = loaded
    tokens = load_tokens(tiny_tokens)
    inputs = find_layers(model, checkpoint).inputs
    expected = {item.name: hessian for item, hessian in capture(model, inputs, tokens)}
    real, batches = model.model.layers[1].mlp.forward, []

    def forward(x):
        batches.append(len(x))
        if len(x) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(x)

    monkeypatch.setattr(model.model.layers[1].mlp, "forward", forward)
    found = {item.name: hessian for item, hessian in capture(model, inputs, tokens)}
    assert max(batches) == 12
    assert batches[-1] <= fits
    for name, hessian in found.items():
        assert hessian.n_tokens == expected[name].n_tokens
        # the same activations but for float32 roundings of products of another shape
        np.testing.assert_allclose(hessian.matrix, expected[name].matrix, rtol=0, atol=64 * 2.0**-24 * np.abs(expected[name].matrix).max())


def test_a_device_too_small_for_one_sequence_is_an_error_and_no_other_device_is_taken(loaded, tiny_tokens, monkeypatch):
    model, checkpoint = loaded
    inputs = find_layers(model, checkpoint).inputs

    def forward(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.model.layers[1].mlp, "forward", forward)
    with pytest.raises(NotEnoughMemory, match=r"tokens\.npy: device cpu has too little memory for one sequence of 16 tokens; give shorter"):
        list(capture(model, inputs, load_tokens(tiny_tokens)))
