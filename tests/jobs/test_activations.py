"""Passes for methods that quantize activations, on a Llama of two blocks."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_tiny_llama

from rdtools.coding.reconstruct import effective_layer
from rdtools.errors import CorruptFile, UsageError
from rdtools.jobs.activations import collect_activations
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.collect import collect
from rdtools.methods import format_method, make_quantizers, parse_method
from rdtools.moments.activations import ActivationAccumulator
from rdtools.runs.activations import FOLDER, LIST, missing_keys, read_activations
from rdtools.runs.store import open_run
from rdtools.sweep import run_sweep
from rdtools.sweep.activations import activation_key

NAMES = ["gptq-w4a4+haar", "rtn-w4a8", "lrc-w4a4-r0.2", "gptq"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_tiny_llama(folder / "model")
    rng = np.random.default_rng(0)
    for name, count in (("calibration", 24), ("held", 8), ("other", 8)):
        np.save(folder / f"{name}.npy", rng.integers(0, 64, (count, 24)))
    return folder


def requests(data, calibration="calibration"):
    return {
        "calibration": CalibrationRequest(tokens=data / f"{calibration}.npy"),
        "evaluation": EvaluationRequest(tokens=data / "held.npy"),
    }


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    asked = requests(data)
    return collect(str(data / "model"), asked["calibration"], evaluation=asked["evaluation"], out=tmp_path_factory.mktemp("run") / "run")


def passes(run, data, names=NAMES, **settings):
    said: list[str] = []
    collect_activations(run, make_quantizers(names, [4]), seeds=[0], layers=None, say=said.append, **(requests(data) | settings))
    return said


def test_rows_are_those_of_running_the_tokens_through_the_decoded_layer(run, data):
    """Each row's D and held-out D′ from moments, against the tokens of a pass run through the effective layer: 1e-6 relative."""
    from rdtools.jobs.calibration import read_tokens
    from rdtools.model.activations import run_activations
    from rdtools.model.inputs import find_layers
    from rdtools.model.pretrained import load_model

    assert len(passes(run, data)) == 2
    assert passes(run, data) == []
    quantizers, name = make_quantizers(NAMES, [4]), "model.layers.1.mlp.down_proj"
    table = run_sweep(run, quantizers, layers=[name]).table
    assert (table["status"] == "ok").all()
    tokens = read_tokens(*requests(data).values(), run.checkpoint(), trust_remote_code=False)
    model = load_model(run.checkpoint())
    inputs, layer, number = find_layers(model, run.checkpoint()).inputs, run[name], run._entry(name).hessian
    x = []
    for some in tokens:
        rows: list = []
        run_activations(model, some, lambda rows=rows: {layer.hessian.name: rows.append}, inputs)
        x.append(np.concatenate(rows).astype(np.float64))
    for quantizer, row in zip(quantizers, table.itertuples(), strict=True):
        moments = None
        if quantizer.activation is not None:
            moments = read_activations(run, activation_key(quantizer, number, seed=0))
            assert (row.activation_bits, row.target_bpw) == (quantizer.activation_bits, 4)
        effective = effective_layer(quantizer.quantize(layer, activations=moments).weight)
        lost = [np.mean((some @ layer.weight.T - effective.apply(some)) ** 2) * len(layer.weight) / layer.weight.size for some in x]
        energy = np.mean((x[1] @ layer.weight.T) ** 2) * len(layer.weight) / layer.weight.size
        assert row.distortion == pytest.approx(lost[0], rel=1e-6)
        assert row.heldout_distortion == pytest.approx(lost[1] / energy, rel=1e-6)
    assert np.isnan(table["activation_bits"].iloc[-1])


def test_what_is_lacking_is_said_with_the_command_that_makes_it(run, data):
    quantizers = make_quantizers(["gptq-w4a8+haar"], [4])
    row = run_sweep(run, quantizers, layers=["model.layers.0.mlp.down_proj"]).table.query("method == 'gptq-w4a8+haar'").iloc[0]
    assert row["status"] == "failed"
    assert "no moments of calibration activations of" in row["message"]
    assert f"rdtools report with this method and the run's own model and data, --out {run.path}, makes them" in row["message"]


