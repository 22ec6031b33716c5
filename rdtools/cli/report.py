"""``rdtools report``: the main job, from model to page; ``rdtools compare``: its tables again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rdtools.cli.selection import InputGroup, input_groups, select_layers
from rdtools.methods import DEFAULT_METHODS, infeasible_pairs, make_quantizers, meaning_notes

if TYPE_CHECKING:
    import pandas as pd

    from rdtools.quantizers import Quantizer

Model = Annotated[str, typer.Option(help="'embedded', a local model directory or a hub id.")]
Text = Annotated[Path | None, typer.Option(help="Calibrate on this UTF-8 text.")]
TokenFile = Annotated[Path | None, typer.Option(help="Calibrate on these token ids (.npy or .safetensors).")]
Sequences = Annotated[int | None, typer.Option(help="Windows taken from --text; by default 128.")]
Length = Annotated[int | None, typer.Option(help="Tokens in a window of --text; by default the model's longest, at most 2048.")]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]
Device = Annotated[str, typer.Option(help="Torch device for the forward passes of the capture.")]
Out = Annotated[
    Path, typer.Option(help="Run directory; Hessians and finished rows in it are used again, other methods and rates add to its table.")
]
MAX_SEED = 2**32 - 1


def _rates(text: str) -> list[float]:
    from rdtools.errors import InvalidRate
    from rdtools.quantizers.search.rate import check_rate

    rates = []
    for part in text.split(","):
        try:
            rates.append(float(part))
        except ValueError:
            raise InvalidRate(f"--rates {text!r}: {part!r} is not a number; expected bits per weight such as 2,3,4") from None
        check_rate(rates[-1])
    return sorted(dict.fromkeys(rates))


def report(
    context: typer.Context,
    model: Model = "embedded",
    text: Text = None,
    tokens: TokenFile = None,
    sequences: Sequences = None,
    length: Length = None,
    trust_remote_code: RemoteCode = False,
    device: Device = "cpu",
    methods: Annotated[
        str | None, typer.Option(help=f"Comma-separated names of `rdtools methods`; by default {','.join(DEFAULT_METHODS)}.")
    ] = None,
    rates: Annotated[str, typer.Option(help="Target rates in bits per weight, comma-separated.")] = "2,3,4",
    damping: Annotated[
        float | None,
        typer.Option(help="Of the quantizers, relative to the mean diagonal; by default none unless H is singular."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Rotations are drawn from it.", min=0, max=MAX_SEED)] = 0,
    layers: Annotated[str | None, typer.Option(help="Only layers whose name matches, such as '*.0.*'; comma-separated.")] = None,
    types: Annotated[str | None, typer.Option(help="Only layers of these types, such as q_proj,o_proj.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one a core.", min=1)] = None,
    out: Out = Path("rdtools-report"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start the table over: finished rows of the run are deleted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is to be done and stop; nothing is written.")] = False,
    skip_infeasible: Annotated[
        bool, typer.Option("--skip-infeasible", help="Go on where a method of --methods cannot have a rate of --rates.")
    ] = False,
) -> int:
    """Capture Hessians, compute R(D), quantize, code, measure, and write a page about it.

    Writes into the run directory: index.html, results.parquet and results.csv, curves.parquet, figures/*.png and *.pdf, results.json with
    the hashes of these, finished rows under rows/, and the Hessians with a manifest. The same command goes on after an interrupt and
    tries failed rows again. Exits with 1 if some quantization failed or none could be measured.
    """
    started = time.perf_counter()
    names = list(DEFAULT_METHODS) if methods is None else _split(methods)
    quantizers = make_quantizers(names, _rates(rates), damping=damping)
    infeasible = infeasible_pairs(quantizers)
    if infeasible and methods is not None and not skip_infeasible and not dry_run:
        from rdtools.errors import UsageError

        raise UsageError(f"{'; '.join(infeasible)}; or go on without with --skip-infeasible")
    from rdtools.cli.console import PlainConsole, progress_bar
    from rdtools.files import sole_writer
    from rdtools.jobs.collect import CalibrationRequest, check_run_directory, collect
    from rdtools.runs.plan import read_plan
    from rdtools.sweep import planned_methods

    console = PlainConsole(stderr=True)
    for note in meaning_notes(names):
        console.print(note, soft_wrap=True)
    request = CalibrationRequest(text=text, tokens=tokens, sequences=sequences, length=length)
    check_run_directory(out)
    if not fresh:
        read_plan(out).extended(planned_methods(quantizers, seed=seed))  # refused before the capture if it must be
    chosen = None
    if dry_run or layers is not None or types is not None:
        groups = input_groups(out, model, trust_remote_code=trust_remote_code, device=device)
        chosen = select_layers([name for group in groups for name in group.layers], patterns=layers, types=types)
        if dry_run:
            return _preview(out, groups, quantizers, infeasible, seed=seed, layers=chosen, fresh=fresh)
    for pair in infeasible:
        console.print(f"infeasible: {pair}", soft_wrap=True)
    with sole_writer(out):
        with progress_bar("Hessians", console) as progress:
            run = collect(model, request, out=out, trust_remote_code=trust_remote_code, device=device, progress=progress)

        from rdtools.report import PAGE, write_figures, write_page
        from rdtools.report.style import SAVE_METADATA
        from rdtools.runs.result_files import write_manifest
        from rdtools.runs.results import write_results
        from rdtools.sweep import default_workers, run_sweep

        run.check()  # refuse altered files before any work
        with progress_bar("Quantize, code, measure", console, counted="rows") as progress:
            swept = run_sweep(
                run,
                quantizers,
                seed=seed,
                workers=workers or default_workers(),
                layers=chosen,
                fresh=fresh,
                say=lambda sentence: console.print(sentence, soft_wrap=True),
                progress=progress,
            )
        files = write_results(swept.table, swept.curves, out)
        (out / PAGE).unlink(missing_ok=True)  # an old page must not stand beside new results
        with progress_bar("Figures and page", console):
            figures = write_figures(swept.table, swept.curves, out / "figures")
            page = write_page(run, swept.table, figures, command=str(context.obj), seconds=time.perf_counter() - started)
        files += [page, *(path.with_suffix(f".{kind}") for path in figures.values() for kind in SAVE_METADATA)]
        write_manifest(out, files, versions=run.manifest.versions, command=str(context.obj))
    code = _print_tables(swept.table)
    for note in (*run.notes, *swept.notes):
        console.print(note, soft_wrap=True)
    if run.manifest.model.uncovered:
        _note_uncovered(run.manifest.model.uncovered)
    typer.echo(f"\n{page}")
    return 1 if swept.failed_curves else code


def compare(run: Annotated[Path, typer.Argument(help="Run directory of rdtools report.")]) -> int:
    """Print the comparison tables of a run again."""
    from rdtools.runs.result_files import check_results
    from rdtools.runs.results import read_results

    table = read_results(run)
    check_results(run)
    return _print_tables(table)


def _preview(
    out: Path,
    groups: Sequence[InputGroup],
    quantizers: Sequence[Quantizer],
    infeasible: Sequence[str],
    *,
    seed: int,
    layers: Sequence[str] | None,
    fresh: bool,
) -> int:
    """Print what a command would do."""
    from rdtools.runs.run_manifest import is_run
    from rdtools.runs.store import open_run
    from rdtools.sweep import agenda

    wanted = [[name for name in group.layers if layers is None or name in layers] for group in groups]
    rows = left = sum(map(len, wanted)) * len(quantizers)
    tasks = sum(map(bool, wanted))
    captured = is_run(out)
    if captured:
        todo = agenda(open_run(out), quantizers, seed=seed, layers=layers, fresh=fresh)
        rows, left, tasks = todo.rows, todo.rows_left, len(todo.left)
    size = sum(group.hessian_bytes for group in groups)
    typer.echo(f"Hessians: {len(groups)}, {size} bytes, {'captured' if captured else 'to be captured'}")
    typer.echo(f"Layers: {sum(map(len, wanted))} of {sum(len(group.layers) for group in groups)}")
    typer.echo(f"Rows: {rows} asked for, {rows - left} already there, {left} to do in {tasks} tasks")
    for pair in infeasible:
        typer.echo(f"Infeasible: {pair}")
    return 0


def _split(names: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in names.split(",")))


def _note_uncovered(names: list[str]) -> None:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    typer.echo(f"\nNot analysed: {len(names)} weight matrices that are not given one vector a token ({shown}); the page lists them")


def _print_tables(table: pd.DataFrame) -> int:
    """Print a table for each rate, and the rows that are not ok; returns the exit code."""
    from rdtools.cli.console import PlainConsole
    from rdtools.report import problems, terminal_note, terminal_table

    console = PlainConsole()
    for target in sorted(table["target_bpw"].unique()):
        console.print(f"Total rate above R(D) in bpw at a target of {target:g} bpw: {terminal_note(table)}", soft_wrap=True)
        console.print(terminal_table(table, target=target))
    for status, rows in problems(table).groupby("status"):
        console.print(f"{len(rows)} rows {status}, left out of all means")
        for row in rows.drop_duplicates(["method", "message"]).head(5).to_dict("records"):
            where = f"{row['layer']}: {row['method']} at {row['target_bpw']:g}"
            console.print(f"  {row['message'] or where}", soft_wrap=True)
    if "distortion" not in table or table["distortion"].isna().all():
        console.print("Nothing could be measured")
        return 1
    return 1 if (table["status"] == "failed").any() else 0
