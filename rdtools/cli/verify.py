"""``rdtools verify``: every claim, checked on synthetic families, a run or the embedded model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rdtools.cli.printing import Json, Scheduler, in_options, print_json, records
from rdtools.seeds import SEED_END

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from rdtools.claims import Claim

_NAME = 36

Row = dict[str, Any]


def verify(
    run: Annotated[str | None, typer.Argument(help="Run directory, or 'embedded'; by default synthetic families.")] = None,
    claims: Annotated[
        str | None, typer.Option("--claims", "-c", help="Comma-separated names or patterns, such as 'quip.*'; by default all.")
    ] = None,
    claims_from: Annotated[
        str | None, typer.Option(help="Python file and a name in it, mine.py:CLAIMS: check these claims, too, or alone without --claims.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Everything that is drawn comes from it.", min=0, max=SEED_END - 1)] = 0,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", help="Processes on a run; by default one per core, with 0 `rdtools worker` does the work.", min=0),
    ] = None,
    scheduler: Scheduler = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Check everything again, what a run has finished too.")] = False,
    as_json: Json = False,
    summary: Annotated[bool, typer.Option("--summary", "-s", help="One line per claim instead of one per claim and layer.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Add the source and the assumptions to each line.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write all rows here, .parquet or .csv; for a run by default verification.parquet in it."),
    ] = None,
    list_claims: Annotated[bool, typer.Option("--list", help="Print the claims and stop.")] = False,
) -> int:
    """Check every claim of the theory on layers: holds, violated, not applicable and why, or failed.

    Verdicts on a run are kept as soon as they are there, and the same command goes on after an interrupt. Exits with 1 if a claim is
    violated or could not be checked.
    """
    from rdtools.cli.console import PlainConsole, progress_bar
    from rdtools.jobs.own_claims import load_claims
    from rdtools.jobs.verify import choose_claims
    from rdtools.jobs.verify import verify as verify_claims

    loaded = [] if claims_from is None else load_claims(claims_from)
    patterns = ("" if loaded else "*") if claims is None else claims
    chosen = [] if patterns == "" and loaded else choose_claims([part.strip() for part in patterns.split(",") if part.strip()])
    chosen = [*loaded, *chosen]
    if list_claims:
        _print_claims(chosen, as_json=as_json)
        return 0
    console = PlainConsole(stderr=True)
    rows: list[Row] = []
    echo = _above_bar(console)

    def each(row: Row) -> None:
        rows.append(row)
        if not (summary or as_json):
            _print_line(rows, echo, verbose=verbose)

    def stage(title: str, counted: str) -> Any:
        return progress_bar(title, console, counted=counted)

    def say(sentence: str) -> None:
        console.print(in_options(sentence), soft_wrap=True)

    table = verify_claims(
        run, claims=chosen, seed=seed, out=out, workers=workers, scheduler=scheduler, fresh=fresh, each=each, say=say, stage=stage
    )
    if as_json:
        print_json(records(table))
    else:
        if summary:
            _print_summary(table)
        _print_result(rows)
    return 1 if table["status"].isin(["violated", "failed"]).any() else 0


def _print_claims(claims: list[Claim], *, as_json: bool) -> None:
    if as_json:
        print_json([{"claim": claim.name, "statement": claim.statement, "source": str(claim.source)} for claim in claims])
        return
    for claim in claims:
        typer.echo(f"{claim.name}\n    {claim.statement}\n    {claim.source}")


def _above_bar(console: Console) -> Callable[[str], None]:
    """Print to standard output; where that is the terminal of the progress bar, above the bar."""
    if console.is_terminal and sys.stdout.isatty():
        return lambda line: console.print(line, soft_wrap=True)
    return typer.echo


def _print_line(rows: list[Row], echo: Callable[[str], None], *, verbose: bool) -> None:
    """The newest row, as soon as it is there, to be read in a terminal of any width and searched with grep."""
    if len(rows) == 1 or rows[-1]["subject"] != rows[-2]["subject"]:
        echo(f"\n{rows[-1]['subject']}")
    echo(f"  {_line(rows[-1], verbose=verbose)}")


def _print_summary(table: pd.DataFrame) -> None:
    from rdtools.claims.tightness import tightness

    sides_of = {
        row.claim: f"; tightness {row.median:.3g}, at most {row.tightest:.3g}"
        for row in tightness(table).dropna(subset="tightest").itertuples(index=False)
    }
    typer.echo("Tightness: the side that is claimed to be smaller over the other one, median and maximum over layers; 1 is tight\n")
    for claim, rows in table.groupby("claim", sort=False):
        counts = ", ".join(f"{number} {status}" for status, number in rows["status"].value_counts().items())
        first = rows.iloc[0]
        typer.echo(f"{claim:<{_NAME}} {counts}{sides_of.get(claim, '')}: {first['statement']} ({first['source']})")


def _print_result(rows: list[Row]) -> None:
    typer.echo()
    for row in rows:
        if row["status"] in ("violated", "failed"):
            typer.echo(f"{row['subject']}: {_line(row, verbose=True)}\n  {row['statement']}")
    counts = Counter(row["status"] for row in rows)
    alarms = sum(float(row["false_alarm"]) for row in rows if row["status"] in ("holds", "violated"))
    failed = f"{counts['failed']} failed, " if counts["failed"] else ""
    typer.echo(
        f"{counts['holds']} hold, {counts['violated']} violated, {failed}{counts['not applicable']} not applicable; "
        f"if every claim is true, the probability that one is called violated is at most {alarms:.1g}"
    )


def _line(row: Row, *, verbose: bool) -> str:
    head = f"{row['status']:<14} {row['claim']:<{_NAME}}"
    if row["status"] in ("not applicable", "failed"):
        return f"{head} {row['assumption']}"
    origin = f" ({row['source']}{'; ' if row['assumption'] else ''}{row['assumption']})" if verbose else ""
    sides = f"{row['lhs']:.5g} {row['relation']} {row['rhs']:.5g}"
    return f"{head} {sides:<26} margin {row['margin']:.3g} {row['unit']}{origin}"
