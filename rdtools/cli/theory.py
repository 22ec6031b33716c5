"""``rdtools theory``: what can be said before anything is quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def theory(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> int:
    """Spectra, incoherence, critical rates and gaps of every layer of a run; nothing is quantized."""
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

    from rdtools.cli.console import PlainConsole
    from rdtools.compare import layer_facts
    from rdtools.files import atomic_path
    from rdtools.records.rows import LAYER_COLUMNS, headings
    from rdtools.report.rows import format_number
    from rdtools.runs.store import open_run

    opened = open_run(run)
    rows = []
    for name in opened:
        facts = layer_facts(opened[name])
        rows.append({**facts.row.to_row(), "status": facts.status})
    table = pd.DataFrame(rows)
    if csv is not None:
        with atomic_path(csv) as scratch:
            table.to_csv(scratch, index=False)
    shown = Table()
    for heading in headings(LAYER_COLUMNS).values():
        shown.add_column(heading, justify="left" if heading == "layer" else "right", overflow="fold")
    for values in table[list(headings(LAYER_COLUMNS))].itertuples(index=False):
        shown.add_row(*(Text(format_number(v)) for v in values))
    PlainConsole().print(shown)
    return 0
