"""``rdtools columns``: what every column of a result table is."""

from __future__ import annotations

import json

import typer

from rdtools.cli.printing import Json


def columns(as_json: Json = False) -> int:
    """Describe every column of results.parquet, evaluation.parquet (whole models) and foreign.parquet (files of others)."""
    from rdtools.records.evaluation_row import EVALUATION_COLUMNS
    from rdtools.records.foreign_rows import FOREIGN_COLUMNS
    from rdtools.records.rows import COLUMNS, LAYER_COLUMNS, SCHEMA_VERSION

    if as_json:
        tables = {"columns": COLUMNS, "evaluation_columns": EVALUATION_COLUMNS, "foreign_columns": FOREIGN_COLUMNS}
        described = {
            table: [{key: value for key, value in column._asdict().items() if key != "heading"} for column in of]
            for table, of in tables.items()
        }
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, **described}, ensure_ascii=False, indent=1))
        return 0
    typer.echo(f"Schema {SCHEMA_VERSION}; bpw: bits per weight of the whole matrix")
    heads = {
        "\nresults.parquet\n": COLUMNS,
        "\nevaluation.parquet, whole models\n": EVALUATION_COLUMNS,
        "\nforeign.parquet, files of others, after the columns of the layer\n": FOREIGN_COLUMNS[len(LAYER_COLUMNS) :],
    }
    for head, of in heads.items():
        typer.echo(head)
        for column in of:
            typer.echo(f"{column.name} ({', '.join(filter(None, (column.kind, column.unit)))})\n    {column.meaning}")
    return 0
