"""``rdtools report``: the main job, from model to page; ``rdtools compare``: its tables again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rdtools.cli.methods import DEFAULT_METHODS, make_quantizers

if TYPE_CHECKING:
    import pandas as pd

Model = Annotated[str, typer.Option(help="'embedded', a local model directory or a hub id.")]
Text = Annotated[Path | None, typer.Option(help="Calibrate on this UTF-8 text.")]
TokenFile = Annotated[Path | None, typer.Option(help="Calibrate on these token ids (.npy or .safetensors).")]
Sequences = Annotated[int | None, typer.Option(help="Windows taken from --text; by default 128.")]
Length = Annotated[int | None, typer.Option(help="Tokens in a window of --text; by default the model's longest, at most 2048.")]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]
Device = Annotated[str, typer.Option(help="Torch device for the forward passes of the capture.")]
Out = Annotated[
    Path, typer.Option(help="Run directory; Hessians in it are used again if they fit, results of an earlier report are replaced.")
]


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
    context: typer.Context,
    model: Model = "embedded",
    text: Text = None,
    tokens: TokenFile = None,
    sequences: Sequences = None,
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
    Hessians with a manifest. Exits with 1 if some quantization failed or none could be measured.
    """
    started = time.perf_counter()
    quantizers = make_quantizers(_split(methods), _rates(rates), damping=damping)
    from rdtools.cli.console import PlainConsole, progress_bar
    from rdtools.files import sole_writer
    from rdtools.hessians.collect import CalibrationRequest, check_run_directory, collect

    console = PlainConsole(stderr=True)
    request = CalibrationRequest(text=text, tokens=tokens, sequences=sequences, length=length)
    check_run_directory(out)
    with sole_writer(out):
        with progress_bar("Hessians", console) as progress:
            run = collect(model, request, out=out, trust_remote_code=trust_remote_code, device=device, progress=progress)

        import pandas as pd

        from rdtools.curves import CURVE_COLUMNS
        from rdtools.report import PAGE, write_figures, write_page
        from rdtools.sweep import default_workers, plan, run_tasks, to_table, write_results

        tasks = plan(run, quantizers, seed=seed, curve_rates=_curve_rates(max(q.rate_bits for q in quantizers)))
        run.check()  # refuse altered files before any work
        with progress_bar("Quantize, code, measure", console) as progress:
            rows = run_tasks(tasks, workers=workers or default_workers(), progress=progress)
        place = {name: index for index, name in enumerate(run)}
        rows.results.sort(key=lambda row: place[row["layer"]])
        table, curves = to_table(rows.results), pd.DataFrame(rows.curves, columns=list(CURVE_COLUMNS))
        (out / PAGE).unlink(missing_ok=True)  # an old page must not stand beside new results
        write_results(table, curves, out)
        with progress_bar("Figures and page", console):
            figures = write_figures(table, curves, out / "figures")
            page = write_page(run, table, figures, command=str(context.obj), seconds=time.perf_counter() - started)
    code = _print_tables(table)
    for note in run.notes:
        typer.echo(f"\n{note}")
    if run.manifest.model.uncovered:
        _note_uncovered(run.manifest.model.uncovered)
    typer.echo(f"\n{page}")
    return code


def compare(run: Annotated[Path, typer.Argument(help="Run directory of rdtools report.")]) -> int:
    """Print the comparison tables of a run again."""
    from rdtools.sweep import read_results

    return _print_tables(read_results(run))


def _curve_rates(top: float) -> list[float]:
    """Every eighth of a bit from 0 to a little above the highest target."""
    return [eighth / 8 for eighth in range(int(8 * top) + 6)]


def _split(names: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in names.split(",")))


def _note_uncovered(names: list[str]) -> None:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    typer.echo(f"\nNot analysed: {len(names)} weight matrices that are not given one vector a token ({shown}); the page lists them")


def _print_tables(table: pd.DataFrame) -> int:
    """Print a table for each rate, and the rows that are not ok; returns the exit code."""
    from rdtools.cli.console import PlainConsole
    from rdtools.report import problems, terminal_table

    console = PlainConsole()
    for target in sorted(table["target_rate_bits"].unique()):
        console.print(f"Coded bits above the limit, codes of {target:g} bits per weight (mean over layers)", soft_wrap=True)
        console.print(terminal_table(table, target=target))
    for status, rows in problems(table).groupby("status"):
        console.print(f"{len(rows)} rows {status}, left out of all means")
        for row in rows.drop_duplicates(["method", "message"]).head(5).to_dict("records"):
            where = f"{row['layer']}: {row['method']} at {row['target_rate_bits']:g}"
            console.print(f"  {row['message'] or where}", soft_wrap=True)
    if "distortion" not in table or table["distortion"].isna().all():
        console.print("Nothing could be measured")
        return 1
    return 1 if (table["status"] == "failed").any() else 0
