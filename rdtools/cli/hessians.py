"""``rdtools hessians``: collect, import, merge, inspect and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, in_options, note_coverage, print_json
from rdtools.cli.report import EvaluationText, EvaluationTokens, Head, Length, Model, RemoteCode, Sequences, Text, TokenFile
from rdtools.errors import counted

app = typer.Typer(help="Second moments of layer inputs.", no_args_is_help=True)


@app.command(short_help="The calibration pass alone: Hessians of every layer input")
def collect(
    out: Annotated[Path, typer.Argument(help="Run directory to write.")],
    model: Model = "embedded",
    text: Text = None,
    tokens: TokenFile = None,
    sequences: Sequences = None,
    length: Length = None,
    evaluation_text: EvaluationText = None,
    evaluation_tokens: EvaluationTokens = None,
    trust_remote_code: RemoteCode = False,
    head: Head = False,
    device: Annotated[str, typer.Option(help="Torch device for the forward passes of the capture.")] = "cpu",
    as_json: Json = False,
) -> int:
    """Run calibration data through a model and keep E[x xᵀ] of every linear layer's input."""
    from rdtools.cli.console import PlainConsole, progress_bar
    from rdtools.files import sole_writer
    from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
    from rdtools.jobs.collect import collect as collect_run
    from rdtools.runs.finished import check_run_directory

    request = CalibrationRequest(text=text, tokens=tokens, sequences=sequences, length=length)
    has_evaluation = evaluation_text is not None or evaluation_tokens is not None
    evaluation = EvaluationRequest(text=evaluation_text, tokens=evaluation_tokens) if has_evaluation else None
    check_run_directory(out)
    with sole_writer(out), progress_bar("Hessians", PlainConsole(stderr=True)) as progress:
        run = collect_run(
            model,
            request,
            out=out,
            evaluation=evaluation,
            trust_remote_code=trust_remote_code,
            device=device,
            head=head,
            say=lambda sentence: typer.echo(in_options(sentence), err=True),
            progress=progress,
        )
    made_of, coverage = run.hessians[0].n_tokens, run.manifest.model.coverage
    if as_json:
        print_json(
            {
                "run": str(out),
                "hessians": len(run.hessians),
                "layers": len(run),
                "tokens": made_of,
                "coverage": coverage,
                "notes": list(run.notes),
            }
        )
        return 0
    for note in run.notes:
        typer.echo(in_options(note))
    typer.echo(f"{out}: {counted(len(run.hessians), 'Hessian')} for {counted(len(run), 'layer')}, {counted(made_of, 'token')}")
    note_coverage(coverage)
    return 0


Format = Annotated[str | None, typer.Option(help="quip, gptq or imatrix; told by the names of the files where not given.")]
Samples = Annotated[int | None, typer.Option(help="N of GPTQ's H = (2/N) Σ x xᵀ.")]
SampleTokens = Annotated[int | None, typer.Option(help="Tokens of each sample of GPTQ's, or of each chunk of an old importance matrix.")]
#: Columns of `rdtools hessians inspect` on a terminal.
_INSPECTED = {
    "name": "input",
    "columns": "n",
    "tokens": "tokens",
    "rank": "rank",
    "mean_square": "tr H/n",
    "condition": "condition",
    "top_eigenvalue_fraction": "top λ",
    "mean_fraction": "mean",
}
_HESSIANS = "QuIP#'s directory, GPTQ's .pt or .safetensors, or an importance matrix of llama.cpp."


