"""Compiled kernels whose cache is damaged or cannot be written."""

from __future__ import annotations

import os

import numba
import pytest
from rdtools.kernels import _jit


def _double(x):
    return 2 * x


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of the cache, with the function in it."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_jit, "_told", set())
    assert _jit.jit()(_double)(4) == 8
    assert {path.suffix for path in tmp_path.rglob("*.nb?")} == {".nbi", ".nbc"}
    return tmp_path


def _from_cache(compiled) -> bool:
    return sum(compiled.stats.cache_hits.values()) == 1


def test_a_whole_cache_is_used(cache, capsys):
    compiled = _jit.jit()(_double)
    assert compiled(4) == 8
    assert _from_cache(compiled)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: os.urandom(len(data))])
def test_a_damaged_cache_is_told_once_and_made_again(suffix, damage, cache, capsys):
    for path in cache.rglob(f"*{suffix}"):
        path.write_bytes(damage(path.read_bytes()))
    assert _jit.jit()(_double)(4) == 8
    error = capsys.readouterr().err
    assert error.startswith(f"rdtools: kernels are compiled anew, their cache {cache}")
    assert error.count("\n") == 1
    again = _jit.jit()(_double)
    assert again(4) == 8
    assert _from_cache(again)
    assert capsys.readouterr().err == ""


def test_a_full_disk_under_the_cache_is_told_and_the_kernel_runs(cache, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "_save_index", full)
    assert _jit.jit()(_double)(4.0) == 8.0
    assert "cannot be used (OSError: [Errno 28] No space left on device)" in capsys.readouterr().err
