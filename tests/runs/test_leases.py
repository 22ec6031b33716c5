"""Who holds a task, and what happens to it when the holder is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from rdtools.errors import OutputError
from rdtools.runs import leases
from rdtools.runs.leases import Leases, delete_leases


def _foreign(run, task, *, generation=0):
    """A lease of a process on another machine."""
    path = run / "leases" / "c" / f"{task}.{generation}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"place": "elsewhere", "pid": 1, "started": 1.0}))
    return path


def test_a_task_has_one_holder_until_it_is_given_back(tmp_path):
    first, second = Leases(tmp_path, "c"), Leases(tmp_path, "c")
    with first.kept_alive():
        assert first.take("a")
        assert not second.take("a")
        assert second.take("b")
    assert second.take("a")
    assert not second.outlived("a")


def test_a_task_that_is_done_has_no_holder_any_more(tmp_path):
    first, second = Leases(tmp_path, "c"), Leases(tmp_path, "c")
    assert first.take("a")
    first.finish("a")
    assert first.done("a")
    assert second.done("a")
    assert not second.take("a")
    assert Leases(tmp_path, "of another command").take("a")


def test_only_one_of_many_processes_gets_a_task(tmp_path):
    code = (
        "import sys; from pathlib import Path; from rdtools.runs.leases import Leases\n"
        f"got = Leases(Path({str(tmp_path)!r}), 'c')\n"
        "print(sum(got.take(str(k)) for k in range(200)), flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    counts = [int(process.stdout.readline()) for process in started]
    for process in started:
        process.communicate("")
    assert sum(counts) == 200


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")
def test_a_holder_on_this_machine_that_was_killed_is_outlived_at_once(tmp_path):
    code = (
        "import os; from pathlib import Path; from rdtools.runs.leases import Leases\n"
        f"assert Leases(Path({str(tmp_path)!r}), 'c').take('a'); os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -9
    first, second = Leases(tmp_path, "c"), Leases(tmp_path, "c")
    assert first.take("a")
    assert first.outlived("a")
    assert not second.take("a")


def test_a_holder_elsewhere_is_dead_after_so_long_without_a_sign_of_life(tmp_path, monkeypatch):
    """By our own clock, from when we first saw the file as it is; its time of change is only compared with itself."""
    now = [1000.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    path, own = _foreign(tmp_path, "a"), Leases(tmp_path, "c", patience_s=60)
    for changed in (10**9, 5 * 10**18, 7):  # a clock that jumps
        os.utime(path, ns=(changed, changed))
        assert not own.take("a")
        now[0] += 59
        assert not own.take("a")
    now[0] += 2
    assert own.take("a")
    assert own.outlived("a")


def test_the_newest_generation_counts(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    _foreign(tmp_path, "a")
    own = Leases(tmp_path, "c", patience_s=60)
    assert not own.take("a")
    _foreign(tmp_path, "a", generation=1)
    now[0] += 61
    assert not own.take("a")  # another has outlived the first
    now[0] += 61
    assert own.take("a")
    assert (tmp_path / "leases" / "c" / "a.2").exists()


def test_a_living_holder_touches_its_leases(tmp_path):
    own = Leases(tmp_path, "c")
    with own.kept_alive(beat_s=0.01):
        assert own.take("a")
        path = tmp_path / "leases" / "c" / "a.0"
        os.utime(path, ns=(0, 0))
        deadline = time.monotonic() + 20
        while path.stat().st_mtime_ns == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lease_that_is_being_written_has_a_holder(tmp_path):
    path = _foreign(tmp_path, "a")
    path.write_text("")
    assert not Leases(tmp_path, "c").take("a")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "leases").write_text("in the way")
    with pytest.raises(OutputError, match="leases"):
        Leases(tmp_path, "c").take("a")


def test_leases_of_earlier_commands_are_removed(tmp_path):
    Leases(tmp_path, "c").take("a")
    delete_leases(tmp_path)
    delete_leases(tmp_path)
    assert list(tmp_path.iterdir()) == []