@app.command("import", short_help="A run from Hessians of QuIP#, GPTQ or llama.cpp")
def import_(
    path: Annotated[Path, typer.Argument(help=_HESSIANS)],
    out: Annotated[Path, typer.Argument(help="Run directory to write.")],
    model: Model = "embedded",
    format: Format = None,
    samples: Samples = None,
    sample_tokens: SampleTokens = None,
    trust_remote_code: RemoteCode = False,
    as_json: Json = False,
) -> int:
    """Make a run of Hessians that others collected, as E[x xᵀ] over tokens; of an importance matrix, the diagonal alone."""
    from rdtools.files import sole_writer
    from rdtools.jobs.hessians import import_hessians
    from rdtools.runs.finished import check_run_directory

    def say(sentence: str) -> None:
        typer.echo(in_options(sentence), err=True)

    check_run_directory(out)
    with sole_writer(out):
        run = import_hessians(
            path,
            model,
            out=out,
            format=format,
            samples=samples,
            sample_tokens=sample_tokens,
            trust_remote_code=trust_remote_code,
            say=say,
        )
    first = run.hessians[0]
    kind = "diagonal" if first.diagonal else "full"
    if as_json:
        facts = {"kind": kind, "origin": first.origin, "tokens": first.n_tokens}
        print_json({"run": str(out), "hessians": len(run.hessians), "layers": len(run), **facts})
        return 0
    typer.echo(f"{out}: {counted(len(run.hessians), 'Hessian')} ({kind}, {first.origin}), {counted(first.n_tokens, 'token')}")
    return 0


@app.command(short_help="One run from runs over different tokens")
def merge(
    runs: Annotated[list[Path], typer.Argument(help="Run directories of one model over different tokens.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory to write.")],
    as_json: Json = False,
) -> int:
    """Merge runs: the Hessians of the new run are those of all their tokens together."""
    from rdtools.files import sole_writer
    from rdtools.jobs.hessians import merge_runs
    from rdtools.runs.finished import check_run_directory

    check_run_directory(out)
    with sole_writer(out):
        run = merge_runs(runs, out=out)
    if as_json:
        print_json({"run": str(out), "hessians": len(run.hessians), "layers": len(run), "tokens": run.hessians[0].n_tokens})
        return 0
    typer.echo(f"{out}: {counted(len(run.hessians), 'Hessian')} of {counted(run.hessians[0].n_tokens, 'token')}")
    return 0


@app.command(short_help="Origin, tokens, rank and condition of every Hessian")
def inspect(
    path: Annotated[Path, typer.Argument(help=f"Run directory, or {_HESSIANS}")],
    format: Format = None,
    samples: Samples = None,
    sample_tokens: SampleTokens = None,
    as_json: Json = False,
) -> int:
    """Print origin, tokens, rank, condition and mean of every Hessian of a run or a file."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from rdtools.cli.console import PlainConsole
    from rdtools.cli.printing import records
    from rdtools.jobs.hessians import inspect_hessians
    from rdtools.report.rows import format_number
    from rdtools.report.whole_names import WholeName

    table = inspect_hessians(path, format=format, samples=samples, sample_tokens=sample_tokens)
    if as_json:
        print_json(records(table))
        return 0
    console, shown = PlainConsole(), Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    kinds = ", ".join(sorted(set(table["kind"] + ", " + table["origin"])))
    console.print(f"{path}: {counted(len(table), 'Hessian')} ({kinds})", soft_wrap=True)
    for name, heading in _INSPECTED.items():
        shown.add_column(Text(heading), overflow="fold", justify="left" if name == "name" else "right", no_wrap=name != "name")
    for values in table[list(_INSPECTED)].itertuples(index=False):
        shown.add_row(WholeName(str(values[0])), *(Text(format_number(value)) for value in values[1:]))
    console.print(shown)
    return 0


@app.command(short_help="Every file of a run against its hash")
def check(run: Annotated[Path, typer.Argument(help="Run directory.")], as_json: Json = False) -> int:
    """Compare every file of a run, and the model's, with the manifest."""
    from rdtools.runs.store import open_run

    opened = open_run(run)
    opened.check()
    heldout = opened.manifest.heldout
    held, files = 0 if heldout is None else len(heldout.hessians), len(opened.manifest.model.files)
    if as_json:
        print_json({"run": str(run), "hessians": len(opened.hessians), "heldout": held, "model_files": files})
    else:
        of = [counted(len(opened.hessians), "Hessian"), *([counted(held, "held-out moment")] if held else [])]
        typer.echo(f"{run}: {', '.join(of)} and {counted(files, 'file')} of the model are as written")
    return 0
