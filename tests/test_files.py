"""Files that are whole or not there, and errors that keep their meaning."""

from __future__ import annotations

import os
import shutil
import stat
import threading

import pytest

from rdtools.errors import OutputError
from rdtools.files import atomic_path, sole_writer, write_atomically


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


def test_a_run_directory_that_is_removed_meanwhile_is_an_error(tmp_path):
    def write():
        with sole_writer(tmp_path / "run"):
            shutil.rmtree(tmp_path / "run")
            write_atomically(tmp_path / "run" / "index.html", b"x")

    with pytest.raises(OutputError, match="run: removed while rdtools was writing there"):
        write()


def test_a_link_out_of_a_run_is_not_followed_and_one_within_is(tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run / "figures").mkdir(parents=True)
    (run / "index.html").symlink_to("figures")
    with sole_writer(run):
        pass
    (run / "hessians").symlink_to(elsewhere)
    with pytest.raises(OutputError, match="hessians: a symbolic link that leads out of the run"), sole_writer(run):
        raise AssertionError
