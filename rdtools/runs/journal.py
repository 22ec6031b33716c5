"""Append-only files of finished work, one for each process that writes: ``RUN/rows/<host>-<pid>-<start ns>.journal``.

A file is a sequence of records: four bytes of length, four of CRC-32, both little-endian and of the payload, and the payload, JSON in
UTF-8. Numbers survive exactly: JSON prints a float64 so that it reads back to the bit, and NaN and infinity by name. An append is one
write, a flush and an fsync, so that a record that was appended outlives the process and the machine's power.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rdtools.errors import CorruptFile, OutputError
from rdtools.files import sync_folder
from rdtools.runs.numbers import NUMBERS_VERSION

#: Folder of the journals in a run directory.
ROWS = "rows"
_SUFFIX = ".journal"
_HEADER = struct.Struct("<II")
_FIELDS = {"key", "numbers", "kind", "value"}


@dataclass(frozen=True, eq=False)
class Record:
    """A finished piece of work.

    Attributes
    ----------
    key : from `rdtools.runs.keys`
    kind : "row", a row of results, "curves", the theory curves of a layer, "verdict", that of a claim on a layer, or "evaluation", a row
        about the whole model
    value : columns by name: numbers, strings and truth values, or lists and dictionaries of them
    numbers : version of the numbers in it
    """

    key: str
    kind: Literal["row", "curves", "verdict", "evaluation"]
    value: dict[str, Any]
    numbers: int = NUMBERS_VERSION

    @property
    def failed(self) -> bool:
        """True if the work came to nothing and is worth another try."""
        return self.value.get("status") == "failed"


@dataclass(frozen=True, eq=False)
class Journal:
    """Everything that the journals of a run hold.

    Attributes
    ----------
    records : by key; of several with one key, the last
    torn : unfinished records at the ends of files, left by processes that were killed; they are ignored
    replaced : records that later ones with the same key replace
    """

    records: dict[str, Record]
    torn: int = 0
    replaced: int = 0


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a record holds numbers, strings, lists and dictionaries; got {type(value).__name__}")


def encoded(value: object) -> bytes:
    """A value as it stands in a journal: two numbers have the same bytes if they have the same bits, and any NaN those of another."""
    return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def _encode(record: Record) -> bytes:
    payload = encoded({"key": record.key, "numbers": record.numbers, "kind": record.kind, "value": record.value})
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def _payload_at(data: bytes, offset: int) -> bytes | None:
    """The payload of the record that starts here; None if there is no whole one."""
    if offset + _HEADER.size >= len(data):
        return None
    length, checksum = _HEADER.unpack_from(data, offset)
    payload = data[offset + _HEADER.size : offset + _HEADER.size + length]
    return payload if length and len(payload) == length and zlib.crc32(payload) == checksum else None


def _decode(payload: bytes, path: Path, offset: int) -> Record:
    try:
        fields = json.loads(payload)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or set(fields) != _FIELDS or not isinstance(fields["value"], dict):
        raise CorruptFile(f"{path}: the record at byte {offset} is not one of this rdtools; {_remedy(path)}")
    return Record(**fields)


def _remedy(path: Path) -> str:
    return f"delete {path.name} and run the same command again: its rows are computed again, those in other files are kept"


def _records(path: Path, data: bytes, start: int = 0) -> Iterator[tuple[Record, int]]:
    """Whole records from an offset on, each with the offset of the next."""
    while (payload := _payload_at(data, start)) is not None:
        record = _decode(payload, path, start)
        start += _HEADER.size + len(payload)
        yield record, start


def _whole_record_after(data: bytes, offset: int) -> bool:
    """True if a whole record starts anywhere behind an offset, so that what is there is not the end of a killed writer's work."""
    begin = data.find(b"{", offset + 1 + _HEADER.size)
    while begin >= 0:
        if _payload_at(data, begin - _HEADER.size) is not None:
            return True
        begin = data.find(b"{", begin + 1)
    return False


def _started(path: Path) -> tuple[int, str]:
    match = re.search(r"-(\d+)\.journal$", path.name)
    return int(match.group(1)) if match else 0, path.name


def journal_files(folder: Path) -> list[Path]:
    """The journals in a folder, in the order in which their writers started."""
    return sorted(folder.glob(f"*{_SUFFIX}"), key=_started)


def read_journals(folder: Path) -> Journal:
    """Everything that was finished by any process; nothing where there is no such folder.

    Raises
    ------
    CorruptFile
        If a record is damaged and whole ones follow it. A damaged last one is what a kill or a power failure leaves, and is ignored.
    OutputError
        If a file cannot be read.
    """
    records: dict[str, Record] = {}
    torn = replaced = 0
    for path in journal_files(folder):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise OutputError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
        offset = 0
        for record, end in _records(path, data):
            replaced += records.pop(record.key, None) is not None
            records[record.key] = record
            offset = end
        if offset < len(data):
            if _whole_record_after(data, offset):
                raise CorruptFile(f"{path}: the record at byte {offset} is damaged and others follow it; {_remedy(path)}")
            torn += 1
    return Journal(records, torn, replaced)


def delete_journals(folder: Path) -> None:
    """Remove every journal of a folder.

    Raises
    ------
    OutputError
    """
    for path in journal_files(folder):
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed: {error.strerror}; check the permissions of its folder") from error


class JournalWriter:
    """Appends records to a file of this process alone, which is made with the first of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._handle = -1

    def _open(self) -> None:
        host = re.sub(r"[^\w.]", "_", socket.gethostname()) or "host"
        self._folder.mkdir(parents=True, exist_ok=True)
        # later than every other file, even where the clock was set back: of two records with one key the later file's counts
        start = max(time.time_ns(), 1 + max((_started(path)[0] for path in journal_files(self._folder)), default=0))
        self._path = self._folder / f"{host}-{os.getpid()}-{start}{_SUFFIX}"
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        sync_folder(self._folder)

    def append(self, record: Record) -> None:
        """Append a record, durably.

        Raises
        ------
        OutputError
            If the disk is full or refuses; what was written before is kept, and no part of this record.
        """
        data = _encode(record)
        try:
            if self._path is None:
                self._open()
            end = os.fstat(self._handle).st_size
            try:
                written = os.write(self._handle, data)
                while written < len(data):  # a nearly full disk takes a part, and says why it does not take the rest
                    written += os.write(self._handle, data[written:])
                os.fsync(self._handle)
                if os.fstat(self._handle).st_nlink == 0:
                    raise FileNotFoundError(errno.ENOENT, "the run directory was removed")
            except OSError:
                os.ftruncate(self._handle, end)
                raise
        except OSError as error:
            raise OutputError(
                f"{self._path or self._folder}: cannot be written: {error.strerror}; finished rows are kept: free some space and run the "
                "same command again"
            ) from error

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class JournalTail:
    """Records that are appended to a folder's journals from now on, whoever writes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets = {path: path.stat().st_size for path in journal_files(folder)}

    def read(self) -> list[Record]:
        """Whole records since the last call."""
        fresh = []
        for path in journal_files(self._folder):
            offset = self._offsets.get(path, 0)
            if path.stat().st_size > offset:
                with path.open("rb") as file:
                    file.seek(offset)
                    data = file.read()
                for record, end in _records(path, data):
                    fresh.append(record)
                    self._offsets[path] = offset + end
        return fresh
