"""Whole models with a bias per row beside every quantized layer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import make_tiny_llama
from transformers import AutoModelForCausalLM, GPT2Config, Qwen2Config

from rdtools.errors import UsageError
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.evaluate import evaluate
from rdtools.jobs.measure import measure_file
from rdtools.jobs.quantize import quantize_model
from rdtools.runs.saved import decoded_bias
from rdtools.runs.store import open_run

SMALL = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0}
CONFIGURATIONS = {
    "qwen2": Qwen2Config(**SMALL, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1),
    "gpt2": GPT2Config(**SMALL, n_embd=16, n_layer=1, n_head=2, n_positions=32, n_inner=24),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_tiny_llama(folder / "llama", blocks=1)
    for name, config in CONFIGURATIONS.items():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = AutoModelForCausalLM.from_config(config)
            for key, value in model.named_parameters():
                if key.endswith("bias"):
                    torch.nn.init.normal_(value)
            model.save_pretrained(folder / name)
    rng = np.random.default_rng(0)
    for name, count in (("calibration", 12), ("held", 4)):
        np.save(folder / f"{name}.npy", rng.integers(0, 64, (count, 24)))
    return folder


def quantized(data, name, save, **settings):
    calibration = CalibrationRequest(tokens=data / "calibration.npy")
    return quantize_model(data / name, **({"method": "gptq+bias", "bits": 3} | settings), save=save, calibration=calibration)


def _loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


@pytest.mark.parametrize(("name", "hessians"), [("llama", "sequential"), ("gpt2", "original")])
def test_transformers_runs_what_was_measured(data, tmp_path, name, hessians):
    """y of each loaded module less the original's on the same inputs has the distortion of its row; perplexity is that of `evaluate`."""
    save = tmp_path / "saved"
    saved = quantized(data, name, save, hessians=hessians)
    model, original = _loaded(save), _loaded(data / name)
    assert {"attention_bias", "mlp_bias"} <= set(config := json.loads((save / "config.json").read_text())) or name == "gpt2", config
    source = model if hessians == "sequential" else original  # whose inputs the rows are of
    ids = torch.from_numpy(np.load(data / "calibration.npy"))
    for entry in saved.layers:
        module, own = model.get_submodule(entry.layer.name), original.get_submodule(entry.layer.name)
        seen = []
        hook = source.get_submodule(entry.layer.name).register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        with torch.no_grad():
            source(ids)
            hook.remove()
            difference = (own.double()(seen[0].double()) - module.double()(seen[0].double())).square().sum(-1).mean()
        m, n = entry.layer.shape
        # inputs are float32; D is a small difference of large numbers
        assert entry.rounded_distortion == pytest.approx(float(difference) / (m * n), rel=1e-4)
        bias = torch.tensor(decoded_bias(save, entry)).float()
        if own.bias is None:
            assert torch.equal(module.bias.float(), bias)
        else:
            torch.testing.assert_close(module.bias.float(), own.bias.float() + bias)
        own.float(), module.float()
    row = evaluate(save, evaluation=EvaluationRequest(tokens=data / "held.npy"), window=12, noise=False).iloc[0]
    ids = torch.from_numpy(np.load(data / "held.npy").reshape(-1, 12))
    with torch.no_grad():
        logits = _loaded(save)(ids).logits.double()
    nll = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 64), ids[:, 1:].reshape(-1))
    assert row["perplexity"] == pytest.approx(float(nll.exp()), rel=1e-6)
    assert row["method"] == "gptq+bias"


def test_a_layer_without_a_place_for_a_bias_is_named_before_any_work(data, tmp_path):
    """Qwen2 has biases of q, k and v alone."""
    with pytest.raises(UsageError, match=r"o_proj: a bias beside it has no place in a checkpoint of Qwen2ForCausalLM; choose a method wi"):
        quantized(data, "qwen2", tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(("name", "biased"), [("llama", "o_proj"), ("qwen2", "k_proj")])
def test_a_plan_may_have_biases_on_some_layers_alone(data, tmp_path, name, biased):
    """Where the configuration gives others one with it, that is of zeros; what has its own keeps it. The checkpoint is whole."""
    run = collect(str(data / name), CalibrationRequest(tokens=data / "calibration.npy"), out=tmp_path / "run")
    layers = [{"layer": layer, "method": "gptq" + "+bias" * layer.endswith(biased), "rate_bits": 3.0} for layer in run]
    plan = {"format": "rdtools-allocation", "version": 1, "model": run.manifest.model.name, "bits": 3.0, "layers": layers}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    saved = quantized(data, name, tmp_path / "saved", method=None, bits=None, allocation=tmp_path / "plan.json", hessians="original")
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32, output_loading_info=True)
    assert {*info["missing_keys"], *info["unexpected_keys"]} == set()
    original = _loaded(data / name)
    for entry in saved.layers:
        after, before = (some.get_submodule(entry.layer.name).bias for some in (model, original))
        own = decoded_bias(tmp_path / "saved", entry)
        assert (own is not None) == entry.layer.name.endswith(biased)
        if after is None:
            assert (own, before) == (None, None)
        else:
            parts = [torch.zeros_like(after), *([] if before is None else [before]), *([] if own is None else [torch.tensor(own).float()])]
            torch.testing.assert_close(after, sum(parts))


def test_corrections_are_refused(data, tmp_path):
    with pytest.raises(UsageError, match="gptq\\+bias: a bias with `corrections` drift, which knows no mean of its target"):
        quantized(data, "llama", tmp_path / "saved", corrections="drift")


def test_a_run_is_evaluated_with_its_biases(data, tmp_path):
    """KL is that of a hand-made model whose layers are y = Ŵ x + b."""
    run = collect(str(data / "gpt2"), CalibrationRequest(tokens=data / "calibration.npy"), out=tmp_path / "run")
    asked = {"evaluation": EvaluationRequest(tokens=data / "held.npy"), "window": 12, "noise": False}
    row = evaluate(run.path, methods="rtn+bias", rates=3, **asked).iloc[0]
    from rdtools.methods import parse_method

    model, opened = _loaded(data / "gpt2"), open_run(run.path)
    ids = torch.from_numpy(np.load(data / "held.npy").reshape(-1, 12))
    with torch.no_grad():
        before = model(ids).logits.double().log_softmax(-1)[:, :-1]
        for name, layer in opened.items():
            weight = parse_method("rtn+bias", 3).quantize(layer).weight
            module = model.get_submodule(name)
            module.weight.copy_(torch.from_numpy(weight.dequantize().T))
            module.bias.add_(torch.tensor(weight.parts.bias.values))
        after = model(ids).logits.double().log_softmax(-1)[:, :-1]
    assert row["kl_nats"] == pytest.approx(float((before.exp() * (before - after)).sum(-1).mean()), rel=1e-5)


def test_a_dense_file_of_others_is_measured_with_its_biases(data, tmp_path):
    """A saved model as a foreign one: D and bits of each row as those of the saved layers, after the rounding to bfloat16."""
    calibration = CalibrationRequest(tokens=data / "calibration.npy")
    for name in ("llama", "gpt2"):
        run = collect(str(data / name), calibration, out=tmp_path / f"{name} run")
        saved = quantized(data, name, tmp_path / name, hessians="original")
        table = measure_file(tmp_path / name, run=run.path).table.set_index("layer")
        for entry in saved.layers:
            row = table.loc[entry.layer.name]
            assert row["distortion"] == pytest.approx(entry.rounded_distortion, rel=1e-9)
            assert row["total_bpw"] == pytest.approx(16 + (name == "llama") * 16 / entry.layer.shape[1])