def test_only_what_is_missing_or_damaged_is_made_again(run, data):
    passes(run, data)
    quantizer = make_quantizers(["gptq-w4a4+haar"], [4])[0]
    keys = [activation_key(quantizer, number, seed=0) for number in range(len(run.hessians))]
    before = {path.name: path.read_bytes() for path in (run.path / FOLDER).iterdir() if path.suffix == ".safetensors"}
    damaged = run.path / FOLDER / f"{keys[1].digest(run)}.safetensors"
    damaged.write_bytes(before[damaged.name][:-8] + b"\0" * 8)
    with pytest.raises(CorruptFile, match=damaged.name):
        read_activations(run, keys[1])
    assert missing_keys(run, keys) == [keys[1]]
    place = run.path / LIST
    place.write_bytes(place.read_bytes() + b'{"torn')
    assert len(passes(run, data)) == 1
    assert missing_keys(open_run(run.path), keys) == []
    assert {name: (run.path / FOLDER / name).read_bytes() for name in before} == before
    (run.path / LIST).unlink()
    assert missing_keys(run, keys) == keys


def test_other_tokens_than_the_run_s_are_refused(run, data):
    with pytest.raises(UsageError, match="the calibration tokens are not those of the run"):
        passes(run, data, ["rtn-w16a4"], calibration=CalibrationRequest(tokens=data / "other.npy"))


def test_an_input_without_a_map_or_moments_costs_its_own_rows_alone_which_say_why(run, data, monkeypatch):
    """A threshold that is too low, an error while a layer is read for the map, and one in the sums; and all are made once nothing fails."""
    low = parse_method("qllm-w4a4(threshold=0.01)", 4)
    quantizers = [low, *make_quantizers(["qllm-w4a4", "rtn-w4a4"], [4])]
    broken, summed = run.hessians[1].name, run.hessians[2].name
    read, finish = type(run).__getitem__, ActivationAccumulator.finish

    def no_memory(self, name):
        layer = read(self, name)
        if layer.hessian.name == broken:
            raise MemoryError("no room")
        return layer

    def not_there(self, reference, *, name):
        if name == summed:
            raise ZeroDivisionError("nothing")
        return finish(self, reference, name=name)

    with monkeypatch.context() as patch:
        patch.setattr(type(run), "__getitem__", no_memory)
        patch.setattr(ActivationAccumulator, "finish", not_there)
        said: list[str] = []
        collect_activations(run, quantizers, seeds=[0], layers=None, say=said.append, **requests(data))
    assert any(f"{broken}: no moments of quantized activations: MemoryError: no room" in sentence for sentence in said)
    layers = [entry.name for entry in run.layers if entry.hessian in (0, 1, 2)]
    table = run_sweep(run, quantizers, layers=layers).table
    inputs = table["layer"].map(lambda name: run._entry(name).hessian)
    reasons = table["message"].where(table["status"] == "failed", "")
    fixed = table["method"] == format_method(low)
    assert reasons[fixed & (inputs == 0)].str.contains("threshold 0.01 of the largest maximum: .* raise the threshold").all()
    assert (reasons[~fixed & (table["method"] == "qllm-w4a4") & (inputs == 1)] == "MemoryError: no room").all()
    assert (reasons[~fixed & (inputs == 2)] == "ZeroDivisionError: nothing").all()
    assert (table["status"][~fixed & (inputs == 0)] == "ok").all()
    passes(run, data, ["qllm-w4a4", "rtn-w4a4"])
    again = run_sweep(run, quantizers[1:], layers=layers).table
    assert (again["status"][again["method"].isin(["qllm-w4a4", "rtn-w4a4"])] == "ok").all()
