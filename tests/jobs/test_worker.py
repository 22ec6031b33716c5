"""Workers beside, instead of and after the command that lists the tasks."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time

import numpy as np
import pandas as pd
import pytest
from conftest import make_tiny_llama
from faults.kills import finished, kill_when, start

from rdtools.cli.main import main
from rdtools.errors import UsageError
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.verify import verify
from rdtools.jobs.worker import recheck_run, work
from rdtools.methods import make_quantizers
from rdtools.runs.journal import ROWS, JournalWriter, Record, read_journals
from rdtools.runs.leases import delete_leases
from rdtools.runs.plan import write_plan
from rdtools.runs.store import open_run
from rdtools.runs.tasks import TASKS, write_tasks
from rdtools.sweep import agenda, run_sweep
from rdtools.sweep.recheck import differing_columns, is_chosen

METHODS, RATES = ["rtn-midrise", "hptq"], [2.0, 3.0]


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captured")
    np.save(folder / "tokens.npy", np.random.default_rng(1).integers(0, 64, (12, 16)))
    return collect(str(make_tiny_llama(folder / "tiny")), CalibrationRequest(tokens=folder / "tokens.npy"), out=folder / "run").path


@pytest.fixture
def run(captured, tmp_path):
    return open_run(shutil.copytree(captured, tmp_path / "run"))


def _list(run):
    """List the tasks, as a report does that waits for workers."""
    todo = agenda(run, make_quantizers(METHODS, RATES))
    write_plan(todo.plan, run.path)
    return write_tasks([task.listed for task in todo.remaining], run.path)


def _values(folder):
    return {key: record.value for key, record in read_journals(folder / ROWS).records.items()}


@contextlib.contextmanager
def _worker_as_soon_as_listed(run):
    def wait_and_work():
        while not (run.path / TASKS).exists():
            time.sleep(0.01)
        work(run.path)

    thread = threading.Thread(target=wait_and_work)
    thread.start()
    yield
    thread.join()


def test_a_worker_waits_for_a_list_that_is_not_done_and_ends_after_it(run):
    """In the time that it is given: a finished list of an earlier command is no reason to end."""
    _list(run)
    assert work(run.path) == 16
    shutil.rmtree(run.path / ROWS)
    heard = []
    thread = threading.Thread(target=lambda: heard.append(work(run.path, wait_s=600)))
    thread.start()
    time.sleep(0.5)
    assert heard == []
    delete_leases(run.path)
    _list(run)
    thread.join()
    assert heard == [16]


def test_two_workers_one_of_them_killed_make_the_rows_of_the_local_engine(run, captured, tmp_path):
    """The killed one costs the row in flight: what it had written is not made again, and every column but the seconds has the same bits."""
    local = open_run(shutil.copytree(captured, tmp_path / "local"))
    run_sweep(local, make_quantizers(METHODS, RATES), workers=1)
    _list(run)
    first = start(["worker", str(run.path)], tmp_path / "first.py")
    assert kill_when(first, lambda: len(finished(run.path)) >= 3)
    before = {key: record.value for key, record in read_journals(run.path / ROWS).records.items()}
    second, third = (start(["worker", str(run.path)], tmp_path / f"{name}.py") for name in ("second", "third"))
    assert second.wait(timeout=300) == 0, (tmp_path / "second.log").read_text()
    assert third.wait(timeout=300) == 0, (tmp_path / "third.log").read_text()
    here, there = _values(local.path), _values(run.path)
    assert here.keys() == there.keys()
    assert [key for key in here if differing_columns(here[key], there[key])] == []
    assert before.items() <= there.items()
    assert read_journals(run.path / ROWS).replaced == 0


def test_a_report_without_workers_of_its_own_waits_for_others(run, tmp_path):
    """And its table is complete."""
    with _worker_as_soon_as_listed(run):
        result = run_sweep(run, make_quantizers(METHODS, RATES), workers=0)
    assert set(result.table["status"]) <= {"ok", "infeasible"}
    assert len(result.table) == 14 * 4
    assert result.notes == []


def test_workers_check_claims_too(run):
    names = ["quip.lemma-2", "babai.order-most"]
    alone = verify(run.path, claims=names, workers=1)
    (run.path / TASKS).unlink()
    with _worker_as_soon_as_listed(run):
        shared = verify(run.path, claims=names, workers=0, fresh=True)
    pd.testing.assert_frame_equal(shared, alone)


def test_a_worker_goes_on_after_the_command_has_ended(run):
    _list(run)
    assert work(run.path) == 16
    assert not any(task for task in agenda(run, make_quantizers(METHODS, RATES)).remaining)
    assert work(run.path) == 0


def test_a_failed_row_is_tried_again_by_the_next_command_only(run, monkeypatch):
    from rdtools.sweep import task

    def fails(*arguments):
        raise ZeroDivisionError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(task, "result_row", fails)
        _list(run)
        work(run.path)
        made = len(list((run.path / ROWS).iterdir()))
        work(run.path)
        assert len(list((run.path / ROWS).iterdir())) == made
    assert {r.value["status"] for r in read_journals(run.path / ROWS).records.values() if r.kind == "row"} <= {"failed", "infeasible"}
    _list(run)
    work(run.path)
    assert {r.value["status"] for r in read_journals(run.path / ROWS).records.values() if r.kind == "row"} <= {"ok", "infeasible"}


@pytest.mark.parametrize(("package", "version"), [("rdtools", "0.0.1"), ("numpy", "1.0"), ("numbers", "1")])
def test_workers_of_another_version_are_refused(package, version, run, capsys):
    listed = _list(run)
    other = {"numbers": 1} if package == "numbers" else {"versions": listed.versions | {package: version}}
    (run.path / TASKS).write_text(listed.model_copy(update=other).model_dump_json())
    assert main(["worker", str(run.path)]) == 2
    assert f"{package} {version} there" in capsys.readouterr().err
    assert finished(run.path) == set()


def test_tasks_of_other_weights_or_methods_are_refused(run, capsys):
    _list(run)
    (run.path / "plan.json").unlink()
    assert main(["worker", str(run.path)]) == 2
    assert "give the command again" in capsys.readouterr().err


@pytest.mark.parametrize("argument", [[], ["--recheck", "0.5"]])
def test_a_directory_without_tasks_is_named(argument, run, capsys):
    assert main(["worker", str(run.path), *argument]) == 2
    assert "no tasks.json" in capsys.readouterr().err


def test_an_altered_hessian_is_refused_before_the_work(run, capsys):
    _list(run)
    path = run.path / run.hessians[0].file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert main(["worker", str(run.path)]) == 65
    assert path.name in capsys.readouterr().err


def test_two_commands_on_one_run_are_refused_and_workers_are_not(run, capsys):
    from rdtools.files import sole_writer

    _list(run)
    with sole_writer(run.path):
        assert main(["verify", str(run.path), "--claims", "quip.lemma-2"]) == 75
        assert main(["worker", str(run.path)]) == 0
    assert "another rdtools is writing there" in capsys.readouterr().err


def test_rows_that_come_out_the_same_are_no_news_and_an_altered_one_is(run, capsys):
    _list(run)
    work(run.path)
    assert recheck_run(run.path, share=1.0) == (14 * 4 + 14, [])
    assert main(["worker", str(run.path), "--recheck", "1"]) == 0
    key, record = next((k, r) for k, r in read_journals(run.path / ROWS).records.items() if r.kind == "row")
    value = record.value | {"distortion": np.nextafter(record.value["distortion"], 1.0), "wall_s": 7.0}
    journal = JournalWriter(run.path / ROWS)
    journal.append(Record(key, "row", value))
    journal.close()
    capsys.readouterr()
    assert main(["worker", str(run.path), "--recheck", "1"]) == 1
    printed = capsys.readouterr().out
    assert "1 columns differ: distortion was" in printed
    assert value["layer"] in printed


def test_the_share_is_that_of_a_seed():
    keys = [f"{k:064x}" for k in range(4000)]
    chosen = [{k for k in keys if is_chosen(k, share=0.25, seed=seed)} for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert abs(len(chosen[0]) - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)  # five standard deviations: 6e-7
    assert {k for k in keys if is_chosen(k, share=0.1, seed=0)} < chosen[0]


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_a_share_is_one(share, run):
    with pytest.raises(UsageError, match="`recheck`"):
        recheck_run(run.path, share=share)


def test_columns_of_a_time_or_a_place_are_not_compared():
    row = {"wall_s": 1.0, "model": "a", "distortion": float("nan"), "rows": 3}
    assert differing_columns(row, row | {"wall_s": 2.0, "model": "b"}) == []
    assert differing_columns(row, row | {"distortion": 0.0, "rows": 3.0}) == ["distortion", "rows"]
    assert differing_columns(row, {k: v for k, v in row.items() if k != "rows"}) == ["rows"]
