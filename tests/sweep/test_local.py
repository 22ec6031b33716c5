"""Workers that die, are interrupted or meet bad layers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from faults.kills import finished

from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.methods import make_quantizers
from rdtools.moments.layer import Layer
from rdtools.records import Hessian, LayerKey
from rdtools.runs.journal import ROWS, JournalWriter, read_journals
from rdtools.runs.leases import Leases
from rdtools.sweep import plan, run_tasks
from rdtools.sweep.engines.local import Pool
from rdtools.sweep.engines.queue import TaskQueue
from rdtools.sweep.task import quantize_layer, run_task


@pytest.fixture
def run(tiny_llama, tiny_tokens, tmp_path):
    return collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run")


def test_tasks_share_a_hessian_and_the_largest_comes_first(run):
    tasks = plan(run, make_quantizers(["hrtn"], [3.0]))
    assert len(tasks) == 8
    assert [task.work for task in tasks] == sorted((task.work for task in tasks), reverse=True)
    assert sorted(layer.name for task in tasks for layer in task.layers) == sorted(run)


def test_a_layer_that_cannot_be_read_gives_failed_rows_with_its_name_and_type(run):
    (run.path / run.hessians[0].file).write_bytes(b"x")
    tasks = [t for t in plan(run, make_quantizers(["hrtn", "hptq"], [3.0])) if t.hessian == 0]
    rows = [record.value for task in tasks for record in run_task(task)]
    assert len(rows) == 6
    assert {row["status"] for row in rows} == {"failed"}
    assert {row["layer_type"] for row in rows} == {"q_proj", "k_proj", "v_proj"}
    assert all("0000.safetensors" in row["message"] for row in rows)


def test_a_hessian_that_is_none_gives_failed_rows_and_not_an_exception():
    H = np.diag([1.0, 1.0, -0.5]) + 0.0
    layer = Layer(LayerKey("m", "a.q_proj", "q_proj", 0), np.ones((4, 3)), Hessian(np.abs(H) + np.eye(3)[::-1] * 5, 10, name="a.q_proj"))
    rows = list(quantize_layer(layer, tuple(make_quantizers(["hrtn", "hptq"], [3.0])), seed=0))
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert all("a.q_proj" in row["message"] for row in rows)


_KILLER = """
import os
import sys
if "--multiprocessing-fork" in sys.orig_argv:
    import rdtools.sweep.task as task
    from rdtools.methods import format_method
    real = task.result_row
    def result_row(layer, quantizer, *others):
        if layer.key.name == "model.layers.1.mlp.down_proj" and format_method(quantizer) == "gptq-midrise":
            os.kill(os.getpid(), 9)
        return real(layer, quantizer, *others)
    task.result_row = result_row
"""


def test_a_worker_that_dies_takes_only_its_own_row_with_it(run, tmp_path, monkeypatch):
    """Killed in one row, whichever process runs it: that row fails, every other is there, of its layer too."""
    (tmp_path / "sitecustomize.py").write_text(_KILLER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    code = (
        "from rdtools.methods import make_quantizers\n"
        "from rdtools.runs.store import open_run\n"
        "from rdtools.sweep import run_sweep\n"
        "if __name__ == '__main__':\n"
        f"    run = open_run({str(run.path)!r})\n"
        "    table = run_sweep(run, make_quantizers(['rtn-midrise', 'gptq-midrise', 'quip'], [2.0]), workers=2).table\n"
        "    failed = table[table['status'] == 'failed']\n"
        "    print(failed[['layer', 'method']].values.tolist(), len(table), failed['message'].tolist())\n"
    )
    script = tmp_path / "go.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.startswith("[['model.layers.1.mlp.down_proj', 'gptq-midrise']] 42"), done.stdout + done.stderr
    assert "worker process died" in done.stdout


def test_an_interrupt_ends_the_workers_and_no_other_child(run):
    """The caller's own processes are none of the pool's."""
    context = multiprocessing.get_context("spawn")
    mine = context.Process(target=time.sleep, args=(600,))
    mine.start()

    def interrupt(record):
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            run_tasks(plan(run, make_quantizers(["rtn-midrise"], [3.0])), Leases(run.path, "c"), workers=2, heard=interrupt)
        assert multiprocessing.active_children() == [mine]
        assert mine.is_alive()
    finally:
        mine.terminate()
        mine.join()


@pytest.mark.parametrize("dies_at", ["layer", "curves"])
def test_a_layer_whose_process_dies_again_and_again_is_given_up(dies_at, run, monkeypatch):
    """Nothing comes about in three processes: the layer's rows have failed, and the next layer has its turn."""
    (task,) = [
        t
        for t in plan(run, make_quantizers(["rtn-midrise"], [1.0, 2.0, 3.0, 4.0]), top_rates=dict.fromkeys(run, 4.0))
        if "model.layers.0.mlp.gate_proj" in [layer.name for layer in t.layers]
    ]
    first, second = task.layers
    if dies_at == "curves":
        task = task.without(first.row_keys)
    starts = []

    def die(self, queue, workers):
        taken = queue.take(None)
        left = taken.task
        starts.append(left)
        if left.layers[0].name == first.name:
            return [taken]
        journal = JournalWriter(run.path / ROWS)
        for record in run_task(left):
            journal.append(record)
        self.look()
        return []

    monkeypatch.setattr(Pool, "run", die)
    pool = Pool(run.path / ROWS)
    pool.run_alone(task)
    records = read_journals(run.path / ROWS).records
    assert [records[key].failed for key in first.keys if key in records] == [True] * (5 if dies_at == "layer" else 1)
    assert [records[key].failed for key in second.keys] == [False] * 5
    assert len(starts) == (4 if dies_at == "layer" else 2)


