"""The table of foreign files in a run: ``foreign.parquet``, the same as ``foreign.csv``, and their hashes, sealed, ``foreign.json``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import ConfigDict

from rdtools.errors import CorruptFile, UsageError, one_line
from rdtools.files import atomic_path, check_file, sha256_of_file, write_atomically
from rdtools.records.foreign_rows import FOREIGN_COLUMNS
from rdtools.runs.numbers import NUMBERS_VERSION
from rdtools.runs.run_manifest import FileEntry
from rdtools.runs.seal import UNSEALED, Sealed, read_sealed, sealed

LIST, PARQUET, CSV = "foreign.json", "foreign.parquet", "foreign.csv"
_AGAIN = f"delete {LIST} beside it, then measure the files again"


class _Listed(Sealed):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["rdtools-foreign"]
    version: Literal[1]
    created: str
    numbers: int
    files: dict[Literal["foreign.parquet", "foreign.csv"], FileEntry]


def write_foreign(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Replace the table of foreign files of a run; its list is written last.

    Raises
    ------
    OutputError
    """
    names = [column.name for column in FOREIGN_COLUMNS]
    table = table.reindex(columns=names)
    paths = [folder / PARQUET, folder / CSV]
    (folder / LIST).unlink(missing_ok=True)  # an old list must not stand beside new tables
    with atomic_path(paths[0]) as parquet, atomic_path(paths[1]) as csv:
        table.to_parquet(parquet, index=False, write_page_checksum=True)
        table.to_csv(csv, index=False)
    content = {
        "format": "rdtools-foreign",
        "version": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "numbers": NUMBERS_VERSION,
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)} for path in paths},
        "sha256": UNSEALED,
    }
    write_atomically(folder / LIST, sealed(json.dumps(content, indent=1).encode()))
    return [*paths, folder / LIST]


def has_foreign(folder: Path) -> bool:
    """True if foreign files were measured in a run."""
    return (folder / LIST).is_file()


def read_foreign(folder: Path) -> pd.DataFrame:
    """The table of foreign files of a run, without rows whose numbers are of another version of rdtools.

    Raises
    ------
    UsageError
        If no foreign file was measured there.
    CorruptFile
        If a file is missing or was altered.
    """
    if not has_foreign(folder):
        raise UsageError(
            f"{folder / LIST}: no such file; no foreign file was measured in this run yet: rdtools measure PATH --run {folder}"
        )
    listed = read_sealed(folder / LIST, _Listed, remedy=_AGAIN, other_version=_AGAIN)
    for name, entry in listed.files.items():
        try:
            check_file(folder / name, size=entry.bytes, sha256=entry.sha256)
        except CorruptFile as error:
            raise CorruptFile(f"{str(error).rpartition(';')[0]}; {_AGAIN}") from error
    try:
        table = pd.read_parquet(folder / PARQUET, engine="pyarrow", page_checksum_verification=True)
    except Exception as error:  # of damaged files pyarrow raises OSError, ValueError, KeyError, TypeError and kinds of its own
        raise CorruptFile(f"{folder / PARQUET}: not a whole Parquet file ({one_line(error)}); {_AGAIN}") from error
    return table if listed.numbers == NUMBERS_VERSION else table.iloc[:0]
