"""The tables of a run: ``results.parquet``, the same as ``results.csv``, and the theory curves in ``curves.parquet``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rdtools.errors import CorruptFile, UsageError, one_line
from rdtools.files import atomic_path
from rdtools.model.checkpoint import EMBEDDED
from rdtools.records.rows import COLUMNS, CURVE_COLUMNS, SCHEMA_VERSION
from rdtools.runs.result_files import RESULTS, check_results
from rdtools.runs.run_manifest import is_run, read_manifest

PARQUET = "results.parquet"
CSV = "results.csv"
CURVES = "curves.parquet"
#: The files that `write_results` writes.
TABLES = (PARQUET, CSV, CURVES)


def to_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table of all columns; infinities stay infinite and what is missing is nan."""
    names = [column.name for column in COLUMNS]
    return pd.DataFrame([{name: row.get(name, np.nan) for name in names} for row in rows], columns=names)


def write_results(table: pd.DataFrame, curves: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the three files, each whole or not at all and none before all fit; returns their paths.

    Raises
    ------
    OutputError
    """
    paths = [folder / name for name in TABLES]
    with atomic_path(paths[0]) as parquet, atomic_path(paths[1]) as csv, atomic_path(paths[2]) as points:
        table.to_parquet(parquet, index=False, write_page_checksum=True)
        table.to_csv(csv, index=False)
        curves.to_parquet(points, index=False, write_page_checksum=True)
    return paths


def read_results(folder: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """The table of a run.

    Parameters
    ----------
    folder : run directory
    columns : those that the reader needs; the table has all of its own

    Raises
    ------
    UsageError
        If the run has none yet, or one of rdtools 0.1.
    CorruptFile
        If it is not the file that ``results.json`` lists, cannot be read or lacks a column.
    """
    return _read(folder, PARQUET, ("schema_version", "layer", "method", "target_bpw", "status", *columns))


def read_curves(folder: Path) -> pd.DataFrame:
    """The theory curves of a run; raises as `read_results` does."""
    return _read(folder, CURVES, CURVE_COLUMNS)


def _anew(folder: Path) -> str:
    """The command that makes a run like this one beside it."""
    out = f"{folder.resolve()}-schema-{SCHEMA_VERSION}"
    command: list[str] = []
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # rdtools 0.1 did not keep it
        command = shlex.split(json.loads((folder / RESULTS).read_bytes())["command"])
    if command[:1] != ["rdtools"]:  # nor is a call from Python a command
        command = ["rdtools", "report"]
        if is_run(folder):
            manifest = read_manifest(folder)
            command += ["--model", manifest.model.source] if manifest.model.source != EMBEDDED else []
            command += ["--tokens", manifest.calibration.source] if Path(manifest.calibration.source).exists() else []
    if "--out" in command:
        place = command.index("--out")
        command[place : place + 2] = []
    return shlex.join([*command, "--out", out])


def refuse_other_schema(folder: Path) -> None:
    """Refuse a run whose table another version of rdtools wrote, before a report replaces it; a damaged table is not looked at.

    Raises
    ------
    UsageError
    """
    if (folder / PARQUET).is_file():
        table, _ = _open(folder / PARQUET)
        if table is not None:
            _refuse_schema(table, folder / PARQUET)


def _open(path: Path) -> tuple[pd.DataFrame | None, str]:
    """A table, or why it cannot be read."""
    try:
        return pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True), ""
    except Exception as error:  # of damaged files pyarrow raises OSError, ValueError, KeyError, TypeError and kinds of its own
        return None, one_line(error)


def _refuse_schema(table: pd.DataFrame, path: Path) -> None:
    if {"target_rate_bits", "rate_bits"} & set(table.columns):
        raise UsageError(f"{path}: columns of rdtools 0.1, which have other names now; make a new run: {_anew(path.parent)}")
    if set(table.get("schema_version", ())) - {SCHEMA_VERSION}:
        found = ", ".join(f"{v:g}" for v in sorted(set(table["schema_version"])))
        raise UsageError(f"{path}: columns of version {found}, this rdtools reads version {SCHEMA_VERSION}: {_anew(path.parent)}")


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    path = folder / name
    if not path.is_file():
        raise UsageError(f"{path}: no such file; nothing was quantized in this run yet: rdtools report --out {folder}")
    listed = (folder / RESULTS).is_file()
    if listed:
        check_results(folder, [name])
    table, problem = _open(path)
    if table is not None:
        _refuse_schema(table, path)
    if not listed:  # which a table of rdtools 0.1 is not, and is told so first
        check_results(folder, [name])
    if table is None:
        raise CorruptFile(f"{path}: not a whole Parquet file ({problem}); make it again with rdtools report")
    missing = [column for column in columns if column not in table]
    if missing:
        raise CorruptFile(f"{path}: no column {missing[0]!r}; written by another version or program: make it again with rdtools report")
    return table
