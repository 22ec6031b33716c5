"""The figures of a run, or of rows that are kept in a folder, in a style and formats for print."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rdtools.errors import OutputError, UsageError
from rdtools.evaluation.noise import NOISE
from rdtools.evaluation.power_law import with_power_law
from rdtools.files import write_atomically
from rdtools.jobs import evaluate, verify
from rdtools.jobs.arguments import path_of
from rdtools.report.claims_table import read_verdicts
from rdtools.runs.results import CURVES, PARQUET, read_curves, read_results
from rdtools.runs.run_manifest import is_run, read_manifest

if TYPE_CHECKING:
    from rdtools.runs.run_manifest import Manifest

#: Name of a figure → its rows of a run directory.
Makers = Mapping[str, Callable[[Path], pd.DataFrame]]


@dataclass(frozen=True)
class DrawnFigures:
    """Files that `figures` wrote, and the reasons why it left something out.

    Attributes
    ----------
    files : of each figure, by name: one for each format, and the caption
    missing : a sentence for each figure that has no rows: what makes them
    """

    files: dict[str, list[Path]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class NoRows(Exception):
    """No rows, with a sentence on what makes them."""


def _results(folder: Path) -> pd.DataFrame:
    return _kept(folder, "results") if not (folder / PARQUET).is_file() else read_results(folder)


def _curves(folder: Path) -> pd.DataFrame:
    return _kept(folder, "curves") if not (folder / CURVES).is_file() else read_curves(folder)


def _verdicts(folder: Path) -> pd.DataFrame:
    if not (folder / verify.VERDICTS).is_file():
        return _kept(folder, "verdicts")
    verdicts = read_verdicts(folder / verify.VERDICTS, verify.VERDICT_VERSIONS)
    if verdicts.reason:
        raise NoRows(verdicts.reason)
    return verdicts.table


def _evaluation(folder: Path) -> pd.DataFrame:
    path = folder / evaluate.PARQUET
    if not path.is_file():
        return _kept(folder, "equal_footing")
    table = pd.read_parquet(path)
    rows = table[table["status"].eq("ok") & table["allocation"].isna()]
    measured = rows[rows["method"] != NOISE]
    of_original = measured[measured["hessians"] == "original"]  # else of a saved model, or of a run without such rows
    shown = measured if of_original.empty else of_original
    if shown.empty:
        raise NoRows(f"{path} has no row of one method and rate with status ok")
    on = ["protocol", "evaluation", "scored_tokens"]
    groups = shown.groupby([*on, "hessians", "corrections"], dropna=False)
    _, shown = max(groups, key=lambda group: len(group[1]))  # of several tokens or ways of quantizing, those of most rows
    floor = rows[rows["method"] == NOISE].merge(shown[on].drop_duplicates(), on=on)
    return with_power_law(pd.concat([floor, shown], ignore_index=True))


#: Table → how it is read from a folder, and the command whose output it is.
_TABLES: dict[str, tuple[Callable[[Path], pd.DataFrame], str]] = {
    "results": (_results, "rdtools report --out {run}"),
    "curves": (_curves, "rdtools report --out {run}"),
    "verdicts": (_verdicts, "rdtools verify {run}"),
    "equal_footing": (_evaluation, "rdtools eval {run}"),
}
#: Tables that a module of their own writes.
_MODULES = {
    "bench": "python -m rdtools.analysis.bench --out {rows}/bench.csv",
    "default_model_loss": "python -m rdtools.analysis.train_default_model --curve {rows}/default_model_loss.csv",
}
_OTHERS = "python -m rdtools.analysis.make_all --run {run} --out {rows} --only {name}"


def _kept(folder: Path, name: str) -> pd.DataFrame:
    """Rows in ``NAME.csv`` of the folder, or of its figures."""
    path = next((path for path in (folder / f"{name}.csv", folder / "figures" / f"{name}.csv") if path.is_file()), None)
    if path is not None:
        return pd.read_csv(path)
    command = _TABLES[name][1] if name in _TABLES else _MODULES.get(name, _OTHERS)
    run, rows = (shlex.quote(str(path)) for path in (folder, folder / "figures"))
    raise NoRows(f"{folder} has no rows of it: {command.format(run=run, rows=rows, name=name)} makes them")


def read_table(name: str, folder: Path, makers: Makers) -> pd.DataFrame:
    """A table that figures draw, by name, of a run or a folder of rows.

    Raises
    ------
    NoRows
        With a sentence on what makes it, where the folder has none.
    CorruptFile
    """
    if name in _TABLES:
        return _TABLES[name][0](folder)
    if name in makers and is_run(folder):
        return makers[name](folder)
    return _kept(folder, name)


def _check_columns(module: Any, tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Refuse results of which only some columns are kept, unless the figure needs no other."""
    lacking = [name for name in module.READS if name not in tables["results"]] if module.TABLES[0] == "results" else []
    if lacking:
        raise NoRows(f"the results in {folder} have no column {lacking[0]}, which those of rdtools report have")