def _workers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(p) for p in children.read_text().split()] if children.exists() else []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGKILL", -9)])
def test_workers_end_with_their_parent(name, code, tiny_llama, tiny_tokens, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(path) for path in sys.path))  # this rdtools, installed or not
    out = tmp_path / "run"
    # little to capture, and enough work for a minute, of which it gets a few seconds
    rates, seeds = ",".join(f"{1 + k / 16:g}" for k in range(64)), ",".join(map(str, range(8)))
    argv = ["report", "--model", str(tiny_llama), "--tokens", str(tiny_tokens), "--out", str(out), "--workers", "2"]
    argv += ["--methods", "watersic-trellis-plain(states=64)", "--rates", rates, "--seeds", seeds]
    source = f"from rdtools.cli.main import run; import sys\nif __name__ == '__main__':\n    sys.argv[1:] = {argv}; run()"
    script = tmp_path / "go.py"
    script.write_text(source)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "Quantize" not in process.stderr.readline():
        assert process.poll() is None
    deadline = time.monotonic() + 60
    while len(_workers_of(process.pid)) < 3 and time.monotonic() < deadline:  # two workers and multiprocessing's tracker
        time.sleep(0.1)
    while name == "SIGINT" and not finished(out):  # a death is also survived by no worker that still imports its libraries
        assert process.poll() is None
        time.sleep(0.05)
    workers = _workers_of(process.pid)
    assert process.poll() is None
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert name == "SIGKILL" or "Traceback" not in error  # a worker that starts without its parent may say so
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{w}").exists() for w in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [w for w in workers if Path(f"/proc/{w}").exists()]


def test_processes_keep_to_an_input_and_then_help_with_the_fullest(run):
    tasks = plan(run, make_quantizers(["rtn-midrise", "gptq-midrise", "gptq-midrise+haar"], [2.0]))
    first, second = list(dict.fromkeys(task.hessian for task in tasks))[:2]
    some = [task for task in tasks if task.hessian in (first, second)]
    for leases in (None, Leases(run.path, "c")):
        queue = TaskQueue(some, leases)
        taken = [queue.take(last) for last in (None, None, first, first, first, first, second)]
        assert [t and t.task.hessian for t in taken] == [first, second, first, first, second, second, None]
        assert queue.empty


def test_a_process_goes_to_an_input_at_which_no_other_is(run):
    tasks = plan(run, make_quantizers(["rtn-midrise", "gptq-midrise"], [2.0]))
    numbers = list(dict.fromkeys(task.hessian for task in tasks))
    here, there = (TaskQueue(tasks, Leases(run.path, "c")) for _ in range(2))
    assert here.take(None).task.hessian == numbers[0]
    assert there.take(None).task.hessian == numbers[1]
    assert there.take(numbers[1]).task.hessian == numbers[1]
    assert here.take(numbers[0]).task.hessian == numbers[0]
