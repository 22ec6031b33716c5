"""``rdtools columns``: what every column of a result table is."""

from __future__ import annotations

import json

import typer

from rdtools.cli.printing import Json


def columns(as_json: Json = False) -> int:
    """Describe every column of results.parquet: unit, kind and meaning."""
    from rdtools.records.rows import COLUMNS, SCHEMA_VERSION

    described = [{key: value for key, value in column._asdict().items() if key != "heading"} for column in COLUMNS]
    if as_json:
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "columns": described}, ensure_ascii=False, indent=1))
        return 0
    typer.echo(f"Schema {SCHEMA_VERSION}; bpw: bits per weight of the whole matrix\n")
    for column in COLUMNS:
        typer.echo(f"{column.name} ({', '.join(filter(None, (column.kind, column.unit)))})\n    {column.meaning}")
    return 0
