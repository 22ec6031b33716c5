"""A Llama of two blocks quantized with corrections, against whole models of transformers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_tiny_llama
from transformers import AutoModelForCausalLM

from rdtools.cli.main import main
from rdtools.coding import decode, reconstruct
from rdtools.errors import UsageError
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.evaluate import evaluate
from rdtools.jobs.quantize import quantize_model
from rdtools.runs.saved import read_saved

ALL = ["drift", "residual", "dead", "rescale", "attention", "mixing"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_tiny_llama(folder / "model")
    rng = np.random.default_rng(0)
    np.save(folder / "calibration.npy", rng.integers(0, 64, (8, 24)))
    np.save(folder / "held.npy", rng.integers(0, 64, (4, 24)))
    return folder


def quantized(data, save, corrections, **settings):
    calibration = CalibrationRequest(tokens=data / "calibration.npy")
    return quantize_model(str(data / "model"), "gptq", 3, save, corrections=corrections, calibration=calibration, **settings)


@pytest.fixture(scope="module")
def corrected(data):
    return quantized(data, data / "all", "all", damping=1e-2)


def _inputs(folder, ids):
    """Inputs of all linear layers, (k, n) float64."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    seen = {}

    def see(name):
        return lambda module, args: seen.update({name: args[0].detach().reshape(-1, args[0].shape[-1]).double().numpy()})

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(see(name))
    with torch.no_grad():
        model(torch.from_numpy(ids))
    weights = {name: model.get_parameter(f"{name}.weight").detach().double().numpy() for name in seen}
    return seen, weights


def test_output_errors_are_those_of_the_saved_model_beside_the_original(data, corrected):
    """E‖W x − Ŵ x̂‖²/(m n), x and x̂ from the two checkpoints in plain transformers; the containers decode to the second one's weights."""
    ids = np.load(data / "calibration.npy")
    (x, W), (actual, found) = (_inputs(data / name, ids) for name in ("model", "all"))
    assert corrected.corrections == ALL
    for entry in corrected.layers:
        name = entry.layer.name
        decoded = torch.tensor(reconstruct(decode((data / "all" / entry.file).read_bytes()))).to(torch.bfloat16).double().numpy()
        assert np.array_equal(decoded, found[name])
        outputs = x[name] @ W[name].T
        error = ((outputs - actual[name] @ found[name].T) ** 2).mean() / W[name].shape[1]
        assert entry.output_error == pytest.approx(error, rel=1e-4)
        assert entry.relative_output_error == pytest.approx(error / ((outputs**2).mean() / W[name].shape[1]), rel=1e-4)
        seen = ((W[name] - found[name]) @ actual[name].T) ** 2
        assert entry.rounded_distortion == pytest.approx(seen.mean() / W[name].shape[1], rel=1e-4)
        assert (entry.mixture is not None) == name.endswith(("q_proj", "k_proj", "v_proj"))
    table = pd.read_csv(data / "all" / "layers.csv")
    assert {"output_error", "mixture", "rescaled"} <= set(table)


def test_a_row_of_the_evaluation_says_which_corrections_were_on(data, corrected):
    held = EvaluationRequest(tokens=data / "held.npy")
    assert evaluate(data / "all", evaluation=held, noise=False).iloc[0]["corrections"] == "+".join(ALL)


def test_what_decides_a_model_includes_its_corrections(data, corrected):
    assert read_saved(data / "all").identity["`corrections`"] == ALL
    with pytest.raises(UsageError, match="holds a quantized model with other `corrections`; choose another directory"):
        quantized(data, data / "all", "drift", damping=1e-2)


def test_corrections_of_one_model_go_with_hessians_of_the_original(data, tmp_path):
    saved = quantized(data, tmp_path / "new", ["dead", "rescale"], hessians="original")
    assert saved.corrections == ["dead", "rescale"]
    assert {entry.output_error for entry in saved.layers} == {None}
    with pytest.raises(UsageError, match="drift with `hessians` original"):
        quantized(data, tmp_path / "other", "drift", hessians="original")


def test_the_command_has_a_line_for_each(capsys, data, corrected):
    argv = ["quantize", "--model", str(data / "model"), "--tokens", str(data / "calibration.npy"), "--method", "gptq", "--bits", "3"]
    assert main([*argv, "--damping", "0.01", "--corrections", "all", "--save", str(data / "all")]) == 0
    assert "Hessians: sequential, drift, residual, dead, rescale, attention, mixing; coded" in capsys.readouterr().out
    assert main([*argv, "--corrections", "drfit", "--save", str(data / "none")]) == 2
    assert "--corrections 'drfit': expected some of drift" in capsys.readouterr().err
    main(["quantize", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in ALL:
        assert f"{name}: " in shown
