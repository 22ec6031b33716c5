"""The tables of a run: ``results.parquet``, the same as ``results.csv``, and the theory curves in ``curves.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.compare import LAYER_COLUMNS, RESULT_COLUMNS
from rdtools.compare.curves import CURVE_COLUMNS
from rdtools.errors import CorruptFile, UsageError
from rdtools.files import atomic_path
from rdtools.runs.result_files import check_results
from rdtools.sweep.task import VERSIONS, Row

PARQUET = "results.parquet"
CSV = "results.csv"
CURVES = "curves.parquet"
#: The files that `write_results` writes.
TABLES = (PARQUET, CSV, CURVES)

_COLUMNS = (*LAYER_COLUMNS, *RESULT_COLUMNS, "seconds", *VERSIONS)


def to_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table of all columns; infinities stay infinite and what is missing is nan."""
    return pd.DataFrame([{name: row.get(name, np.nan) for name in _COLUMNS} for row in rows], columns=list(_COLUMNS))


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


def read_results(folder: Path) -> pd.DataFrame:
    """The table of a run.

    Raises
    ------
    UsageError
        If the run has none yet.
    CorruptFile
        If it is not the file that ``results.json`` lists, cannot be read or is another table.
    """
    return _read(folder, PARQUET, ("layer", "layer_type", *RESULT_COLUMNS))


def read_curves(folder: Path) -> pd.DataFrame:
    """The theory curves of a run; raises as `read_results` does."""
    return _read(folder, CURVES, CURVE_COLUMNS)


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    path = folder / name
    if not path.is_file():
        raise UsageError(f"{path}: no such file; nothing was quantized in this run yet: rdtools report --out {folder}")
    check_results(folder, [name])
    try:
        table = pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True)
    except Exception as error:  # of damaged files pyarrow raises OSError, ValueError, KeyError, TypeError and kinds of its own
        raise CorruptFile(f"{path}: not a whole Parquet file ({error}); make it again with rdtools report") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise CorruptFile(f"{path}: no column {missing[0]!r}; written by another version or program: make it again with rdtools report")
    return table
