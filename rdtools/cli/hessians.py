"""``rdtools hessians``: collect and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, in_options, note_coverage, print_json
from rdtools.cli.report import EvaluationText, EvaluationTokens, Head, Length, Model, RemoteCode, Sequences, Text, TokenFile
from rdtools.errors import counted

app = typer.Typer(help="Second moments of layer inputs.", no_args_is_help=True)


@app.command()
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
    from rdtools.jobs.collect import check_run_directory
    from rdtools.jobs.collect import collect as collect_run

    request = CalibrationRequest(text=text, tokens=tokens, sequences=sequences, length=length)
    wanted = evaluation_text is not None or evaluation_tokens is not None
    evaluation = EvaluationRequest(text=evaluation_text, tokens=evaluation_tokens) if wanted else None
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


@app.command()
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
