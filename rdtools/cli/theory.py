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
    from rdtools.cli.console import PlainConsole
    from rdtools.files import atomic_path
    from rdtools.jobs.theory import theory
    from rdtools.records.rows import LAYER_COLUMNS, headings
    from rdtools.report.formats import text_table
    from rdtools.report.rows import format_number
    from rdtools.report.summaries import short_name
    from rdtools.report.tables import LAYER_HEAD

    table = theory(run)
    if csv is not None:
        with atomic_path(csv) as scratch:
            table.to_csv(scratch, index=False)
    failed = table[table["status"] == "failed"]
    if as_json:
        print_json(records(table))
        return 1 if len(failed) else 0
    console = PlainConsole()
    console.print(LAYER_HEAD)
    head = headings(LAYER_COLUMNS)
    short = table.assign(layer=[short_name(name) for name in table["layer"]])
    if short["layer"].duplicated().any():
        short = table
    cells = [[format_number(v) for v in values] for values in short[list(head)].itertuples(index=False)]
    for line in text_table(list(head.values()), cells, console.width):
        console.print(line, soft_wrap=True)
    for layer in table[table["nearly_dead_columns"] > 0].itertuples(index=False):
        console.print(
            f"{layer.layer}: {layer.nearly_dead_columns:g} of {layer.columns} inputs have an energy below 1e-8 of the median; R_c leaves "
            "them out",
            soft_wrap=True,
        )
    for layer in failed.itertuples(index=False):
        console.print(f"{layer.layer}: failed: {layer.message}", soft_wrap=True)
    return 1 if len(failed) else 0
