"""``rdtools show``: the tables of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, in_options, print_json, print_paired, print_tables, records
from rdtools.errors import counted


def show(
    run: Annotated[Path, typer.Argument(help="Run directory of rdtools report.")],
    paired: Annotated[bool, typer.Option("--paired", help="Print differences between methods with the same coder instead.")] = False,
    as_json: Json = False,
) -> int:
    """Print the tables of a run again; exits with 1 if some quantization failed or none could be measured.

    Rows whose numbers another version of rdtools computed are not paired, and said to be such.
    """
    from rdtools.cli.console import PlainConsole
    from rdtools.jobs.report import all_measured
    from rdtools.jobs.show import show

    shown = show(run)
    table = shown.table
    if shown.outdated:
        left_out = f"{counted(len(table), 'row')} left out: " if paired else ""
        PlainConsole(stderr=True).print(left_out + in_options(shown.outdated), soft_wrap=True)
    if paired and shown.outdated:
        if as_json:
            print_json([])
    elif paired:
        print_paired(table, as_json=as_json)
    elif as_json:
        print_json(records(table))
    else:
        print_tables(table)
    return 0 if all_measured(table) else 1
