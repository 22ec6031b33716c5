"""``rdtools measure``: quantized checkpoints of others under a run's Hessians."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, in_options, print_json, records


def measure(
    path: Annotated[
        Path,
        typer.Argument(help="GGUF file, or directory or file of safetensors: dense, compressed-tensors (pack-quantized), GPTQ or AWQ."),
    ],
    run: Annotated[Path, typer.Option(help="Run directory of the original model.")],
    layers: Annotated[str | None, typer.Option(help="Only layers whose name matches, such as '*.0.*'; comma-separated.")] = None,
    types: Annotated[str | None, typer.Option(help="Only layers of these types, such as q_proj,o_proj.")] = None,
    as_json: Json = False,
) -> int:
    """Measure a quantized checkpoint that somebody else made: bits that it really stores, distortion, and gap to R(D).

    Rows go to foreign.parquet and foreign.csv of the run; those of the same file and layers are replaced. The next report has them on its
    page.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from rdtools.cli.console import PlainConsole, progress_bar
    from rdtools.cli.printing import names
    from rdtools.jobs.measure import measure_file
    from rdtools.report.foreign import FOREIGN_HEAD, foreign_by_type
    from rdtools.report.whole_names import WholeName

    with progress_bar("Matrices", PlainConsole(stderr=True)) as progress:
        measured = measure_file(
            path,
            run=run,
            layers=None if layers is None else names(layers),
            types=None if types is None else names(types),
            progress=progress,
        )
    if as_json:
        print_json(records(measured.table))
        return 0
    console = PlainConsole()
    console.print(FOREIGN_HEAD, soft_wrap=True)
    means = foreign_by_type(measured.table).drop(columns="file", errors="ignore")
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for heading in means.columns:
        shown.add_column(Text(str(heading)), overflow="fold", justify="left" if heading in ("type", "stored", "best here") else "right")
    for values in means.itertuples(index=False):
        shown.add_row(*map(WholeName, values))
    console.print(shown)
    for note in measured.notes:
        console.print(in_options(note), soft_wrap=True)
    left_out = measured.table[measured.table["status"] != "ok"]
    for row in left_out.head(5).itertuples(index=False):
        console.print(f"{row.layer}: {row.status}: {in_options(str(row.message))}", soft_wrap=True)
    return 0
