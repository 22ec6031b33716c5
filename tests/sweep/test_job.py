"""Sweeps that are interrupted, repeated and added to."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rdtools.errors import CorruptFile
from rdtools.evaluation.layers import QuantizedLayers
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.methods import format_method, make_quantizers
from rdtools.runs.journal import ROWS, JournalWriter, Record, journal_files, read_journals
from rdtools.runs.plan import PLAN
from rdtools.runs.run_manifest import write_manifest
from rdtools.runs.store import open_run
from rdtools.runs.tasks import read_tasks
from rdtools.sweep import agenda, run_sweep, task
from rdtools.sweep.kinds import KINDS
from rdtools.sweep.plan import plan
from rdtools.sweep.task import run_task


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    from conftest import make_tiny_llama

    folder = tmp_path_factory.mktemp("captured")
    np.save(folder / "tokens.npy", np.random.default_rng(1).integers(0, 64, (12, 16)))
    model = make_tiny_llama(folder / "tiny")
    return collect(str(model), CalibrationRequest(tokens=folder / "tokens.npy"), out=folder / "run")


@pytest.fixture
def run(captured, tmp_path):
    return open_run(shutil.copytree(captured.path, tmp_path / "run"))


def _methods(names="rtn-midrise,gptq-midrise", rates=(2.0, 3.0)):
    return make_quantizers(names.split(","), list(rates))


def _same(first, second):
    pd.testing.assert_frame_equal(first.table.drop(columns="wall_s"), second.table.drop(columns="wall_s"))
    pd.testing.assert_frame_equal(first.curves, second.curves)


class _Stopped(BaseException):
    """As an interrupt: not an error of a row."""


def _stop_after(monkeypatch, count):
    """Let so many records come about, and count those that do."""
    made = []
    real = run_task

    def stopping(task_, memory):
        for record in real(task_, memory):
            if len(made) == count:
                raise _Stopped
            made.append(record)
            yield record

    monkeypatch.setitem(KINDS, "quantize", replace(KINDS["quantize"], perform=stopping))
    return made


@pytest.mark.parametrize("count", [0, 1, 5, 23])
def test_what_was_finished_before_an_interrupt_is_not_done_again(count, run, captured, monkeypatch, tmp_path):
    undisturbed = run_sweep(open_run(shutil.copytree(captured.path, tmp_path / "other")), _methods())
    with monkeypatch.context() as patch:
        made = _stop_after(patch, count)
        with pytest.raises(_Stopped):
            run_sweep(run, _methods())
        assert len(made) == count
    assert len(read_journals(run.path / ROWS).records) == count
    said, again = [], _stop_after(monkeypatch, 10**6)
    resumed = run_sweep(run, _methods(), say=said.append)
    assert len(again) == 14 * 4 + 14 - count
    kept = sum(record.kind == "row" for record in made)
    assert said == ([f"{kept} of 56 rows are already there"] if kept else [])
    _same(resumed, undisturbed)
    assert resumed.notes == []


def test_layers_of_one_input_share_a_file_whichever_of_them_are_asked_for(run, captured, tmp_path):
    """The same integers and errors as in files of their own, and never more bytes in all."""
    methods = ["watersic", "watersic+one-file"]
    table = run_sweep(run, make_quantizers(methods, [3.0])).table.set_index(["method", "layer"])
    apart, together = table.loc["watersic"], table.loc["watersic+one-file"]
    assert together["distortion"].equals(apart["distortion"])
    assert together["symbol_bpw"].equals(apart["symbol_bpw"])
    weights = apart["rows"] * apart["columns"]
    files = {"q_proj": 3, "k_proj": 3, "v_proj": 3, "gate_proj": 2, "up_proj": 2}
    assert together["container_layers"].tolist() == [files.get(kind, 1) for kind in together["layer_type"]]
    for _, part in together.groupby(together["layer_type"].isin(["gate_proj", "up_proj"])):
        assert (part["total_bpw"] * weights[part.index]).sum() < (apart["total_bpw"] * weights)[part.index].sum()
    gaps = together["rate_gap_total_bpw"] - apart["rate_gap_total_bpw"]
    np.testing.assert_allclose(gaps, together["total_bpw"] - apart["total_bpw"], atol=1e-12)
    name = next(name for name in together.index if "k_proj" in name)
    other = open_run(shutil.copytree(captured.path, tmp_path / "other"))
    alone = run_sweep(other, make_quantizers(methods[1:], [3.0]), layers=[name]).table
    assert alone["layer"].tolist() == [name]
    assert alone["total_bpw"].tolist() == [together.loc[name, "total_bpw"]]
    # whoever evaluates the model has the same files
    layers = QuantizedLayers(run, dict.fromkeys(run, make_quantizers(methods[1:], [3.0])[0]), seed=0, together=True)
    assert sum(len(layers(number)) for number in (0, 1)) == len(together)
    assert layers.sums.total_bpw == pytest.approx((together["total_bpw"] * weights).sum() / weights.sum())


def test_progress_counts_rows_and_those_that_are_there(run):
    seen = []
    run_sweep(run, _methods("rtn-midrise", [2.0]), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (14, 14)
    seen.clear()
    run_sweep(run, _methods("rtn-midrise", [2.0, 3.0]), progress=lambda done, total: seen.append((done, total)))
    assert seen[0][0] in (14, 15)
    assert seen[-1] == (28, 28)


def test_other_methods_and_rates_add_to_the_table_whatever_their_order(run, captured, tmp_path):
    run_sweep(run, _methods("gptq-midrise", [3.0]))
    added = run_sweep(run, _methods("rtn-midrise", [3.0, 2.0]))
    added = run_sweep(run, _methods("gptq-midrise", [2.0]))
    once = run_sweep(open_run(shutil.copytree(captured.path, tmp_path / "other")), _methods("gptq-midrise,rtn-midrise"))
    _same(added, once)
    first = added.table[added.table["layer"] == captured.layers[0].name]
    assert first[["method", "target_bpw"]].to_numpy().tolist() == [
        ["gptq-midrise", 2.0],
        ["gptq-midrise", 3.0],
        ["rtn-midrise", 2.0],
        ["rtn-midrise", 3.0],
    ]


def test_fresh_forgets_rows_and_methods(run):
    run_sweep(run, _methods("rtn-midrise", [2.0]))
    before = journal_files(run.path / ROWS)
    result = run_sweep(run, _methods("gptq-midrise", [2.0]), fresh=True)
    assert set(result.table["method"]) == {"gptq-midrise"}
    assert not any(path.exists() for path in before)
    assert result.notes == []


def test_a_failed_row_is_tried_again_and_an_infeasible_one_is_not(run, monkeypatch):
    real = task.result_row

    def failing(layer, quantizer, *others):
        if format_method(quantizer) == "gptq-midrise" and layer.key.type == "down_proj":
            raise ZeroDivisionError("by chance")
        return real(layer, quantizer, *others)

    methods = _methods("gptq-midrise,rtn-midrise,quip-sharp", [2.5, 3.0])
    with monkeypatch.context() as patch:
        patch.setattr(task, "result_row", failing)
        first = run_sweep(run, methods).table
    failed = first[first["status"] == "failed"]
    assert failed["layer_type"].tolist() == ["down_proj", "down_proj"]
    assert set(failed["message"]) == {"ZeroDivisionError: by chance"}
    assert (first.loc[first["target_bpw"] == 2.5, "status"] == "infeasible").all()
    todo = agenda(run, methods)
    assert (todo.rows, todo.remaining_rows) == (84, 2)
    again = _stop_after(monkeypatch, 10**6)
    second = run_sweep(run, methods).table
    assert len(again) == 2
    assert not (second["status"] == "failed").any()
    same = first["status"] != "failed"
    pd.testing.assert_frame_equal(second[same].drop(columns="wall_s"), first[same].drop(columns="wall_s"))


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), RuntimeError("CUDA out of memory"), OSError(5, "Input/output error")])
def test_any_exception_of_a_row_a_layer_or_a_curve_stays_there(error, run, monkeypatch):
    """The row, the layer's rows or its curves have failed, with the type of the error; all others are as they would be."""
    undisturbed = run_sweep(run, _methods("rtn-midrise", [2.0]), fresh=True)
    names = list(run)

    def failing(real, index):
        def call(layer, *others, **settings):
            if layer.key.name == names[index]:
                raise error
            return real(layer, *others, **settings)

        return call

    monkeypatch.setattr(task, "result_row", failing(task.result_row, 0))
    monkeypatch.setattr(task, "layer_facts", failing(task.layer_facts, 1))
    monkeypatch.setattr(task, "theory_curves", failing(task.theory_curves, 2))
    result = run_sweep(run, _methods("rtn-midrise", [2.0]), fresh=True)
    failed = result.table[result.table["status"] == "failed"]
    assert failed["layer"].tolist() == names[:2]
    assert all(type(error).__name__ in message for message in failed["message"])
    assert result.failed_curves == 2
    assert names[1] in result.notes[0]
    others = (table.table[2:].drop(columns="wall_s") for table in (result, undisturbed))
    pd.testing.assert_frame_equal(*others, check_dtype=False)  # a column with a gap holds no integers
    assert set(undisturbed.curves["layer"]) - set(result.curves["layer"]) == set(names[1:3])
    monkeypatch.undo()
    _same(run_sweep(run, _methods("rtn-midrise", [2.0])), undisturbed)


