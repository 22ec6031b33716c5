"""The tables of a run again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rdtools.runs.result_files import check_results
from rdtools.sweep import read_results


def show(run: str | Path) -> pd.DataFrame:
    """The table of a run, all of whose files are as the report wrote them.

    Raises
    ------
    UsageError, CorruptFile
    """
    folder = Path(run)
    table = read_results(folder)
    check_results(folder)
    return table
