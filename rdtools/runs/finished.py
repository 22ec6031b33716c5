"""The Hessians that an unfinished capture has written, so that the same capture goes on where it stopped.

    hessians/finished.jsonl    what is captured, then one line per Hessian on disk; removed once the manifest is written

A line is a JSON object ``{"crc32": …, "entry": …}``, appended and synced after its Hessian is. A torn or altered line ends the list: what
comes after it is captured again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rdtools.errors import CorruptFile, OutputError, UsageError
from rdtools.files import LOCK, PART, RUN_NAMES, check_file, write_atomically
from rdtools.runs.run_manifest import HELDOUT, HESSIANS, HessianEntry, is_run

LIST = "finished.jsonl"
FINISHED = f"{HESSIANS}/{LIST}"

#: What must agree for the Hessians of two captures to be the same, by the name that a message gives it.
Fingerprint = Mapping[str, Any]


def check_run_directory(out: Path) -> None:
    """Refuse a place that holds something else than a run: finished, begun by `collect`, or with parts deleted.

    Raises
    ------
    UsageError
    """
    if is_run(out) or not out.exists():
        return
    if out.is_dir():
        names = {path.name for path in out.iterdir() if not path.name.endswith(PART)}
        begun = LOCK in names or (out / FINISHED).is_file()
        if not names or (begun and names <= RUN_NAMES):
            return
    raise UsageError(f"{out}: exists and is not a run of rdtools; choose another directory")


def different(old: Fingerprint, new: Fingerprint) -> list[str]:
    """Names of what differs between two fingerprints."""
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def checked_line(entry: Mapping[str, Any]) -> bytes:
    """A line of a list, with the CRC-32 of its entry."""
    text = json.dumps(entry, sort_keys=True)
    return json.dumps({"crc32": zlib.crc32(text.encode()), "entry": entry}, sort_keys=True).encode() + b"\n"


def append_line(place: Path, entry: Mapping[str, Any]) -> None:
    """Add a line to a list; on return it is on disk.

    Raises
    ------
    OutputError
    """
    try:
        with place.open("ab") as file:
            file.write(checked_line(entry))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{place}: cannot be written: {error.strerror}; free some space, then run again") from error


def checked_entries(data: bytes) -> list[dict[str, Any]]:
    """Entries up to the first line that is not as it was written."""
    entries = []
    for line in data.splitlines(keepends=True):
        try:
            entry = json.loads(line)["entry"]
        except (ValueError, KeyError, TypeError):
            break
        if not isinstance(entry, dict) or checked_line(entry) != line:
            break
        entries.append(entry)
    return entries


class FinishedHessians:
    """Hessians of one capture that are whole on disk.

    Parameters
    ----------
    run : the run directory
    fingerprint : of the capture that is to go on
    folder : of the files

    Raises
    ------
    UsageError
        If the directory holds Hessians of an unfinished capture of something else; the message names the difference.
    """

    def __init__(self, run: Path, fingerprint: Fingerprint, *, folder: str = HESSIANS) -> None:
        self._run = run
        self._place = run / folder / LIST
        self._fingerprint = dict(fingerprint)
        self.entries: dict[str, HessianEntry] = {}
        if not self._place.is_file():
            return
        head, *rest = checked_entries(self._place.read_bytes()) or [{}]
        names = different(head, fingerprint)
        if folder == HELDOUT and names == ["evaluation tokens"]:
            rest = []  # nothing finished is lost
        elif rest and names:
            raise UsageError(
                f"{run}: holds {len(rest)} Hessians of an unfinished capture with other {' and '.join(names)}; "
                f"choose another directory, or delete {run / folder if folder == HELDOUT else 'this one'}"
            )
        for record in rest:
            entry = self._whole(record)
            if entry is not None:
                self.entries[entry.name] = entry
        self._rewrite()

    def _whole(self, record: dict[str, Any]) -> HessianEntry | None:
        """The entry of a record whose Hessian is on disk as it was written, else None."""
        try:
            entry = HessianEntry.model_validate(record)
            check_file(self._run / entry.file, size=entry.bytes, sha256=entry.sha256)
        except (ValidationError, CorruptFile):
            return None
        return entry

    def _rewrite(self) -> None:
        lines = [checked_line(self._fingerprint), *(checked_line(entry.model_dump()) for entry in self.entries.values())]
        write_atomically(self._place, b"".join(lines))

    def begin(self) -> None:
        """Write down what is captured, before the first Hessian is written."""
        if not self._place.is_file():
            if self.entries:
                raise OutputError(f"{self._run}: removed while a capture was writing there; what was written is lost: run again")
            self._rewrite()

    def add(self, entry: HessianEntry) -> None:
        """Note a Hessian that is on disk; on return the note is, too.

        Raises
        ------
        OutputError
        """
        append_line(self._place, entry.model_dump())
        self.entries[entry.name] = entry

    def remove(self) -> None:
        """Drop the list, once a manifest says the same."""
        self._place.unlink(missing_ok=True)
