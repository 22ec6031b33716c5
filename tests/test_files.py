"""Files that are whole or not there, and errors that keep their meaning."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from rdtools.errors import OutputError
from rdtools.files import atomic_path, write_atomically


def test_no_umask_is_changed_even_for_a_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("a umask is the whole process's"))
    write_atomically(tmp_path / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"data")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", "DejaVuSans.ttf"), BrokenPipeError(32, "Broken pipe")])
def test_an_error_of_the_block_is_its_own(error, tmp_path):
    """A font that is missing is not an output directory that cannot be written to."""

    def draw():
        with atomic_path(tmp_path / "file"):
            raise error

    with pytest.raises(OSError, match=error.strerror) as caught:
        draw()
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_in_the_block_is_an_output_error(tmp_path):
    def fill():
        with atomic_path(tmp_path / "file"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"file: cannot be written: No space left on device; free some space"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_many_writers_of_one_file_leave_one_of_theirs(tmp_path):
    threads = [threading.Thread(target=write_atomically, args=(tmp_path / "file", bytes([k]) * 1000)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set((tmp_path / "file").read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
