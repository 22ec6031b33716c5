"""``rdtools verify``: every claim, checked on synthetic families, a run or the embedded model."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from rdtools.claims import Claim
    from rdtools.moments.layer import Layer
    from rdtools.runs.store import Run

EMBEDDED = "embedded"
VERDICTS = "verification.parquet"
_NAME = 36

Row = dict[str, Any]


def verify(
    run: Annotated[str | None, typer.Argument(help="Run directory, or 'embedded'; by default synthetic families.")] = None,
    claims: Annotated[str, typer.Option(help="Comma-separated names or patterns, such as 'quip.*'.")] = "*",
    seed: Annotated[int, typer.Option(help="Everything that is drawn comes from it.", min=0, max=2**32 - 1)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of records instead of tables.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="One line per claim instead of one per claim and layer.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Add the source and the assumptions to each line.")] = False,
    out: Annotated[Path | None, typer.Option(help=f"Write all rows here, .parquet or .csv; for a run by default {VERDICTS} in it.")] = None,
    list_claims: Annotated[bool, typer.Option("--list", help="Print the claims and stop.")] = False,
) -> int:
    """Check every claim of the theory on layers: holds, violated, not applicable and why, or failed.

    Exits with 1 if a claim is violated or could not be checked.
    """
    chosen = _chosen(claims)
    if list_claims:
        _print_claims(chosen, as_json=as_json)
        return 0
    if out is not None:
        _check_writable(out)
    import pandas as pd
    from threadpoolctl import threadpool_limits

    from rdtools.claims import verify as verdicts
    from rdtools.claims import verify_counterexample
    from rdtools.cli.console import PlainConsole, progress_bar

    console = PlainConsole(stderr=True)
    rows: list[Row] = []
    lines = not (summary or as_json)
    echo = _above_bar(console)
    # many small products: more threads than one were seen to wait for each other more than they work
    with _layers(run, seed, console) as (count, layers), progress_bar("Verify", console) as progress, threadpool_limits(1):
        if out is None and run not in (None, EMBEDDED):
            out = Path(str(run)) / VERDICTS
            _check_writable(out)
        for verdict in verdicts(layers, claims=chosen, seed=seed):
            rows.append(verdict.to_row())
            if lines:
                _print_line(rows, echo, verbose=verbose)
            progress(len(rows), count * len(chosen))
    for verdict in verify_counterexample(chosen) if run is None else ():
        rows.append(verdict.to_row())
        if lines:
            _print_line(rows, typer.echo, verbose=verbose)
    table = pd.DataFrame(rows)
    if as_json:
        typer.echo(json.dumps([{k: _plain(v) for k, v in row.items()} for row in rows], indent=1, ensure_ascii=False))
    else:
        if summary:
            _print_summary(table)
        _print_result(rows)
    if out is not None:
        _write(table, out)
    return 1 if any(row["status"] in ("violated", "failed") for row in rows) else 0


def _chosen(patterns: str) -> list[Claim]:
    from rdtools.claims import CLAIMS
    from rdtools.errors import UsageError

    wanted = [part.strip() for part in patterns.split(",") if part.strip()]
    chosen = [claim for claim in CLAIMS if any(fnmatch.fnmatchcase(claim.name, pattern) for pattern in wanted)]
    for pattern in wanted:
        if not fnmatch.filter([claim.name for claim in chosen], pattern):
            raise UsageError(f"--claims {pattern!r}: no claim of this name; rdtools verify --list prints all {len(CLAIMS)}")
    if not chosen:
        raise UsageError(f"--claims {patterns!r}: expected a name or a pattern such as 'quip.*'")
    return chosen


@contextlib.contextmanager
def _layers(run: str | None, seed: int, console: Console) -> Iterator[tuple[int, list[Layer] | Run]]:
    """The number of layers, and the layers."""
    if run is None:
        from rdtools.claims import synthetic_layers

        families = synthetic_layers(seed=seed)
        yield len(families), families
        return
    from rdtools.runs.store import open_run

    if run != EMBEDDED:
        opened = open_run(run)
        yield len(opened), opened
        return
    import tempfile

    from rdtools.cli.console import progress_bar
    from rdtools.jobs.collect import CalibrationRequest, collect

    with tempfile.TemporaryDirectory(prefix="rdtools-") as scratch:
        request = CalibrationRequest()
        with progress_bar("Hessians", console) as progress:
            opened = collect(EMBEDDED, request, out=Path(scratch) / "run", trust_remote_code=False, device="cpu", progress=progress)
        yield len(opened), opened


def _plain(value: str | float) -> str | float | None:
    """JSON knows neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_writable(out: Path) -> None:
    """Find out before the work, not after it, whether its result can be kept."""
    from rdtools.errors import OutputError, UsageError

    if out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out {out}: expected a name that ends in .parquet or .csv")
    folder = out.absolute().parent
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(f"{out}: cannot be written: expected a file in a folder that exists and may be written to; choose another --out")


def _write(table: pd.DataFrame, out: Path) -> None:
    from rdtools.files import atomic_path

    with atomic_path(out) as scratch:
        if out.suffix == ".csv":
            table.to_csv(scratch, index=False)
        else:
            table.to_parquet(scratch, index=False)


def _print_claims(claims: list[Claim], *, as_json: bool) -> None:
    if as_json:
        records = [{"claim": claim.name, "statement": claim.statement, "source": str(claim.source)} for claim in claims]
        typer.echo(json.dumps(records, indent=1, ensure_ascii=False))
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
    for claim, rows in table.groupby("claim", sort=False):
        counts = ", ".join(f"{number} {status}" for status, number in rows["status"].value_counts().items())
        first = rows.iloc[0]
        typer.echo(f"{claim:<{_NAME}} {counts}: {first['statement']} ({first['source']})")


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
