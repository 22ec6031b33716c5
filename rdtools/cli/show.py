"""``rdtools show``: the tables of runs again, by other metrics and in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rdtools.cli.printing import Json, in_options, names, numbers, print_json, print_paired, print_tables, records
from rdtools.errors import UsageError, counted

if TYPE_CHECKING:
    import pandas as pd

Format = Annotated[
    str | None, typer.Option("--format", "-f", help="table, csv, latex (needs booktabs), markdown, or compressai: curves as JSON.")
]


def show(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories of rdtools report; also JSON of CompressAI's form.")
    ],
    metric: Annotated[
        str | None, typer.Option("--metric", help="gap (to R(D), one variance; default), gap-rowvar, total, sqnr, distortion or bd-rate.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", "-b", help="type (of layer; default), block or layer.")] = None,
    form: Format = None,
    methods: Annotated[str | None, typer.Option("--methods", "-m", help="Only these, comma-separated.")] = None,
    rates: Annotated[str | None, typer.Option("--rates", "-r", help="Only these target rates, comma-separated.")] = None,
    reference: Annotated[str | None, typer.Option(help="Method that bd-rate compares with; by default the first.")] = None,
    paired: Annotated[bool, typer.Option("--paired", help="Print differences between methods with the same coder instead.")] = False,
    as_json: Json = False,
) -> int:
    """Print the tables of runs again; exits with 1 if some quantization failed or none could be measured.

    Each cell is a mean over the matrices with status ok. bd-rate is the Bjøntegaard difference: by how many percent the total rate of a
    method is above that of the reference at equal SQNR, on each matrix, over all rates. Rows whose numbers another version of rdtools
    computed are not paired, and said to be such.
    """
    from rdtools.cli.console import PlainConsole
    from rdtools.jobs.report import all_measured
    from rdtools.jobs.show import read_tables

    tables, outdated = read_tables(runs)
    summarized = any(option is not None for option in (metric, by, form, methods, rates, reference)) or len(tables) > 1
    if paired and summarized:
        raise UsageError("--paired: of one run and with none of --metric, --by, --format, --methods, --rates and --reference")
    table = next(iter(tables.values()))
    for sentence in outdated:
        left_out = f"{counted(len(table), 'row')} left out: " if paired else ""
        PlainConsole(stderr=True).print(left_out + in_options(sentence), soft_wrap=True)
    complete = all(all_measured(one) for one in tables.values() if "distortion" in one)  # curves of others have none
    if paired and outdated:
        if as_json:
            print_json([])
    elif paired:
        print_paired(table, as_json=as_json)
    elif summarized or "distortion" not in table:
        print_summaries(
            tables,
            metric=metric,
            by=by,
            form=form,
            methods=None if methods is None else names(methods),
            rates=None if rates is None else numbers("--rates", rates, float, "a number; expected bits per weight such as 2,3,4"),
            reference=reference,
            as_json=as_json,
        )
    elif as_json:
        print_json(records(table))
    else:
        print_tables(table)
    return 0 if complete else 1


def print_summaries(
    tables: dict[str, pd.DataFrame],
    *,
    metric: str | None = None,
    by: str | None = None,
    form: str | None = None,
    methods: tuple[str, ...] | None = None,
    rates: tuple[float, ...] | None = None,
    reference: str | None = None,
    as_json: bool = False,
) -> None:
    """Print a metric of result tables in a format."""
    from rdtools.cli.console import PlainConsole
    from rdtools.report.formats import FORMATS, to_compressai, to_text
    from rdtools.report.summaries import caption, long_rows, summaries

    check_format(form)
    if form == "compressai":
        if metric or by or methods or rates or reference:
            raise UsageError("--format compressai: curves of every method over all rates; got another of the options that choose")
        typer.echo(to_compressai(tables), nl=False)
        return
    tables_shown = summaries(tables, metric=metric or "gap", by=by or "type", rates=rates, methods=methods, reference=reference)
    if as_json:
        print_json(
            [
                {"metric": one.name, "by": by or "type", "target_bpw": one.target, "caption": caption(one), "rows": records(long_rows(one))}
                for one in tables_shown
            ]
        )
    else:
        typer.echo(FORMATS[form](tables_shown) if form in FORMATS else to_text(tables_shown, PlainConsole().width), nl=False)


def check_format(form: str | None) -> None:
    """Refuse a format that is none, before any work.

    Raises
    ------
    UsageError
    """
    known = ("table", "csv", "latex", "markdown", "compressai")
    if form is not None and form not in known:
        raise UsageError(f"--format {form}: expected one of {', '.join(known)}")
