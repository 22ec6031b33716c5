"""Sweeps on a device: methods that work there do, the others in main memory, and rows say which; one too small loses nothing finished."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from conftest import make_tiny_llama
from other_device import DEVICE, other_device

from rdtools.errors import UsageError
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.report import run_report
from rdtools.methods import make_quantizers
from rdtools.moments.layer import Layer
from rdtools.quantizers import GPTQ, HPTQ, QuIPSharp
from rdtools.runs.journal import ROWS, read_journals
from rdtools.runs.store import Run, open_run
from rdtools.sweep import plan, run_sweep, task
from rdtools.sweep.recheck import recheck

LAYERS = ["model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.v_proj"]


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captured")
    np.save(folder / "tokens.npy", np.random.default_rng(1).integers(0, 64, (12, 16)))
    return collect(str(make_tiny_llama(folder / "tiny")), CalibrationRequest(tokens=folder / "tokens.npy"), out=folder / "run")


@pytest.fixture
def run(captured, tmp_path):
    return open_run(shutil.copytree(captured.path, tmp_path / "run"))


def _swept(run, names="rtn,hptq,quip-sharp"):
    with other_device():
        return run_sweep(run, make_quantizers(names.split(","), [2.0]), layers=LAYERS, device=DEVICE).table


@pytest.fixture
def hosted(monkeypatch):
    """QuIP# as a method that works in main memory alone."""
    monkeypatch.setattr(QuIPSharp, "on_device", False)


@pytest.mark.usefixtures("hosted")
def test_rows_say_where_they_were_made_and_are_those_of_main_memory(run):
    table = _swept(run)
    assert list(zip(table.method, table.device, table.backend, strict=True))[:3] == [
        ("rtn", DEVICE, "torch"), ("hptq", DEVICE, "torch"), ("quip-sharp", "cpu", "numba"),
    ]  # fmt: skip
    assert set(table.dtype) == {"float64"}
    again = run_sweep(open_run(run.path), make_quantizers(["rtn", "hptq"], [2.0]), layers=LAYERS, fresh=True).table
    there = table[table.method != "quip-sharp"].reset_index(drop=True)
    for column in ("distortion", "total_bpw", "rd_bound_rate_bpw", "hessian_incoherence"):
        np.testing.assert_allclose(again[column], there[column], rtol=1e-12)
    assert set(again.device) == {"cpu"}


@pytest.mark.usefixtures("hosted")
def test_rows_of_a_device_are_checked_there_or_said_to_be_out_of_reach(run):
    quantizers = make_quantizers(["rtn", "quip-sharp"], [2.0])
    _swept(run, "rtn,quip-sharp")
    tasks, journal = plan(open_run(run.path), quantizers, layers=LAYERS), read_journals(run.path / ROWS)
    with other_device():
        assert list(recheck(tasks, journal, share=1.0, seed=0)) == []
    (sentence,) = recheck(tasks, journal, share=1.0, seed=0)
    assert sentence.startswith("2 rows cannot be checked here: `device` meta: not usable here")


@pytest.mark.parametrize("names", ["hptq,gptq", "gptq,hptq"])
def test_methods_of_one_preparation_work_in_the_place_of_each(run, names, monkeypatch):
    """One that works in main memory alone, and takes the same factor: neither is given the layer of the other."""
    monkeypatch.setattr(HPTQ, "on_device", False)
    table = _swept(run, names)
    assert set(table.status) <= {"ok", "undersampled"}
    assert dict(zip(table.method, table.device, strict=True)) == {"hptq": "cpu", "gptq": DEVICE}


#: What is made to run out of memory, and the stage that the sentence has to name.
STAGES = {
    "copied": (Layer, "on", "its weights and Hessian are copied"),
    "factored": (task, "prepare", "its basis is changed and its Hessian factored"),
    "decided": (GPTQ, "quantize", "its integers are decided"),
    "measured": (task, "result_row", "what was decoded is measured"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_device_out_of_memory_fails_the_row_at_that_stage_alone(stage, run, monkeypatch):
    """And the same command does it once there is room."""
    owner, name, sentence = STAGES[stage]
    real, calls = getattr(owner, name), []

    def out_of_memory(*arguments, **settings):
        calls.append(1)
        # the copy for the spectrum of the input comes first
        if len(calls) == (2 if stage == "copied" else 1):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, out_of_memory)
        table = _swept(run, "gptq")
    assert list(table.status != "failed") == [False, True]
    message = table.message[table.status == "failed"].item()
    assert message.startswith(f"{LAYERS[0]}: {DEVICE} is out of memory while {sentence} (W of 8 × 16 and H of 16 × 16")
    assert set(_swept(run, "gptq").status) <= {"ok", "undersampled"}


def test_a_device_out_of_memory_for_eigenvectors_says_so(run, monkeypatch):
    def out_of_memory(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Run, "keep_spectrum", out_of_memory)
    table = _swept(run, "gptq")
    assert all("is out of memory while the eigenvectors of its Hessian are computed" in message for message in table.message)


def test_a_device_that_is_not_there_is_refused_before_any_work(tmp_path):
    with pytest.raises(UsageError, match="`device` cuda:77: not usable here"):
        run_report(device="cuda:77", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
