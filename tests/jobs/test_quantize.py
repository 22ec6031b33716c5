"""A Llama of two blocks quantized as a whole, and saved."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import make_tiny_llama
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from rdtools.cli.main import main
from rdtools.coding import decode, reconstruct
from rdtools.errors import CorruptFile, RateUnreachable, UsageError, WrongType
from rdtools.jobs import quantize as module
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.evaluate import evaluate
from rdtools.jobs.quantize import quantize_model
from rdtools.model.capture import capture
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.opened import open_model
from rdtools.model.tokens import load_tokens
from rdtools.runs.saved import decoded_weight, read_saved

DOWN = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_tiny_llama(folder / "model", shards=True)
    rng = np.random.default_rng(0)
    for name, count in (("calibration", 16), ("held", 6)):
        np.save(folder / f"{name}.npy", rng.integers(0, 64, (count, 24)))
    return folder


def quantized(data, save, **settings):
    asked = {"model": str(data / "model"), "method": "gptq", "bits": 3, "calibration": CalibrationRequest(tokens=data / "calibration.npy")}
    return quantize_model(**(asked | settings), save=save)


@pytest.fixture(scope="module")
def sequential(data):
    return quantized(data, data / "sequential")


@pytest.fixture(scope="module")
def original(data):
    return quantized(data, str(data / "original"), hessians="original")  # a path may be a string


def _loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


def test_containers_decode_to_the_checkpoint_and_are_its_rate(data, sequential):
    """Ŵ of each file, rounded to bfloat16 by torch, is the tensor that transformers loads, to the bit; bits are those of the files."""
    model, size = _loaded(data / "sequential"), 0
    for entry in sequential.layers:
        file = data / "sequential" / entry.file
        weight = torch.tensor(reconstruct(decode(file.read_bytes()))).to(torch.bfloat16).float()
        assert torch.equal(model.get_parameter(f"{entry.layer.name}.weight"), weight)
        size += 8 * file.stat().st_size
    assert len(sequential.layers) == 14
    assert (
        sequential.total_bpw
        == size / 3840
        == pytest.approx(np.mean([e.total_bpw * np.prod(e.layer.shape) for e in sequential.layers]) * 14 / 3840)
    )


def test_layers_of_one_input_share_a_file(data):
    """The same weights as in files of their own, in fewer bytes."""
    apart, together = (quantized(data, data / name, method=name, hessians="original") for name in ("watersic", "watersic+one-file"))
    files = [entry.file for entry in together.layers]
    assert len(set(files)) == 8  # q, k, v; o; gate, up; down; of two blocks
    assert [entry.place for entry in together.layers][:3] == [0, 1, 2]
    for one, other in zip(apart.layers, together.layers, strict=True):
        np.testing.assert_array_equal(decoded_weight(data / "watersic", one), decoded_weight(data / "watersic+one-file", other))
    size = sum((data / "watersic+one-file" / file).stat().st_size for file in set(files))
    assert together.total_bpw == 8 * size / 3840 < apart.total_bpw
    shares = [entry.total_bpw * np.prod(entry.layer.shape) for entry in together.layers]
    assert sum(shares) == pytest.approx(8 * size)


def test_everything_else_is_the_originals(data, sequential):
    names = {entry.layer.tensor for entry in sequential.layers}
    before, after = (open_checkpoint(data / name) for name in ("model", "sequential"))
    assert before.shard_of == after.shard_of
    for name, file in before.shard_of.items():
        with safe_open(data / "model" / file, "pt") as old, safe_open(data / "sequential" / file, "pt") as new:
            if name in names:
                assert new.get_tensor(name).dtype == torch.bfloat16
            else:
                assert torch.equal(old.get_tensor(name), new.get_tensor(name))
    assert (data / "model" / "config.json").read_bytes() == (data / "sequential" / "config.json").read_bytes()
    assert {path.name for path in data.iterdir()} >= {"sequential"}
    assert not list(data.glob("*.unfinished"))
    assert not {"job.json", ".lock"} & {path.name for path in (data / "sequential").iterdir()}


def test_evaluated_perplexity_is_that_of_plain_transformers(data, sequential, capsys):
    """1e-6 relative, and the row has the saved model's rate and distortion; the command says how tasks are run on it."""
    row = evaluate(data / "sequential", evaluation=EvaluationRequest(tokens=data / "held.npy"), window=12, noise=False).iloc[0]
    ids = torch.from_numpy(np.load(data / "held.npy").reshape(12, 12))
    with torch.no_grad():
        logits = _loaded(data / "sequential")(ids).logits.double()
    nll = -torch.log_softmax(logits[:, :-1], -1).gather(2, ids[:, 1:, None]).mean()
    assert float(torch.exp(nll)) == pytest.approx(row["perplexity"], rel=1e-6)
    assert (row["method"], row["target_bpw"], row["hessians"]) == ("gptq", 3, "sequential")
    assert row["total_bpw"] == sequential.total_bpw
    argv = ["eval", str(data / "sequential"), "--evaluation-tokens", str(data / "held.npy"), "--window", "12", "--no-noise"]
    assert main(argv) == 0
    line = f"Tasks: lm_eval --model hf --model_args pretrained={data / 'sequential'},dtype=float32,tokenizer=TOKENIZER --tasks TASKS"
    assert line in capsys.readouterr().out
    with pytest.raises(UsageError, match="a saved model, which has one method and rate, or a plan"):
        evaluate(data / "sequential", methods=["rtn"])