def layer_count(rows: pd.DataFrame) -> int:
    """Number of layers in rows: named, counted by an evaluation, or that claims were checked on; else of kinds of synthetic ones."""
    if "layers" in rows:
        return int(rows["layers"].max())
    column = next((name for name in ("layer", "subject", "channels", "beta", "group", "hessian") if name in rows), None)
    return 0 if column is None else len(rows[[name for name in ("model", column) if name in rows]].drop_duplicates())


def figures(
    run: Any,
    out: str | Path | None = None,
    *,
    names: Sequence[str] = (),
    style: str = "icml",
    formats: Sequence[str] = ("pdf", "png"),
    captions: bool = True,
    makers: Makers | None = None,
) -> DrawnFigures:
    """Draw the figures whose rows a run has, each as a file per format with a caption in ``NAME.txt`` beside it.

    Nothing is measured: a figure without rows is left out, with a sentence on what makes them. The same rows give the same bytes.

    Parameters
    ----------
    run : run directory of a report, or a folder of rows such as ``figures/`` of the repository
    out : folder of the files; by default ``figures/STYLE`` in the run
    names : of figures; all by default
    style : icml, neurips, ieee or slides
    formats : png, pdf, svg, and pgf for LaTeX documents
    captions : write them, too
    makers : rows that are made here, by figure, where `run` is a run

    Raises
    ------
    UsageError
        For a name, style or format that is not known, a folder that is not there, a figure asked for by name that has no rows, or none.
    CorruptFile, OutputError
    """
    from rdtools.report.figures import MODULES, draw_figure, save_figure
    from rdtools.report.figures.canvas import check_formats, styled
    from rdtools.report.style import STYLES

    folder = path_of("figures", run, "a run, such as 'rdtools-report'")
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such directory; expected the run directory of a report, or a folder of rows")
    if not is_run(folder) and not any(any(folder.glob(f"{prefix}*.{kind}")) for prefix in ("", "figures/") for kind in ("csv", "parquet")):
        raise UsageError(f"{folder}: no run and no rows in it; expected the run directory of a report, or a folder of rows")
    for chosen, known, kind in ((names, MODULES, "figure"), ((style,), STYLES, "style")):
        for name in chosen:
            if name not in known:
                raise UsageError(f"{kind} {name!r}, expected one of {', '.join(known)}")
    check_formats(formats)
    target = folder / "figures" / style if out is None else Path(out)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be made: {error.strerror}; choose another place for `out`") from error
    manifest: Manifest | None = read_manifest(folder) if is_run(folder) else None
    drawn = DrawnFigures()
    with styled(style):
        for name in names or MODULES:
            module = MODULES[name]
            try:
                tables = {table: read_table(table, folder, makers or {}) for table in module.TABLES}
                _check_columns(module, tables, folder)
            except NoRows as reason:
                drawn.missing[name] = str(reason)
                continue
            save_figure(draw_figure(name, tables), target / name, formats)
            drawn.files[name] = [target / f"{name}.{kind}" for kind in formats]
            if captions:
                text = module.CAPTION.plain(layers=layer_count(tables[module.TABLES[0]]), run=manifest)
                drawn.files[name].append(target / f"{name}.txt")
                write_atomically(drawn.files[name][-1], f"{module.CAPTION.title}. {text}\n".encode())
    if (names and drawn.missing) or not drawn.files:
        raise UsageError("; ".join(f"{name}: {sentence}" for name, sentence in list(drawn.missing.items())[:3]))
    return drawn
