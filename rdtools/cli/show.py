"""``rdtools show``: the tables of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, print_json, print_paired, print_tables, records


def show(
    run: Annotated[Path, typer.Argument(help="Run directory of rdtools report.")],
    paired: Annotated[bool, typer.Option("--paired", help="Print differences between methods with the same coder instead.")] = False,
    as_json: Json = False,
) -> int:
    """Print the tables of a run again; exits with 1 if some quantization failed or none could be measured."""
    from rdtools.jobs.report import all_measured
    from rdtools.jobs.show import show

    table = show(run)
    if paired:
        print_paired(table, as_json=as_json)
    elif as_json:
        print_json(records(table))
    else:
        print_tables(table)
    return 0 if all_measured(table) else 1
