"""A cluster of two processes on this machine: rows of the local engine, one of the two killed; no scheduler; another's version."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal

import numpy as np
import pytest
from conftest import make_tiny_llama

from rdtools.errors import ServiceUnavailable, UsageError
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.settings import ReportSettings
from rdtools.jobs.verify import verify
from rdtools.methods import make_quantizers
from rdtools.runs.journal import ROWS, read_journals
from rdtools.runs.store import open_run
from rdtools.sweep import run_sweep
from rdtools.sweep.recheck import differing_columns

distributed = pytest.importorskip("distributed", reason="Dask is not installed")

METHODS = make_quantizers(["rtn-midrise", "hptq"], [2.0, 3.0])


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captured")
    np.save(folder / "tokens.npy", np.random.default_rng(1).integers(0, 64, (12, 16)))
    return collect(str(make_tiny_llama(folder / "tiny")), CalibrationRequest(tokens=folder / "tokens.npy"), out=folder / "run").path


@pytest.fixture
def run(captured, tmp_path):
    return open_run(shutil.copytree(captured, tmp_path / "run"))


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as made:
        yield made


def _values(folder):
    return {key: record.value for key, record in read_journals(folder / ROWS).records.items()}


def test_a_cluster_makes_the_rows_of_the_local_engine_though_one_worker_is_killed(run, captured, tmp_path, cluster):
    """The killed one costs the row that it was at; what it had written is not made again."""
    local = open_run(shutil.copytree(captured, tmp_path / "local"))
    run_sweep(local, METHODS, workers=1)
    with distributed.Client(cluster, set_as_default=False) as client:
        victim = next(iter(client.run(os.getpid).values()))
    done = []

    def progress(count, total):
        done.append(count)
        if len(done) == 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    result = run_sweep(run, METHODS, scheduler=cluster.scheduler_address, progress=progress)
    assert result.notes == []
    assert done[-1] == 14 * 4
    here, there = _values(local.path), _values(run.path)
    assert here.keys() == there.keys()
    assert [key for key in here if differing_columns(here[key], there[key])] == []
    assert read_journals(run.path / ROWS).replaced == 0
    with pytest.raises(ProcessLookupError):
        os.kill(victim, 0)


def test_claims_are_checked_on_a_cluster(run, captured, tmp_path, cluster):
    claims = "babai.box"
    here = verify(shutil.copytree(captured, tmp_path / "local"), claims, workers=1, out=tmp_path / "here.csv")
    there = verify(run, claims, scheduler=cluster.scheduler_address, out=tmp_path / "there.csv")
    assert here.equals(there)


def test_a_worker_of_another_version_refuses(run, cluster, monkeypatch):
    monkeypatch.setattr("rdtools.runs.tasks.__version__", "0.0")
    with pytest.raises(UsageError, match=r"tasks\.json: of a command with other versions: rdtools 0\.0 there"):
        run_sweep(run, METHODS, scheduler=cluster.scheduler_address)


def test_a_scheduler_that_is_not_there_is_said_before_any_work(run, monkeypatch):
    monkeypatch.setattr("rdtools.sweep.engines.dask._CONNECT_S", 0.2)
    with pytest.raises(ServiceUnavailable, match=r"`scheduler` tcp://127\.0\.0\.1:9: no Dask scheduler answers there"):
        run_sweep(run, METHODS, scheduler="tcp://127.0.0.1:9")
    assert read_journals(run.path / ROWS).records == {}


def test_a_cluster_has_its_own_number_of_workers():
    with pytest.raises(UsageError, match="`workers` and `scheduler`: expected one of them"):
        ReportSettings(workers=2, scheduler="tcp://127.0.0.1:9")
