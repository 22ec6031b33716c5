"""The contents of a run: layers, and the tables of its reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rdtools.runs.result_files import check_results, outdated_numbers
from rdtools.runs.results import read_curves, read_results
from rdtools.runs.store import Run
from rdtools.runs.store import open_run as open_layers


class ReportedRun(Run):
    """A run and the tables that its reports have made; see `rdtools.runs.store.Run` for the layers.

    Attributes
    ----------
    results : one row for each layer, method, rate and seed
    curves : the theory curves of every layer
    """

    @property
    def results(self) -> pd.DataFrame:
        """The table, read anew; raises UsageError where nothing was quantized yet."""
        return read_results(self.path)

    @property
    def curves(self) -> pd.DataFrame:
        """The curves, read anew; raises UsageError where nothing was quantized yet."""
        return read_curves(self.path)


def open_run(path: str | Path) -> ReportedRun:
    """Open a run directory; raises as `rdtools.runs.store.open_run` does."""
    run = open_layers(path)
    return ReportedRun(run.path, run.manifest)


@dataclass(frozen=True, eq=False)
class Shown:
    """A table, and a sentence on it if an rdtools with other numbers made it, else ""."""

    table: pd.DataFrame
    outdated: str


def show(run: str | Path) -> Shown:
    """The table of a run, all of whose files are as the report wrote them.

    Raises
    ------
    UsageError, CorruptFile
    """
    folder = Path(run)
    table = read_results(folder)
    check_results(folder)
    return Shown(table, outdated_numbers(folder))
