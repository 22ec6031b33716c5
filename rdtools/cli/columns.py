"""``rdtools columns``: what every column of a result table is."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def columns(as_json: Annotated[bool, typer.Option("--json", help="Print records instead of text.")] = False) -> int:
    """Describe every column of results.parquet, and of evaluation.parquet of whole models: unit, kind and meaning."""
    from rdtools.records.evaluation_row import EVALUATION_COLUMNS
    from rdtools.records.rows import COLUMNS, SCHEMA_VERSION

    tables = {"columns": COLUMNS, "evaluation_columns": EVALUATION_COLUMNS}
    if as_json:
        described = {
            table: [{key: value for key, value in column._asdict().items() if key != "heading"} for column in of]
            for table, of in tables.items()
        }
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, **described}, ensure_ascii=False, indent=1))
        return 0
    typer.echo(f"Schema {SCHEMA_VERSION}; bpw: bits per weight of the whole matrix\n")
    for table, of in tables.items():
        if table == "evaluation_columns":
            typer.echo("\nevaluation.parquet, whole models\n")
        for column in of:
            typer.echo(f"{column.name} ({', '.join(filter(None, (column.kind, column.unit)))})\n    {column.meaning}")
    return 0
