"""``rdtools theory``: what can be said before anything is quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, print_json, records


def theory(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
    as_json: Json = False,
) -> int:
    """Spectra, incoherence, critical rates and gaps of every layer of a run; nothing is quantized. Exit 1 if a layer has none."""
    from rich.table import Table
    from rich.text import Text

    from rdtools.cli.console import PlainConsole
    from rdtools.files import atomic_path
    from rdtools.jobs.theory import theory
    from rdtools.records.rows import LAYER_COLUMNS, headings
    from rdtools.report.rows import format_number
    from rdtools.report.tables import LAYER_HEAD

    table = theory(run)
    if csv is not None:
        with atomic_path(csv) as scratch:
            table.to_csv(scratch, index=False)
    failed = table[table["status"] == "failed"]
    if as_json:
        print_json(records(table))
        return 1 if len(failed) else 0
    shown = Table()
    for heading in headings(LAYER_COLUMNS).values():
        shown.add_column(heading, justify="left" if heading == "layer" else "right", overflow="fold")
    for values in table[list(headings(LAYER_COLUMNS))].itertuples(index=False):
        shown.add_row(*(Text(format_number(v)) for v in values))
    console = PlainConsole()
    console.print(LAYER_HEAD)
    console.print(shown)
    for layer in table[table["nearly_dead_columns"] > 0].itertuples(index=False):
        console.print(
            f"{layer.layer}: {layer.nearly_dead_columns:g} of {layer.columns} inputs have an energy below 1e-8 of the median; R_c leaves "
            "them out",
            soft_wrap=True,
        )
    for layer in failed.itertuples(index=False):
        console.print(f"{layer.layer}: failed: {layer.message}", soft_wrap=True)
    return 1 if len(failed) else 0
