"""Journals of finished rows: exact, durable, and clear about damage."""

from __future__ import annotations

import math
import os
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdtools.errors import CorruptFile, OutputError
from rdtools.runs import journal
from rdtools.runs.journal import JournalTail, JournalWriter, Record, delete_journals, journal_files, read_journals


def _write(folder, *records):
    writer = JournalWriter(folder)
    for record in records:
        writer.append(record)
    writer.close()


def _rows(count):
    return [Record(f"key{index}", "row", {"status": "ok", "value": index / 7}) for index in range(count)]


def _sizes(path):
    data, sizes = path.read_bytes(), []
    while data:
        size = 8 + struct.unpack("<I", data[:4])[0]
        sizes.append(size)
        data = data[size:]
    return sizes


@given(st.dictionaries(st.text(), st.one_of(st.floats(allow_nan=False), st.integers(-(2**53), 2**53), st.booleans(), st.text())))
def test_values_come_back_to_the_bit(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("rows")
    _write(folder, Record("k", "row", value))
    back = read_journals(folder).records["k"].value
    assert back == value
    assert {name: type(v) for name, v in back.items()} == {name: type(v) for name, v in value.items()}
    assert [math.copysign(1, v) for v in back.values() if isinstance(v, float)] == [
        math.copysign(1, v) for v in value.values() if isinstance(v, float)
    ]


def test_nan_infinity_and_numpy_numbers_survive(tmp_path):
    value = {"nan": math.nan, "inf": -math.inf, "f8": np.float64(0.1), "f4": np.float32(0.1), "i": np.int64(3), "b": np.bool_(True)}
    _write(tmp_path, Record("k", "row", value))
    back = read_journals(tmp_path).records["k"].value
    assert math.isnan(back["nan"])
    assert back["inf"] == -math.inf
    assert (back["f8"], back["f4"], back["i"], back["b"]) == (0.1, float(np.float32(0.1)), 3, True)
    assert isinstance(back["b"], bool)


def test_arrays_are_no_values(tmp_path):
    with pytest.raises(TypeError, match="ndarray"):
        _write(tmp_path, Record("k", "row", {"a": np.zeros(2)}))


def test_of_several_records_with_one_key_the_last_counts(tmp_path):
    _write(tmp_path, Record("k", "row", {"n": 1}), Record("k", "row", {"n": 2}))
    assert read_journals(tmp_path).records["k"].value == {"n": 2}
    _write(tmp_path, Record("k", "row", {"n": 3}))
    assert len(journal_files(tmp_path)) == 2
    assert read_journals(tmp_path).replaced == 2
    assert read_journals(tmp_path).records["k"].value == {"n": 3}


def test_a_later_file_counts_though_the_clock_was_set_back(tmp_path, monkeypatch):
    _write(tmp_path, Record("k", "row", {"n": 1}))
    monkeypatch.setattr(journal.time, "time_ns", lambda: 5)
    _write(tmp_path, Record("k", "row", {"n": 2}))
    assert read_journals(tmp_path).records["k"].value == {"n": 2}


def test_a_record_torn_anywhere_is_dropped_and_counted(tmp_path):
    """Every prefix of a file: what was whole is there, the rest is not, and nothing is refused."""
    _write(tmp_path, *_rows(3))
    (path,) = journal_files(tmp_path)
    whole, ends = path.read_bytes(), np.cumsum([0, *_sizes(path)])
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        found = read_journals(tmp_path)
        assert len(found.records) == np.searchsorted(ends, size, side="right") - 1
        assert found.torn == (size not in ends)


def test_zeros_behind_the_last_record_are_what_a_power_failure_leaves(tmp_path):
    _write(tmp_path, *_rows(2))
    (path,) = journal_files(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(100))
    assert (len(read_journals(tmp_path).records), read_journals(tmp_path).torn) == (2, 1)


def test_any_flipped_bit_before_the_last_record_is_named(tmp_path):
    """In the length, the checksum or the payload: file, offset and a remedy that works."""
    _write(tmp_path, *_rows(3))
    _write(tmp_path, Record("other", "row", {}))
    path, _ = journal_files(tmp_path)
    whole, first = path.read_bytes(), _sizes(path)[0]
    for bit in range(8 * first, 8 * (first + 40)):  # the second of three
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(data))
        with pytest.raises(CorruptFile, match=f"byte {first} is damaged.*delete {path.name}") as caught:
            read_journals(tmp_path)
        assert str(path) in str(caught.value)
    path.unlink()
    assert set(read_journals(tmp_path).records) == {"other"}


@pytest.mark.parametrize("payload", [b"no json", b"[1]", b'{"key": 1}'])
def test_a_whole_record_of_another_program_is_refused(payload, tmp_path):
    import zlib

    (tmp_path / "a-1-1.journal").write_bytes(struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
    with pytest.raises(CorruptFile, match="byte 0 is not one of this rdtools"):
        read_journals(tmp_path)


def test_a_full_disk_keeps_what_was_written_and_nothing_of_the_rest(tmp_path, monkeypatch):
    writer = JournalWriter(tmp_path)
    writer.append(_rows(1)[0])
    real = os.write

    def half(handle, data):
        if len(data) > 20:
            return real(handle, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "write", half)
    with pytest.raises(OutputError, match=r"No space left on device.*finished rows are kept"):
        writer.append(Record("second", "row", {"text": "x" * 5}))
    monkeypatch.undo()
    writer.append(Record("third", "row", {}))
    found = read_journals(tmp_path)
    assert (set(found.records), found.torn) == ({"key0", "third"}, 0)


def test_every_append_is_synced_before_it_returns(tmp_path, monkeypatch):
    events = []
    real_write, real_sync = os.write, os.fsync
    monkeypatch.setattr(journal.os, "write", lambda *a: (events.append("write"), real_write(*a))[1])
    monkeypatch.setattr(journal.os, "fsync", lambda h: (events.append("sync"), real_sync(h))[1])
    writer = JournalWriter(tmp_path)
    writer.append(_rows(1)[0])
    assert events[-2:] == ["write", "sync"]


def test_a_record_for_a_directory_that_was_removed_is_an_error(tmp_path):
    """Its file is still open, and takes what nobody can read."""
    journal = JournalWriter(tmp_path / "rows")
    journal.append(Record("a", "row", {}))
    shutil.rmtree(tmp_path / "rows")
    with pytest.raises(OutputError, match="the run directory was removed"):
        journal.append(Record("b", "row", {}))
    journal.close()


def test_a_tail_sees_what_is_appended_after_it_began(tmp_path):
    _write(tmp_path, *_rows(1))
    tail = JournalTail(tmp_path)
    assert tail.read() == []
    writer = JournalWriter(tmp_path)
    writer.append(Record("new", "row", {}))
    assert [record.key for record in tail.read()] == ["new"]
    assert tail.read() == []


def test_no_folder_is_no_rows_and_deleting_takes_journals_alone(tmp_path):
    assert read_journals(tmp_path / "none").records == {}
    _write(tmp_path, *_rows(1))
    (tmp_path / "notes.txt").write_text("mine")
    delete_journals(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