def _moment(folder, data, name):
    """Second moment of an input in a model on disk."""
    opened = open_model(open_checkpoint(folder))
    inputs = [item for item in opened.layers.inputs if item.name == name]
    ((_, hessian),) = capture(opened.model, inputs, load_tokens(data / "calibration.npy"), stages=opened.stages)
    return hessian.matrix


@pytest.mark.parametrize("kind", ["sequential", "original"])
def test_hessians_are_of_the_model_that_they_are_said_to_be_of(data, sequential, original, kind):
    """D of the last layer: under the moment of the saved model, all of whose earlier layers are quantized, or under the original's."""
    saved, source = (sequential, "sequential") if kind == "sequential" else (original, "model")
    entry = next(entry for entry in saved.layers if entry.layer.name == DOWN)
    H = _moment(data / source, data, DOWN)
    weights = [open_checkpoint(data / name).weight(entry.layer.captured) for name in ("model", kind)]
    error = weights[0] - weights[1]
    assert entry.rounded_distortion == pytest.approx(np.trace(error @ H @ error.T) / error.size, rel=1e-6)
    assert entry.rounded_distortion == pytest.approx(entry.distortion, rel=0.05)
    assert entry.rounded_distortion != entry.distortion


def test_an_interrupted_model_goes_on_and_is_the_same(data, sequential, tmp_path, monkeypatch):
    made: list[str] = []
    measure = module.measure

    def counted(layer, answer, file):
        if len(made) == 9:
            made.append("")
            raise KeyboardInterrupt
        made.append(layer.key.name)
        return measure(layer, answer, file=file)

    monkeypatch.setattr(module, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        quantized(data, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    for folder in (tmp_path / "new", tmp_path / "new.unfinished"):
        with pytest.raises(UsageError, match=r"new\.unfinished is a quantized model that was not finished: the same .*--save .*new` goes"):
            evaluate(folder, evaluation=EvaluationRequest(tokens=data / "held.npy"))
    with pytest.raises(UsageError, match="an unfinished model with other bits; delete it or choose another directory for `save`"):
        quantized(data, tmp_path / "new", bits=4)
    again = quantized(data, str(tmp_path / "new"))
    assert len(made) == 15
    assert len(set(made)) == 15
    assert [entry.sha256 for entry in again.layers] == [entry.sha256 for entry in sequential.layers]
    assert {name: file.sha256 for name, file in again.files.items()} == {name: file.sha256 for name, file in sequential.files.items()}
    assert quantized(data, tmp_path / "new") == read_saved(tmp_path / "new")  # there already
    with pytest.raises(UsageError, match="holds a quantized model with other seed; choose another"):
        quantized(data, tmp_path / "new", seed=1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"method": "rtn-w4a4", "bits": 4}, UsageError, "quantizes activations, which no checkpoint of weights can hold"),
        ({"method": "softwater", "bits": 3}, UsageError, "softwater: has steps of its own for output heads alone.*give watersic"),
        ({"bits": 2.5}, RateUnreachable, "2.5 bits per weight cannot be reached"),
        ({"save": "model"}, UsageError, "exists and is no quantized model of rdtools; choose another directory for `save`"),
    ],
)
def test_what_cannot_be_made_is_said_before_any_work(data, tmp_path, settings, error, message):
    place = data / settings["save"] if "save" in settings else tmp_path / "new"
    with pytest.raises(error, match=message):
        quantized(data, place, **{name: value for name, value in settings.items() if name != "save"})
    assert not list(tmp_path.iterdir())


def test_an_altered_file_is_named(data, original):
    place = data / "original" / original.layers[3].file
    before = place.read_bytes()
    try:
        place.write_bytes(before[:-1] + b"\0")
        with pytest.raises(CorruptFile, match=r"0003.rdq: its SHA-256 is not the manifest's"):
            evaluate(data / "original", evaluation=EvaluationRequest(tokens=data / "held.npy"))
        with pytest.raises(CorruptFile, match=r"0003.rdq: its SHA-256 .*; quantize the model again into another directory"):
            quantized(data, data / "original", hessians="original")  # there already, but not whole
    finally:
        place.write_bytes(before)


def test_the_command_says_rate_and_rounding(data, sequential, capsys):
    argv = ["quantize", "--model", str(data / "model"), "--tokens", str(data / "calibration.npy"), "--method", "gptq", "--bits", "3"]
    assert main([*argv, "--save", str(data / "sequential")]) == 0
    printed = capsys.readouterr().out
    assert f"14 layers of 3,840 weights by gptq, Hessians: sequential; coded files {sequential.total_bpw:.4f} bpw" in printed
    assert "after the rounding to bfloat16" in printed
    assert main([*argv, "--save", str(data / "sequential"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total_bpw"] == sequential.total_bpw
    assert main([*argv, "--save", str(data / "sequential"), "--hessians", "original"]) == 2
    assert "holds a quantized model with other --hessians; choose another directory for --save" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": 3}, "quantize_model: got int, expected the path of a model"),
        ({"method": 3}, r"quantize_model: methods \[3\], expected names such as"),
        ({"calibration": 3}, "got int as tokens"),
        ({"seed": -1}, "seed -1; expected an integer"),
        ({"hessians": "foo"}, "`hessians` 'foo': expected one of original, sequential"),
        ({"device": "nowhere"}, "`device` nowhere: not usable here"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_any_work(settings, message, data, tmp_path):
    with pytest.raises((WrongType, UsageError), match=message):
        quantized(data, tmp_path / "save", **settings)
    assert not list(tmp_path.iterdir())
    with pytest.raises(WrongType, match="quantize_model: got int, expected the path of a directory"):
        quantized(data, 3)
