from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from rdtools.errors import OutputError
from rdtools.runs.array_files import write_arrays


def test_a_file_is_what_the_library_makes_of_the_arrays(tmp_path, rng):
    arrays = {"matrix": rng.standard_normal((3, 5)).T, "mean": rng.standard_normal(4)}
    written = write_arrays(tmp_path / "new" / "a.safetensors", arrays, {"about": "x"})
    data = (tmp_path / "new" / "a.safetensors").read_bytes()
    assert data == save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"about": "x"})
    assert written == (len(data), hashlib.sha256(data).hexdigest())
    assert all((load_file(tmp_path / "new" / "a.safetensors")[name] == array).all() for name, array in arrays.items())


def test_no_copy_of_an_array_is_made(tmp_path):
    array = np.zeros(2**20)
    tracemalloc.start()
    write_arrays(tmp_path / "a.safetensors", {"a": array})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 8  # digests read the file by 256 KiB


def test_a_disk_that_refuses_leaves_nothing_and_says_so(tmp_path, monkeypatch):
    def full(*arguments):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("rdtools.runs.array_files.save_file", full)
    with pytest.raises(OutputError, match=r"a\.safetensors: cannot be written: .*No space left.*free some space"):
        write_arrays(tmp_path / "a.safetensors", {"a": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []
