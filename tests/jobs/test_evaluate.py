"""Whole models beside their originals, on a Llama of two blocks."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from conftest import make_tiny_llama

from rdtools.cli.main import main
from rdtools.coding.reconstruct import effective_layer
from rdtools.errors import BadTokens, UsageError
from rdtools.evaluation import contest
from rdtools.jobs.activations import collect_activations
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.evaluate import CSV, evaluate
from rdtools.measure import measure
from rdtools.methods import make_quantizers
from rdtools.model import stages
from rdtools.model.pretrained import load_model
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.quantizers import WeightActivation
from rdtools.records import Hessian
from rdtools.runs.store import open_run
from rdtools.sweep import run_sweep
from rdtools.sweep.activations import ActivationMemory

METHODS = ["rtn", "rtn-w4a4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_tiny_llama(folder / "model")
    rng = np.random.default_rng(0)
    for name, count in (("calibration", 16), ("held", 6)):
        np.save(folder / f"{name}.npy", rng.integers(0, 64, (count, 24)))
    calibration, held = CalibrationRequest(tokens=folder / "calibration.npy"), EvaluationRequest(tokens=folder / "held.npy")
    run = collect(str(folder / "model"), calibration, evaluation=held, out=folder / "run")
    quantizers = make_quantizers(METHODS, [4])
    collect_activations(run, quantizers, seeds=[0], layers=None, calibration=calibration, evaluation=held)
    return folder


@pytest.fixture(scope="module")
def table(data):
    return evaluate(data / "run", methods=METHODS, rates=[4], evaluation=EvaluationRequest(tokens=data / "held.npy"), window=12)


def _nll(model, windows):
    with torch.no_grad():
        logits = model(torch.from_numpy(windows)).logits.double()
    scored = torch.log_softmax(logits[:, :-1], -1).gather(2, torch.from_numpy(windows[:, 1:, None]))
    return -float(scored.mean())


def _windows(data):
    return np.load(data / "held.npy").reshape(12, 12)


def _effective(run, quantizer):
    for entry in run.layers:
        inputs = ActivationMemory(run, entry.hessian).read(quantizer, seed=0)
        answer = quantizer.quantize(run[entry.name], activations=None if inputs is None else inputs.calibration)
        yield entry.name, effective_layer(answer.weight)


def test_perplexities_are_those_of_plain_transformers(data, table):
    """1e-6 relative: the original, weights replaced by hand, and modules that round their inputs by hand."""
    run = open_run(data / "run")
    assert table["status"].tolist() == ["ok"] * 3
    assert np.exp(_nll(load_model(run.checkpoint()), _windows(data))) == pytest.approx(table["perplexity_original"][0], rel=1e-6)
    for quantizer, row in zip(make_quantizers(METHODS, [4]), table.iloc[1:].to_dict("records"), strict=True):
        model = load_model(run.checkpoint())
        for name, effective in _effective(run, quantizer):
            module = model.get_submodule(name)
            if effective.activation is None:
                module.weight.data = torch.tensor(effective.matrix, dtype=torch.float32)
            else:
                module.forward = lambda x, effective=effective: torch.from_numpy(effective.apply(x.double().numpy())).float()
        assert np.exp(_nll(model, _windows(data))) == pytest.approx(row["perplexity"], rel=1e-6)
        assert row["nll_increase_nats"] == pytest.approx(np.log(row["perplexity"] / row["perplexity_original"]), rel=1e-6)


def _copy(data, folder):
    """The run with its Hessians and moments, without rows."""
    shutil.copytree(data / "run", folder, ignore=shutil.ignore_patterns("evaluation*", ".lock"))
    return folder


def test_a_row_sums_what_the_rows_of_its_layers_say(data, table, tmp_path):
    run = open_run(_copy(data, tmp_path / "run"))
    layers = run_sweep(run, make_quantizers(METHODS, [4])).table
    for method, row in table.set_index("method").iloc[1:].iterrows():
        own = layers[layers["method"] == method]
        weights = own["rows"] * own["columns"]
        assert (row["layers"], row["weights"]) == (14, weights.sum())
        assert row["total_bpw"] == pytest.approx(np.average(own["total_bpw"], weights=weights), rel=1e-12)
        assert row["summed_distortion"] == pytest.approx((weights * own["distortion"]).sum(), rel=1e-12)
        assert row["summed_heldout_distortion"] == pytest.approx(own["heldout_distortion"].sum(), rel=1e-12)
    assert table["activation_bits"].tolist()[1:] == [pytest.approx(np.nan, nan_ok=True), 4]
    assert "KV cache and attention products unquantized" in table["activation_scope"].iloc[2]


def test_noise_is_below_what_four_bits_do(table):
    noise, weights, both = table["kl_nats"]
    assert 0 < noise < weights / 10 < both
    assert table["kl_p99_nats"].le(table["kl_cvar1_nats"]).all()
    assert (table[["clusters", "windows", "scored_tokens"]] == [6, 12, 132]).all(axis=None)


def test_one_block_at_a_time_gives_the_same(data, table, tmp_path, monkeypatch):
    run = _copy(data, tmp_path / "run")
    monkeypatch.setattr(stages, "KEPT_BYTES", 0)
    monkeypatch.setattr(contest, "BATCH_TOKENS", 24)
    found = evaluate(run, methods=METHODS, rates=[4], evaluation=EvaluationRequest(tokens=data / "held.npy"), window=12)
    for column in ("perplexity", "kl_nats", "acceptance"):
        np.testing.assert_allclose(found[column], table[column], rtol=1e-5)


def test_finished_rows_are_used_again_and_one_failure_is_one_rows(data, table, monkeypatch):
    def nothing(*args, **settings):
        raise AssertionError("evaluated again")

    asked = {"rates": [4], "evaluation": EvaluationRequest(tokens=data / "held.npy"), "window": 12}
    with monkeypatch.context() as patch:
        patch.setattr(contest, "contest", nothing)
        again = evaluate(data / "run", methods=METHODS, **asked)
    assert again.equals(table)
    said: list[str] = []
    more = evaluate(data / "run", methods=["rtn", "rtn-w4a8"], say=said.append, **asked)
    assert more["status"].tolist() == ["ok", "ok", "failed"]
    assert more["message"].iloc[2].startswith("model.layers.0.self_attn.q_proj: ")
    assert "rdtools report" in more["message"].iloc[2]  # which makes the moments that are missing
    lines = (data / "run" / CSV).read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["bf16-noise", "rtn", "rtn-w4a4", "rtn-w4a8"]


def test_stored_predictions_take_the_place_of_the_original(data, table, tmp_path, monkeypatch):
    """All 64 tokens told apart give the same scores; fewer a lower KL, in rows of another protocol; a file that is there is read."""
    run, said = _copy(data, tmp_path / "run"), []
    asked = {"rates": [4], "evaluation": EvaluationRequest(tokens=data / "held.npy"), "window": 12, "noise": False}
    whole = evaluate(run, methods=METHODS, reference=tmp_path / "64.safetensors", **asked)
    for column in ("perplexity_original", "perplexity", "kl_nats", "kl_high", "kl_cvar1_nats", "acceptance", "top1_agreement"):
        np.testing.assert_allclose(whole[column], table[column][1:], rtol=1e-12, atol=1e-15)
    few = evaluate(run, methods=["rtn"], reference=tmp_path / "4.safetensors", top=4, say=said.append, **asked)
    assert few["protocol"].tolist() == ["windows of 12, top 4 of the original"]
    assert few["kl_nats"][0] < whole["kl_nats"][0]
    assert few["perplexity"][0] == whole["perplexity"][0]
    assert "132 predictions of the original by the 4 most probable tokens" in said[-1]
    monkeypatch.setattr(contest, "top_predictions", None)
    more = evaluate(run, methods=METHODS, reference=tmp_path / "4.safetensors", **asked)
    assert more["kl_nats"][0] == few["kl_nats"][0]
    assert evaluate(run, methods=["rtn"], reference=tmp_path / "4.safetensors", fresh=True, **asked)["kl_nats"][0] == few["kl_nats"][0]
    evaluate(run, methods=["rtn"], reference=tmp_path / "other.safetensors", top=4, say=said.append, **asked)
    assert "other.safetensors: not written: all rows are there" in said[-1]
    with pytest.raises(UsageError, match=r"4.safetensors: predictions of another evaluation, whose tokens differs"):
        evaluate(run, methods=METHODS, reference=tmp_path / "4.safetensors", **asked | {"windows": 3})
    with pytest.raises(UsageError, match="`top`: of a file of predictions, and none is given as `reference`"):
        evaluate(run, methods=METHODS, top=4, **asked)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"window": 25}, BadTokens, "held.npy: the longest sequence has 24 tokens, a window 25"),
        ({"window": 33}, UsageError, "`window` 33: the model takes 32 tokens"),
        ({"evaluation": None}, UsageError, "no held-out data; give a file as `evaluation_text` or `evaluation_tokens`"),
        ({"methods": ["nonsense"]}, UsageError, "unknown method 'nonsense'"),
        ({"rates": [2.5]}, UsageError, "2.5 bits per weight cannot be reached"),
        ({"methods": None}, UsageError, "no report has quantized anything in this run"),
    ],
)
def test_what_cannot_be_evaluated_is_said(data, settings, error, message):
    asked = {"methods": ["rtn"], "rates": [4], "evaluation": EvaluationRequest(tokens=data / "held.npy"), "window": 12}
    with pytest.raises(error, match=message):
        evaluate(data / "run", **(asked | settings))


def test_calibration_tokens_are_not_held_out(data):
    with pytest.raises(UsageError, match=r"calibration.npy: the tokens that the Hessians were captured with"):
        evaluate(data / "run", methods=["rtn"], rates=[4], evaluation=EvaluationRequest(tokens=data / "calibration.npy"))


def test_the_command_prints_rows_and_what_they_are_scored_on(data, table, capsys):
    argv = ["eval", str(data / "run"), "--method", "rtn,rtn-w4a4", "--rate", "4", "--evaluation-tokens", str(data / "held.npy")]
    assert main([*argv, "--window", "12"]) == 0
    printed = capsys.readouterr().out
    assert "windows of 12, each token but the first of one scored, 132 tokens of held.npy; perplexity of the original" in printed
    assert f"{table['kl_nats'][1]:.3g}" in printed
    assert max(len(line) for line in printed.splitlines() if line.startswith(("method", "rtn", "bf16"))) <= 80
    assert "Methods with quantized activations: inputs of linear layers; KV cache and attention products unquantized" in printed
    assert main(["eval", str(data / "run"), "--rate", "4"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("give both --methods and --rates")
    assert main([*argv, "--window", "33"]) == 2
    assert "--window 33: the model takes 32 tokens" in capsys.readouterr().err


SEQUENTIAL = ["lrc-w4a4-r0.2", "qllm-w4a4(activation_clip=none)"]


def _inputs(model, ids, name):
    seen = []
    with torch.no_grad(), model.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0])):
        model(torch.from_numpy(ids))
    return torch.cat(seen).reshape(-1, seen[0].shape[-1]).double().numpy()


def _by_hand(run, ids, name, *, drift):
    """A model whose layers are quantized one after the other, from plain hooks on whole forward passes; a layer's D beside its inputs.

    With drift the weights are T = W (E[x x̂ᵀ] + δI) (E[x̂ x̂ᵀ] + δI)⁻¹.
    """
    quantizer, distortions = make_quantizers([name], [4])[0], []
    model, original = (load_model(run.checkpoint()) for _ in range(2))
    for block in range(2):
        for group in ("q_proj k_proj v_proj", "o_proj", "gate_proj up_proj", "down_proj"):
            part = "mlp" if group.split()[0] in ("gate_proj", "down_proj") else "self_attn"
            names = [f"model.layers.{block}.{part}.{one}" for one in group.split()]
            rows = _inputs(model, ids, names[0])
            hessian = Hessian(rows.T @ rows / len(rows), len(rows), name=names[0])
            moved = np.eye(rows.shape[1])
            if drift:
                ridge = 1e-4 * np.mean(np.diagonal(hessian.matrix)) * moved
                cross = _inputs(original, ids, names[0]).T @ rows / len(rows)
                moved = np.linalg.solve(hessian.matrix + ridge, (cross + ridge).T).T
            layers = [Layer(run[one].key, run[one].weight @ moved, hessian) for one in names]
            chain = quantizer.choose_map(layers, rows, seed=0)
            sums = ActivationAccumulator(chain, quantizer.choose_grid(layers, rows, chain))
            sums.add(rows)
            moments = sums.finish(hessian.matrix, name=names[0])
            for layer in layers:
                answer = quantizer.quantize(layer, activations=moments)
                effective = effective_layer(answer.weight)
                distortions.append(measure(layer, answer, moments=moments.moments).distortion * layer.weight.size)
                module = model.get_submodule(layer.key.name)
                module.forward = lambda x, effective=effective: torch.from_numpy(effective.apply(x.double().numpy())).float()
    return model, sum(distortions)


def test_layers_are_quantized_from_the_inputs_of_the_model_quantized_so_far(data, tmp_path, monkeypatch):
    """Activations and low-rank terms included; 1e-4 relative, as a float32 activation rounded to the other side moves those behind it."""
    run = open_run(_copy(data, tmp_path / "run"))
    asked = {"rates": [4], "evaluation": EvaluationRequest(tokens=data / "held.npy"), "window": 12, "noise": False}
    ids = np.load(data / "calibration.npy")
    monkeypatch.setattr(stages, "KEPT_BYTES", 0)
    table = evaluate(run.path, methods=SEQUENTIAL, hessians="sequential", calibration=ids, **asked)
    drifted = evaluate(run.path, methods=SEQUENTIAL[:1], hessians="sequential", calibration=ids, corrections="drift", **asked)
    assert table["hessians"].tolist() == ["sequential"] * 2
    assert [*table["corrections"], *drifted["corrections"]] == ["none", "none", "drift"]
    for row in (*table.to_dict("records"), *drifted.to_dict("records")):
        model, summed = _by_hand(run, ids, row["method"], drift=row["corrections"] == "drift")
        assert row["status"] == "ok", row["message"]
        assert row["summed_distortion"] == pytest.approx(summed, rel=1e-4)
        assert np.exp(_nll(model, _windows(data))) == pytest.approx(row["perplexity"], rel=1e-4)


def test_a_layer_that_cannot_be_quantized_in_its_turn_is_its_rows_alone(data, tmp_path, monkeypatch):
    run, ids = open_run(_copy(data, tmp_path / "run")), np.load(data / "calibration.npy")
    asked = {"rates": [4], "evaluation": EvaluationRequest(tokens=data / "held.npy"), "window": 12, "noise": False}

    def nowhere(*args, **settings):
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(WeightActivation, "choose_map", nowhere)
        table = evaluate(run.path, methods=["rtn-w4a4", "rtn"], hessians="sequential", calibration=ids, **asked)
    assert table["status"].tolist() == ["failed", "ok"]
    assert table["message"].iloc[0] == "model.layers.0.self_attn.q_proj: no room"
    assert not (run.path / "evaluation.unfinished").exists()
    with pytest.raises(UsageError, match=r"tokens of .* are not those of the run's calibration, \d+ × \d+ of calibration\.npy"):
        evaluate(run.path, methods=["rtn"], hessians="sequential", calibration=ids[:4], **asked)
    with pytest.raises(UsageError, match="`calibration`: only for `hessians` sequential"):
        evaluate(run.path, methods=["rtn"], calibration=ids, **asked)
    with pytest.raises(UsageError, match="`corrections` drift with `hessians` original: it compares both models; choose sequential"):
        evaluate(run.path, methods=["rtn"], corrections="drift", **asked)
    with pytest.raises(UsageError, match="`corrections` residual: rows have drift or none; for others save the model first"):
        evaluate(run.path, methods=["rtn"], hessians="sequential", calibration=ids, corrections=["drift", "residual"], **asked)
