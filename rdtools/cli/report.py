"""``rdtools report``: the main job, from model to page; ``rdtools compare``: its tables again."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.methods import DEFAULT_METHODS, make_quantizers

Model = Annotated[str, typer.Option(help="'embedded', a local model directory or a hub id.")]
Text = Annotated[Path | None, typer.Option(help="Calibrate on this UTF-8 text.")]
TokenFile = Annotated[Path | None, typer.Option(help="Calibrate on these token ids (.npy or .safetensors).")]
Sequences = Annotated[int, typer.Option(help="Windows taken from --text.")]
Length = Annotated[int | None, typer.Option(help="Tokens in a window; by default the model's longest, at most 2048.")]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]
Device = Annotated[str, typer.Option(help="Torch device for the forward passes of the capture.")]
Out = Annotated[Path, typer.Option(help="Run directory; Hessians in it are used again if they fit.")]


def _rates(text: str) -> list[float]:
    from rdtools.errors import InvalidRate
    from rdtools.quantizers.rate_search import check_rate

    rates = []
    for part in text.split(","):
        try:
            rates.append(float(part))
        except ValueError:
            raise InvalidRate(f"--rates {text!r}: {part!r} is not a number; expected bits per weight such as 2,3,4") from None
        check_rate(rates[-1])
    return list(dict.fromkeys(rates))


def report(
    model: Model = "embedded",
    text: Text = None,
    tokens: TokenFile = None,
    sequences: Sequences = 128,
    length: Length = None,
    trust_remote_code: RemoteCode = False,
    device: Device = "cpu",
    methods: Annotated[str, typer.Option(help="Comma-separated; NAME or NAME+rotation.")] = ",".join(DEFAULT_METHODS),
    rates: Annotated[str, typer.Option(help="Target rates in bits per weight, comma-separated.")] = "2,3,4",
    damping: Annotated[
        float | None,
        typer.Option(help="Of the quantizers, relative to the mean diagonal; by default none unless H is singular."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Rotations are drawn from it.", min=0)] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one a core.", min=1)] = None,
    out: Out = Path("rdtools-report"),
) -> int:
    """Capture Hessians, compute the limits, quantize, code, measure, and write a page about it.

    Writes into the run directory: index.html, results.parquet and results.csv, curves.parquet, figures/*.png and *.pdf, and the
    Hessians with a manifest. Exits with 1 if some quantization failed.
    """
    started = time.perf_counter()
    quantizers = make_quantizers(_split(methods), _rates(rates), damping=damping)
    from rich.console import Console

    from rdtools.cli.progress import progress_bar
    from rdtools.files import sole_writer
    from rdtools.hessians.collect import CalibrationRequest, collect

    console = Console(stderr=True)
    request = CalibrationRequest(text=text, tokens=tokens, sequences=sequences, length=length)
    with sole_writer(out):
        with progress_bar("Hessians", console) as progress:
            run = collect(model, request, out=out, trust_remote_code=trust_remote_code, device=device, progress=progress)

        import pandas as pd

        from rdtools.report import write_figures, write_page
        from rdtools.sweep import default_workers, plan, run_tasks, to_table, write_results

        tasks = plan(run, quantizers, seed=seed, curve_rates=_curve_rates(max(q.rate_bits for q in quantizers)))
        run.checkpoint()  # refuse altered weights before any work
        with progress_bar("Quantize, code, measure", console) as progress:
            rows = run_tasks(tasks, workers=workers or default_workers(), progress=progress)
        place = {name: index for index, name in enumerate(run)}
        rows.results.sort(key=lambda row: place[row["layer"]])
        table, curves = to_table(rows.results), pd.DataFrame(rows.curves)
        write_results(table, curves, out)
        with progress_bar("Figures and page", console):
            figures = write_figures(table, curves, out / "figures")
            command = shlex.join(["rdtools", *sys.argv[1:]])
            page = write_page(run, table, figures, command=command, seconds=time.perf_counter() - started)
    failed = _print_tables(table)
    typer.echo(f"\n{page}")
    return 1 if failed else 0


def compare(run: Annotated[Path, typer.Argument(help="Run directory of rdtools report.")]) -> int:
    """Print the comparison tables of a run again."""
    from rdtools.sweep import read_results

    return 1 if _print_tables(read_results(run)) else 0


def _curve_rates(top: float) -> list[float]:
    """Every eighth of a bit from 0 to a little above the highest target."""
    return [eighth / 8 for eighth in range(int(8 * top) + 6)]


def _split(names: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in names.split(",")))


def _print_tables(table: object) -> int:
    """Print a table for each rate, and the rows that are not ok; returns how many quantizations failed."""
    import pandas as pd
    from rich.console import Console

    from rdtools.report import problems, terminal_table

    assert isinstance(table, pd.DataFrame)
    console = Console()
    for target in sorted(table["target_rate_bits"].unique()):
        title = f"Coded bits above the limit, codes of {target:g} bits per weight (mean over layers)"
        console.print(title, highlight=False, soft_wrap=True)
        console.print(terminal_table(table, target=target))
    other = problems(table)
    for status, rows in other.groupby("status"):
        console.print(f"{len(rows)} rows {status}, left out of all means", highlight=False)
        for row in rows.drop_duplicates(["method", "message"]).head(5).itertuples():
            line = f"  {row.layer}: {row.method} at {row.target_rate_bits:g}: {row.message}"
            console.print(line.rstrip(": "), highlight=False, markup=False, soft_wrap=True)
    return int((table["status"] == "failed").sum())
