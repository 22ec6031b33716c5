"""The tables of a run: ``results.parquet``, the same as ``results.csv``, and the theory curves in ``curves.parquet``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rdtools.errors import CorruptFile, UsageError, one_line
from rdtools.files import atomic_path
from rdtools.model.tokens import embedded_source
from rdtools.records.rows import COLUMNS, CURVE_COLUMNS, SCHEMA_VERSION
from rdtools.runs.plan import PlannedMethod, read_plan
from rdtools.runs.result_files import check_results, command_of, is_current
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


#: Options of a report whose values are files.
_FILES = ("--text", "--tokens", "--evaluation-text", "--evaluation-tokens")


def _options(command: list[str]) -> list[tuple[str, list[str]]]:
    """Words of a command by option, each with its value as ``--option value``, ``--option=value`` or none."""
    options: list[tuple[str, list[str]]] = []
    for word in command:
        if word.startswith("-") or not options:
            options.append((word.partition("=")[0], [word]))
        else:
            options[-1][1].append(word)
    return options


def _as_given(folder: Path) -> list[tuple[str, list[str]]]:
    """Options of the report command that made a run, but for its place; none where the run does not say, or it was no such command."""
    try:
        command = shlex.split(command_of(folder))
    except ValueError:
        return []
    if command[:2] != ["rdtools", "report"]:  # a sweep has its place in a file, and a call from Python is no command
        return []
    return [(name, words) for name, words in _options(command) if name != "--out"]


def _anew(folder: Path) -> str:
    """Advice on how a run like this one is made beside it: the command, or words where the run does not say where its data came from."""
    out, commands = f"{folder.resolve()}-schema-{SCHEMA_VERSION}", _as_given(folder)
    if commands:
        files = [words[-1].removeprefix(f"{name}=") for name, words in commands if name in _FILES]
        missing = next((f", from where {name} is found" for name in files if not Path(name).is_file()), "")
        return f"make a new run{missing}: {shlex.join([*(word for _, words in commands for word in words), '--out', out])}"
    return f"make a new run: {_by_manifest(folder, out)}"


def _by_manifest(folder: Path, out: str, planned: Sequence[PlannedMethod] = ()) -> str:
    """The report command of a run's model, data and one planned method, or words where the run does not say where the data came from."""
    manifest = read_manifest(folder) if is_run(folder) else None
    settings = {"methods": planned[0].method, "rates": f"{planned[0].rate_bits:g}", "seeds": f"{planned[0].seed}"} if planned else {}
    if planned and planned[0].layers is not None:
        settings["layers"] = ",".join(planned[0].layers)
    if manifest is not None and manifest.calibration.source == embedded_source("calibration"):
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return shlex.join(["rdtools", "report", *(["--head"] if manifest.model.head_analysed else []), *options, "--out", out])
    model, data = ("its model", "its calibration data") if manifest is None else (manifest.model.source, manifest.calibration.source)
    further = "".join(f", {value} as `{name}`" for name, value in settings.items())
    return f"rdtools report with {model} as `model`, {data} as `text` or `tokens`{further}, and {out} as `out`"


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
        raise UsageError(f"{path}: columns of rdtools 0.1, which have other names now; {_anew(path.parent)}")
    if set(table.get("schema_version", ())) - {SCHEMA_VERSION}:
        versions = ", ".join(f"{v:g}" for v in sorted(set(table["schema_version"])))
        raise UsageError(f"{path}: columns of version {versions}, this rdtools reads version {SCHEMA_VERSION}; {_anew(path.parent)}")


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    path = folder / name
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such directory; expected the run directory of a report, see `out`")
    if not path.is_file():
        planned = read_plan(folder).methods
        why = "the report of one of its methods writes it again" if planned else "nothing was quantized in this run yet"
        raise UsageError(f"{path}: no such file; {why}: {_by_manifest(folder, str(folder), planned)}")
    listed = is_current(folder)
    if listed:
        check_results(folder, [name])
    table, problem = _open(path)
    if table is not None:
        _refuse_schema(table, path)
    if not listed:  # which a table of an earlier rdtools may not be, and is told so first
        check_results(folder, [name])
    if table is None:
        raise CorruptFile(f"{path}: not a whole Parquet file ({problem}); make it again with rdtools report")
    missing = [column for column in columns if column not in table]
    if missing:
        raise CorruptFile(f"{path}: no column {missing[0]!r}; written by another version or program: make it again with rdtools report")
    return table
