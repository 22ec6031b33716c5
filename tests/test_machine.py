from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from rdtools import machine
from rdtools.errors import NotEnoughMemory, OutputError
from rdtools.machine import check_disk, check_memory, free_memory
from rdtools.sweep import choose_workers, worker_bytes


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A process in the control group a/b, on a machine with 10 GB free."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000_000_000))
    memberships = tmp_path / "cgroup"
    memberships.write_text("0::/a/b\n")
    return tmp_path, memberships


def _limit(folder, most, used, cache):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")


def test_memory_without_a_limit_is_that_of_the_machine(groups):
    root, memberships = groups
    assert free_memory(root / "nothing") == 10_000_000_000
    _limit(root / "a" / "b", "max", 5, 0)
    assert free_memory(memberships) == 10_000_000_000


def test_the_smallest_limit_counts_and_the_file_cache_is_free(groups):
    root, memberships = groups
    _limit(root / "a" / "b", 8_000_000_000, 1_000_000_000, 500_000_000)
    assert free_memory(memberships) == 7_500_000_000
    _limit(root / "a", 4_000_000_000, 3_000_000_000, 0)
    assert free_memory(memberships) == 1_000_000_000
    _limit(root, 3_000_000_000, 3_500_000_000, 0)
    assert free_memory(memberships) == 0


def test_limits_of_version_1(groups):
    root, memberships = groups
    memberships.write_text("5:cpu:/a\n4:memory:/job\n")
    folder = root / "memory" / "job"
    folder.mkdir(parents=True)
    for name, value in (("limit_in_bytes", 2_000_000_000), ("usage_in_bytes", 1_500_000_000), ("stat", "total_inactive_file 100000000")):
        (folder / f"memory.{name}").write_text(str(value))
    assert free_memory(memberships) == 600_000_000


def test_what_does_not_fit_is_refused_with_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 1_000_000_000)
    check_memory(1_000_000_000, "x")
    with pytest.raises(NotEnoughMemory, match=r"^capture: needs 1\.5 GB of memory, 1 GB are free"):
        check_memory(1_500_000_000, "capture")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=100 if place == tmp_path else 0))
    check_disk(tmp_path / "new" / "run", 100, "x")
    with pytest.raises(OutputError, match=r"new/run: 7 Hessians take 1\.01e-07 GB, 1e-07 GB are free; free some space"):
        check_disk(tmp_path / "new" / "run", 101, "7 Hessians")


@pytest.mark.parametrize(("free", "wanted", "workers", "words"), [
    (100, None, "cores", None),
    (2.5, None, 2, r"memory: a process takes up to 1 GB, [\d.]+ GB are free: 2 of 64 processes are started"),
    (0.5, None, 1, "1 of 64 processes are started"),
    (2.5, 5, 5, "5 may run out of it"),
    (2.5, 2, 2, None),
])  # fmt: skip
def test_the_number_of_processes_follows_from_the_memory(free, wanted, workers, words, monkeypatch):
    """A layer of 1024 × 4096: three H of 134 MB, six W of 34 MB, and the libraries."""
    run = SimpleNamespace(layers=[SimpleNamespace(shape=[4096, 1024]), SimpleNamespace(shape=[1024, 4096])])
    each = worker_bytes(run)
    assert each == 400_000_000 + 8 * (3 * 4096**2 + 6 * 1024 * 4096)
    said = []
    monkeypatch.setattr("rdtools.sweep.memory.free_memory", lambda: int(free * each))
    monkeypatch.setattr("rdtools.sweep.memory.default_workers", lambda: 64)
    assert choose_workers(Path("run"), wanted, each=each, say=said.append) == (64 if workers == "cores" else workers)
    if words is None:
        assert said == []
    else:
        assert re.search(words, said[0]), said
        assert len(said) == 1