def test_an_interrupt_is_no_failed_row(run, monkeypatch):
    monkeypatch.setattr(task, "result_row", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_sweep(run, _methods("rtn-midrise", [2.0]))
    assert read_journals(run.path / ROWS).records == {}


def test_some_layers_first_and_then_all(run, captured, tmp_path):
    names = [entry.name for entry in captured.layers]
    some = run_sweep(run, _methods(rates=[2.0]), layers=names[3:5])
    assert list(dict.fromkeys(some.table["layer"])) == names[3:5]
    assert set(some.curves["layer"]) == set(names[3:5])
    run_sweep(run, _methods("rtn-midrise", rates=[3.0]), layers=names[:1])
    whole = run_sweep(run, _methods())
    _same(whole, run_sweep(open_run(shutil.copytree(captured.path, tmp_path / "other")), _methods()))


def test_unfinished_rows_of_another_command_are_told(run, monkeypatch):
    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        with pytest.raises(_Stopped):
            run_sweep(run, _methods("rtn-midrise", [2.0]))
    result = run_sweep(run, _methods("gptq-midrise", [2.0]))
    assert set(result.table["method"]) == {"rtn-midrise", "gptq-midrise"}
    (note,) = result.notes
    assert "rows that earlier commands asked for are not finished" in note
    assert run_sweep(run, _methods("rtn-midrise", [2.0])).notes == []


def test_other_settings_have_another_name_and_stand_beside(run):
    run_sweep(run, _methods("gptq-midrise", [2.0]))
    table = run_sweep(run, make_quantizers(["gptq-midrise"], [2.0], damping=0.01)).table
    assert list(dict.fromkeys(table["method"])) == ["gptq-midrise", "gptq-midrise(damping=0.01)"]


def test_rows_of_other_numbers_or_weights_are_not_used_and_counted(run):
    old = Record("0" * 64, "row", {"status": "ok", "distortion": -1.0}, numbers=0)
    foreign = Record("1" * 64, "row", {"status": "ok", "distortion": -1.0})
    writer = JournalWriter(run.path / ROWS)
    for record in (old, foreign, foreign):
        writer.append(record)
    writer.close()
    result = run_sweep(run, _methods("rtn-midrise", [2.0]))
    assert len(result.table) == 14
    assert (result.table["distortion"] > 0).all()
    assert [note[:22] for note in result.notes] == ["1 rows are not used: a", "1 rows are not used: t"]
    assert run_sweep(run, _methods("rtn-midrise", [2.0]), fresh=True).notes == []


def test_another_model_in_the_same_place_gets_rows_of_its_own(run, tmp_path):
    """The directory is emptied of everything but its rows, and another model is captured into it."""
    from conftest import make_tiny_llama
    from safetensors.numpy import load_file, save_file

    first = run_sweep(run, _methods("rtn-midrise", [2.0])).table
    model = make_tiny_llama(tmp_path / "tiny")
    weights = load_file(model / "model.safetensors")
    save_file({name: 2 * w for name, w in weights.items()}, model / "model.safetensors", metadata={"format": "pt"})
    np.save(tmp_path / "tokens.npy", np.random.default_rng(1).integers(0, 64, (12, 16)))
    (run.path / "manifest.json").unlink()
    shutil.rmtree(run.path / "hessians")
    (run.path / ".lock").touch()
    other = collect(str(model), CalibrationRequest(tokens=tmp_path / "tokens.npy"), out=run.path)
    result = run_sweep(other, _methods("rtn-midrise", [2.0]))
    assert not np.isclose(result.table["distortion"], first["distortion"]).any()
    assert "14 rows are not used: they are of other weights" in result.notes[0]


def test_a_model_that_moved_keeps_its_rows_under_its_new_name(run):
    first = run_sweep(run, _methods("rtn-midrise", [2.0])).table
    moved_model = run.manifest.model.model_copy(update={"name": "moved"})
    write_manifest(run.path, run.manifest.model_copy(update={"model": moved_model}))
    moved = open_run(run.path)
    assert agenda(moved, _methods("rtn-midrise", [2.0])).remaining_rows == 0
    second = run_sweep(moved, _methods("rtn-midrise", [2.0])).table
    assert set(second["model"]) == {"moved"}
    pd.testing.assert_frame_equal(second.drop(columns=["model"]), first.drop(columns=["model"]))


def test_a_directory_without_its_plan_or_rows_goes_on(run):
    first = run_sweep(run, _methods())
    (run.path / PLAN).unlink()
    assert agenda(run, _methods()).remaining_rows == 0
    partial = run_sweep(run, _methods("rtn-midrise"))
    assert len(partial.table) == 28
    assert "plan.json was deleted" in partial.notes[0]
    _same(run_sweep(run, _methods(), fresh=True), first)
    shutil.rmtree(run.path / ROWS)
    _same(run_sweep(run, _methods()), first)


def test_a_damaged_journal_stops_the_sweep_and_its_remedy_works(run):
    first = run_sweep(run, _methods())
    (path,) = journal_files(run.path / ROWS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptFile, match=f"delete {path.name} and run the same command again"):
        run_sweep(run, _methods())
    path.unlink()
    _same(run_sweep(run, _methods()), first)


def test_two_seeds_are_two_rows(run):
    run_sweep(run, _methods("gptq-midrise+haar", [3.0]), seeds=(0,))
    table = run_sweep(run, _methods("gptq-midrise+haar", [3.0]), seeds=(1,)).table
    assert table.groupby("layer")["seed"].apply(list).tolist() == [[0, 1]] * 14
    assert table.groupby("layer")["distortion"].nunique().min() == 2


def test_work_that_is_left_keeps_its_order(run):
    (first, *_) = plan(run, _methods(), top_rates=dict.fromkeys(run, 3.0))
    work = first.layers[0]
    left = first.without({work.row_keys[1], work.curves_key})
    assert left.layers[0].row_keys == (work.row_keys[0], *work.row_keys[2:])
    assert (left.layers[0].curve_rates, left.rows) == ((), first.rows - 1)
    assert first.without([key for layer in first.layers for key in layer.keys]).layers == ()


def test_the_task_list_of_the_run_names_every_row_that_is_to_be_made(run, monkeypatch):
    """Names are those of the rows: the same in another command, others once rows are finished."""
    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        with pytest.raises(_Stopped):
            run_sweep(run, _methods())
    listed = read_tasks(run.path).tasks
    assert len({task.name for task in listed}) == len(listed) == 8 * 2  # rtn-midrise looks at no Hessian, gptq-midrise at every one
    keys = [key for task in listed for layer in task.layers for key in layer.keys]
    assert len(keys) == len(set(keys)) == 14 * 4 + 14
    run_sweep(run, _methods("rtn-midrise"))
    again = {task.name: task for task in read_tasks(run.path).tasks}
    assert len(again) == 8
    run_sweep(run, _methods())
    assert {key for task in read_tasks(run.path).tasks for layer in task.layers for key in layer.keys} < set(keys)
    (run.path / "tasks.json").write_text("{}")
    with pytest.raises(CorruptFile, match="not a task list"):
        read_tasks(run.path)


def test_layers_of_an_input_are_analysed_once_whatever_their_tasks(run, monkeypatch):
    """Three preparations, one look at each layer."""
    looked = []
    real = task.layer_facts
    monkeypatch.setattr(task, "layer_facts", lambda layer, *held: looked.append(layer.key.name) or real(layer, *held))
    methods = _methods("rtn-midrise,gptq-midrise,gptq-midrise+haar", [2.0])
    assert len(plan(run, methods)) == 3 * 8
    run_sweep(run, methods)
    assert sorted(looked) == sorted(run)
