"""``rdtools figures``: the figures of a run for print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, names, print_json


def figures(
    run: Annotated[Path, typer.Option("--run", help="Run directory of rdtools report, or a folder of rows.")] = Path("rdtools-report"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the files; by default figures/STYLE in the run.")] = None,
    style: Annotated[str, typer.Option("--style", help="icml, neurips, ieee or slides.")] = "icml",
    form: Annotated[str, typer.Option("--format", "-f", help="png, pdf, svg, pgf (for LaTeX), comma-separated.")] = "pdf,png",
    only: Annotated[str | None, typer.Option("--only", help="Only these figures, comma-separated.")] = None,
    as_json: Json = False,
) -> int:
    """Draw every figure whose rows a run has, with its caption, 3.25 or 6.75 inches wide; says what makes the rows of the others.

    Rows of spectra, column_rates, incoherence, proxy_loss, calibration and rate_split are made here, of the run's Hessians and weights.
    """
    from rdtools.analysis.make_all import FIGURES, QUICK
    from rdtools.jobs.figures import figures as draw

    makers = {name: lambda folder, make=FIGURES[name][0]: make([folder]) for name in QUICK}
    drawn = draw(run, out, names=() if only is None else names(only), style=style, formats=names(form), makers=makers)
    if as_json:
        print_json({"figures": {name: [str(path) for path in paths] for name, paths in drawn.files.items()}, "missing": drawn.missing})
        return 0
    for name, paths in drawn.files.items():
        typer.echo(f"{name}: {paths[0]}")
    for name, sentence in drawn.missing.items():
        typer.echo(f"{name}: not drawn, {sentence}", err=True)
    return 0
