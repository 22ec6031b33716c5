"""``rdtools columns``: what every column of a result table is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer


def columns(as_json: Annotated[bool, typer.Option("--json", help="Print records instead of text.")] = False) -> int:
    """Describe every column of results.parquet, and of foreign.parquet: unit, kind and meaning."""
    from rdtools.records.about import Column
    from rdtools.records.foreign_rows import FOREIGN_COLUMNS
    from rdtools.records.rows import COLUMNS, LAYER_COLUMNS, SCHEMA_VERSION

    def described(of: Sequence[Column]) -> list[dict[str, str]]:
        return [{key: value for key, value in column._asdict().items() if key != "heading"} for column in of]

    if as_json:
        tables = {"columns": described(COLUMNS), "foreign_columns": described(FOREIGN_COLUMNS)}
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, **tables}, ensure_ascii=False, indent=1))
        return 0
    typer.echo(f"Schema {SCHEMA_VERSION}; bpw: bits per weight of the whole matrix\n")
    foreign = FOREIGN_COLUMNS[len(LAYER_COLUMNS) :]
    for head, part in (("", COLUMNS), ("\nForeign files, after the columns of the layer:\n", foreign)):
        typer.echo(head, nl=bool(head))
        for column in part:
            typer.echo(f"{column.name} ({', '.join(filter(None, (column.kind, column.unit)))})\n    {column.meaning}")
    return 0
