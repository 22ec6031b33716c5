"""``results.json``: size and hash of every file of a report, written last, so that files of two reports are not taken for one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict

from rdtools.errors import CorruptFile, RdtoolsError
from rdtools.files import sha256_of_file, write_atomically
from rdtools.runs.numbers import NUMBERS_VERSION
from rdtools.runs.plan import PLAN
from rdtools.runs.run_manifest import FileEntry
from rdtools.runs.seal import UNSEALED, Sealed, read_sealed, sealed, version_of, version_read

#: File name in a run directory.
RESULTS = "results.json"
_AGAIN = "run the same rdtools report command again: finished rows are kept"


def write_manifest(folder: Path, files: Iterable[Path], *, versions: Mapping[str, str], command: str, made_of: str = "") -> Path:
    """Write ``results.json`` over these files of the run directory, all of which are there.

    Parameters
    ----------
    folder : run directory
    files : of the report
    versions : of the libraries behind it
    command : that made it
    made_of : hash of everything that the files depend on: while it is the same, they need not be made again

    Raises
    ------
    OutputError
    """
    listed = {path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)} for path in sorted(files)}
    content = {
        "format": "rdtools-results",
        "version": 2,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "numbers": NUMBERS_VERSION,
        "versions": dict(versions),
        "command": command,
        "made_of": made_of,
        "files": listed,
        "sha256": UNSEALED,
    }
    path = folder / RESULTS
    write_atomically(path, sealed(json.dumps(content, indent=1).encode()))
    return path


def _listed(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name.isprintable():
        raise ValueError(f"{name!r} is not a file of the run")
    return name


class _Results(Sealed):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["rdtools-results"]
    version: Literal[2]
    created: str
    numbers: int
    versions: dict[str, str]
    command: str
    made_of: str = ""
    files: dict[Annotated[str, AfterValidator(_listed)], FileEntry]


def _read(folder: Path) -> _Results:
    path = folder / RESULTS
    if not path.is_file():
        raise CorruptFile(f"{path}: missing: the report did not finish, or is of an older rdtools; {_AGAIN}")
    last = command_of(folder)
    commands = f"commands again, the last of which was {last}" if last else "rdtools report commands again"
    remedy = f"delete {PLAN} beside it and give your {commands}: finished rows of the same numbers are kept"
    return read_sealed(path, _Results, remedy=_AGAIN, other_version=remedy)


def command_of(folder: Path) -> str:
    """The command or call that made the report of a run; "" where the run does not say, whichever rdtools wrote it."""
    try:
        return str(json.loads((folder / RESULTS).read_bytes())["command"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # rdtools 0.1 did not keep it
        return ""


def is_current(folder: Path) -> bool:
    """True if a run has a ``results.json`` that is not of another rdtools."""
    return (folder / RESULTS).is_file() and version_of(folder / RESULTS, _Results) == version_read(_Results)


def outdated_numbers(folder: Path) -> str:
    """A sentence on the tables of a run if an rdtools with other numbers made them; "" if they have those of this one.

    Raises
    ------
    CorruptFile
    """
    rows = _read(folder)
    if rows.numbers == NUMBERS_VERSION:
        return ""
    return (
        f"{folder}: its rows have numbers of version {rows.numbers}, this rdtools computes version {NUMBERS_VERSION}; give your commands "
        f"again, the last of which was {rows.command}: the calibration pass is kept"
    )


def unchanged_files(folder: Path, made_of: str) -> dict[str, Path] | None:
    """The files of the report in a run directory, by name, if they are made of this and all whole; else None."""
    try:
        content = _read(folder)
        if content.made_of != made_of:
            return None
        check_results(folder)
    except (RdtoolsError, OSError):
        return None
    return {name: folder / name for name in content.files}


def check_results(folder: Path, names: Iterable[str] | None = None) -> None:
    """Compare files of a report with ``results.json``; all that it lists unless some are named.

    Raises
    ------
    CorruptFile
        Naming the file, and whether it is missing, truncated, or older or otherwise another than the one listed.
    """
    files = _read(folder).files
    for name in files if names is None else names:
        path = folder / name
        entry = files.get(name)
        if entry is None or not path.is_file():
            raise CorruptFile(f"{path}: missing, or not of the report that {RESULTS} lists; {_AGAIN}")
        size = path.stat().st_size
        if size < entry.bytes:
            raise CorruptFile(f"{path}: {size} bytes, expected {entry.bytes}: truncated or of an older report; {_AGAIN}")
        if sha256_of_file(path) != entry.sha256:
            raise CorruptFile(f"{path}: not the file that {RESULTS} lists: altered, or of an older or unfinished report; {_AGAIN}")
