"""The tables of a run: ``results.parquet``, the same as ``results.csv``, and the theory curves in ``curves.parquet``."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools import __version__
from rdtools.compare import LAYER_COLUMNS, RESULT_COLUMNS
from rdtools.curves import CURVE_COLUMNS
from rdtools.errors import CorruptFile, UsageError
from rdtools.files import atomic_path
from rdtools.sweep.task import Row

PARQUET = "results.parquet"
CSV = "results.csv"
CURVES = "curves.parquet"


def to_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table, with the versions that made them; infinities stay infinite and what is missing is nan."""
    table = pd.DataFrame(list(rows))
    for name in (*LAYER_COLUMNS, *RESULT_COLUMNS):
        if name not in table:  # no quantization came about
            table[name] = np.nan
    table["rdtools_version"] = __version__
    table["numpy_version"] = np.__version__
    table["python_version"] = platform.python_version()
    return table


def write_results(table: pd.DataFrame, curves: pd.DataFrame, folder: Path) -> None:
    """Write the three files, each whole or not at all.

    Raises
    ------
    OutputError
    """
    with atomic_path(folder / PARQUET) as scratch:
        table.to_parquet(scratch, index=False)
    with atomic_path(folder / CSV) as scratch:
        table.to_csv(scratch, index=False)
    with atomic_path(folder / CURVES) as scratch:
        curves.to_parquet(scratch, index=False)


def read_results(folder: Path) -> pd.DataFrame:
    """The table of a run.

    Raises
    ------
    UsageError
        If the run has none yet.
    CorruptFile
        If it cannot be read or is another table.
    """
    return _read(folder, PARQUET, ("layer", "layer_type", *RESULT_COLUMNS))


def read_curves(folder: Path) -> pd.DataFrame:
    """The theory curves of a run; raises as `read_results` does."""
    return _read(folder, CURVES, CURVE_COLUMNS)


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    path = folder / name
    if not path.is_file():
        raise UsageError(f"{path}: no such file; nothing was quantized in this run yet: rdtools report --out {folder}")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{path}: not a whole Parquet file ({error}); make it again with rdtools report") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise CorruptFile(f"{path}: no column {missing[0]!r}; written by another version or program: make it again with rdtools report")
    return table
