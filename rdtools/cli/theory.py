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
    from rdtools.compare import layer_columns, layer_status
    from rdtools.files import atomic_path
    from rdtools.report.rows import format_number
    from rdtools.report.tables import LAYER_COLUMNS
    from rdtools.runs.store import open_run

    opened = open_run(run)
    rows = []
    for name in opened:
        layer = opened[name]
        rows.append({**layer_columns(layer), "status": layer_status(layer)})
    table = pd.DataFrame(rows)
    if csv is not None:
        with atomic_path(csv) as scratch:
            table.to_csv(scratch, index=False)
    shown = Table()
    for heading in LAYER_COLUMNS.values():
        shown.add_column(heading, justify="left" if heading == "layer" else "right", overflow="fold")
    for values in table[list(LAYER_COLUMNS)].itertuples(index=False):
        shown.add_row(*(Text(format_number(v)) for v in values))
    PlainConsole().print(shown)
    return 0
