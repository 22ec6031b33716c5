"""``rdtools columns``: what every column of a result table is."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def columns(as_json: Annotated[bool, typer.Option("--json", help="Print records instead of a table.")] = False) -> int:
    """Describe every column of results.parquet: unit, kind and meaning."""
    from rdtools.records.rows import COLUMNS, SCHEMA_VERSION

    described = [{key: value for key, value in column._asdict().items() if key != "heading"} for column in COLUMNS]
    if as_json:
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "columns": described}, ensure_ascii=False, indent=1))
        return 0
    from rich.table import Table
    from rich.text import Text

    from rdtools.cli.console import PlainConsole

    shown = Table(box=None, padding=(0, 2, 0, 0), title=f"Schema {SCHEMA_VERSION}; bpw: bits per weight of the whole matrix")
    for heading in ("name", "unit", "kind", "meaning"):
        shown.add_column(heading, overflow="fold")
    for column in described:
        shown.add_row(*(Text(str(value)) for value in column.values()))
    PlainConsole().print(shown)
    return 0
