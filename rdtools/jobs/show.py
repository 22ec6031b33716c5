"""The contents of a run: layers, and the tables of its reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rdtools.errors import RdtoolsError
from rdtools.model.layer_names import block_index, layer_type
from rdtools.report.formats import read_compressai
from rdtools.reprs import html_table
from rdtools.runs.result_files import check_results, outdated_numbers
from rdtools.runs.results import PARQUET, read_curves, read_results
from rdtools.runs.run_manifest import LayerEntry
from rdtools.runs.store import Run
from rdtools.runs.store import open_run as open_layers


class LayerList(list[LayerEntry]):
    """Layers that a manifest lists; called, a table of them.

    Examples
    --------
    >>> LayerList([LayerEntry(name="h.0.q_proj", tensor="q", shape=[4, 2], transposed=False, hessian=0)])().to_dict("records")
    [{'layer': 'h.0.q_proj', 'layer_type': 'q_proj', 'block': 0, 'rows': 4, 'columns': 2, 'hessian': 0}]
    """

    def __call__(self) -> pd.DataFrame:
        """One row for each layer: name, type, block, shape and number of its Hessian."""
        names = ("layer", "layer_type", "block", "rows", "columns", "hessian")
        rows = [(e.name, layer_type(e.name), block_index(e.name), *e.shape, e.hessian) for e in self]
        return pd.DataFrame(rows, columns=list(names))


class ReportedRun(Run):
    """A run and the tables that its reports have made; see `rdtools.runs.store.Run` for the layers.

    Attributes
    ----------
    layers : those that the manifest lists, and ``layers()`` a table of them
    results : one row for each layer, method, rate and seed
    curves : the theory curves of every layer
    """

    @property
    def layers(self) -> LayerList:
        """Layers that the manifest lists; called, a table of them."""
        return LayerList(self.manifest.layers)

    @property
    def results(self) -> pd.DataFrame:
        """The table, read anew; raises UsageError where nothing was quantized yet."""
        return read_results(self.path)

    @property
    def curves(self) -> pd.DataFrame:
        """The curves, read anew; raises UsageError where nothing was quantized yet."""
        return read_curves(self.path)

    def _facts(self) -> list[tuple[str, object]]:
        facts = [
            ("model", self.model_name),
            ("layers", len(self)),
            ("Hessians", len(self.hessians)),
            ("tokens", self.hessians[0].n_tokens),
        ]
        return [*facts, ("results", self._results())]

    def _results(self) -> str:
        if not (self.path / PARQUET).exists():
            return "none yet"
        try:
            table = self.results
        except RdtoolsError:
            return "not to be read, see .results"
        return f"{table['method'].nunique()} methods × {table['target_bpw'].nunique()} rates"

    def __repr__(self) -> str:
        model, *counts, (_, results) = self._facts()
        return f"Run({str(self.path)!r}: {model[1]}, {', '.join(f'{count} {name}' for name, count in counts)}; results: {results})"

    def _repr_html_(self) -> str:
        return html_table(f"Run {self.path}", self._facts())


def open_run(path: str | Path) -> ReportedRun:
    """Open a run directory; raises as `rdtools.runs.store.open_run` does."""
    run = open_layers(path)
    return ReportedRun(run.path, run.manifest)


@dataclass(frozen=True, eq=False)
class Shown:
    """A table, and a sentence on it if an rdtools with other numbers made it, else ""."""

    table: pd.DataFrame
    outdated: str


def read_tables(places: Sequence[str | Path]) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Results of several runs, or curves from files of CompressAI's form, by name, and a sentence on each that is outdated.

    A name is that of the directory or file, or its whole path where two have one.

    Raises
    ------
    UsageError, CorruptFile
    """
    tables: dict[str, pd.DataFrame] = {}
    sentences: list[str] = []
    paths = [Path(path) for path in dict.fromkeys(map(str, places))]
    stems = [path.resolve().name for path in paths]
    for path, stem in zip(paths, stems, strict=True):
        name = stem if stems.count(stem) == 1 else str(path)
        if path.suffix == ".json" and not path.is_dir():
            tables[name] = read_compressai(path)
            continue
        shown = show(path)
        tables[name] = shown.table
        sentences += [shown.outdated] if shown.outdated else []
    return tables, sentences


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
