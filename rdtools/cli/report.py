"""``rdtools report``: the main job, from model to page; ``rdtools sweep``: the same, with its settings in a file."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rdtools.cli.printing import (
    Json,
    Scheduler,
    Words,
    in_keys,
    in_options,
    names,
    note_coverage,
    numbers,
    print_json,
    print_tables,
    records,
)
from rdtools.cli.show import Format, check_format, print_summaries
from rdtools.errors import counted
from rdtools.methods import DEFAULT_METHODS, meaning_notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rdtools.jobs.settings import ReportSettings
    from rdtools.sweep.pace import MethodTime

Model = Annotated[str, typer.Option("--model", help="'embedded', a local model directory or a hub id.")]
Text = Annotated[Path | None, typer.Option(help="Calibrate on this UTF-8 text.")]
TokenFile = Annotated[Path | None, typer.Option(help="Calibrate on these token ids (.npy or .safetensors).")]
Sequences = Annotated[int | None, typer.Option(help="Windows taken from --text; by default 128.")]
Length = Annotated[int | None, typer.Option(help="Tokens in a window of --text; by default the model's longest, at most 2048.")]
EvaluationText = Annotated[
    Path | None, typer.Option(help="Score the coded weights on this UTF-8 text as well, which calibration does not see.")
]
EvaluationTokens = Annotated[
    Path | None,
    typer.Option(help="The same on these token ids; `report` scores the embedded model on its own by default."),
]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]
Head = Annotated[bool, typer.Option("--head", help="Analyse the output head, too.")]
Device = Annotated[str, typer.Option(help="Torch device for the capture and for the methods that work on one, see rdtools methods.")]
Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", help="Run directory; Hessians and finished rows in it are used again, other methods and rates add to its table."
    ),
]
#: Names of the default methods in lines that help does not break, so that names can be copied.
_DEFAULTS = textwrap.fill(", ".join(DEFAULT_METHODS), 46, break_on_hyphens=False)
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Print what is to be done and stop; nothing is written.")]


def report(
    context: typer.Context,
    model: Model = "embedded",
    text: Text = None,
    tokens: TokenFile = None,
    sequences: Sequences = None,
    length: Length = None,
    evaluation_text: EvaluationText = None,
    evaluation_tokens: EvaluationTokens = None,
    trust_remote_code: RemoteCode = False,
    head: Head = False,
    device: Device = "cpu",
    methods: Annotated[
        str | None,
        typer.Option("--methods", "-m", help=f"Comma-separated names of `rdtools methods`; by default\n\n\b\n{_DEFAULTS}"),
    ] = None,
    rates: Annotated[str, typer.Option("--rates", "-r", help="Target rates in bits per weight, comma-separated.")] = "2,3,4",
    damping: Annotated[
        float | None,
        typer.Option(help="Of the quantizers, relative to the mean diagonal; by default none unless H is singular."),
    ] = None,
    coding: Annotated[
        str,
        typer.Option(help="exact, or sampled: an eighth of each large file is coded and checked, the rest counted by its entropy model."),
    ] = "exact",
    seeds: Annotated[str, typer.Option(help="Rotations are drawn from them, one row for each; comma-separated.")] = "0",
    layers: Annotated[str | None, typer.Option(help="Only layers whose name matches, such as '*.0.*'; comma-separated.")] = None,
    types: Annotated[str | None, typer.Option(help="Only layers of these types, such as q_proj,o_proj.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", help="Processes; by default one per core, with 0 `rdtools worker` does the work.")
    ] = None,
    scheduler: Scheduler = None,
    out: Out = Path("rdtools-report"),
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start the table over: finished rows of the run, and held-out moments of other text, are deleted."),
    ] = False,
    dry_run: DryRun = False,
    skip_infeasible: Annotated[
        bool, typer.Option("--skip-infeasible", help="Go on where a method of --methods cannot have a rate of --rates.")
    ] = False,
    form: Format = None,
    as_json: Json = False,
) -> int:
    """Capture Hessians, compute R(D), quantize, code, measure, and write a page about it.

    Writes into the run directory: index.html, results.parquet and results.csv, paired.parquet and paired.csv, curves.parquet,
    figures/*.png and *.pdf, results.json with the hashes of these, finished rows under rows/, and the Hessians with a manifest. The same
    command goes on after an interrupt and tries failed rows again. Exits with 1 if some quantization failed or none could be measured.
    """
    from rdtools.jobs.settings import ReportSettings

    settings = ReportSettings(
        model=model,
        text=text,
        tokens=tokens,
        sequences=sequences,
        length=length,
        evaluation_text=evaluation_text,
        evaluation_tokens=evaluation_tokens,
        trust_remote_code=trust_remote_code,
        head=head,
        device=device,
        methods=None if methods is None else names(methods),
        rates=numbers("--rates", rates, float, "a number; expected bits per weight such as 2,3,4"),
        damping=damping,
        coding=coding,  # type: ignore[arg-type]  # checked there
        seeds=numbers("--seeds", seeds, int, "a whole number; expected seeds such as 0,1,2"),
        layers=None if layers is None else names(layers),
        types=None if types is None else names(types),
        workers=workers,
        scheduler=scheduler,
        out=out,
        fresh=fresh,
        skip_infeasible=skip_infeasible,
    )
    return _run(settings, command=str(context.obj), dry_run=dry_run, form=form, as_json=as_json, words=in_options)


def sweep(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="TOML file whose keys are the options of rdtools report, with _ for - and lists.")],
    dry_run: DryRun = False,
    form: Format = None,
    as_json: Json = False,
) -> int:
    """The report whose settings are in a file, such as methods = ["gptq", "watersic"], rates = [2, 3], seeds = [0, 1]."""
    from rdtools.jobs.settings import read_settings

    return _run(read_settings(config), command=str(context.obj), dry_run=dry_run, form=form, as_json=as_json, words=in_keys)


def _run(settings: ReportSettings, *, command: str, dry_run: bool, form: str | None, as_json: bool, words: Words) -> int:
    from rdtools.cli.console import PlainConsole, progress_bar

    check_format(form)

    console = PlainConsole(stderr=True)
    for note in meaning_notes(DEFAULT_METHODS if settings.methods is None else settings.methods):
        console.print(note, soft_wrap=True)
    if dry_run:
        _preview(settings, words, as_json=as_json)
        return 0
    from rdtools.jobs.report import run_report

    done = run_report(
        settings,
        say=lambda sentence: console.print(words(sentence), soft_wrap=True),
        stage=lambda title, counted: progress_bar(title, console, counted=counted),
        command=command,
    )
    if as_json:
        print_json(
            {
                "run": str(settings.out),
                "page": str(done.page),
                "coverage": done.run.manifest.model.coverage,
                "notes": list(done.notes),
                "rows": records(done.table),
            }
        )
        return 0 if done.complete else 1
    if form is None:
        print_tables(done.table, words)
    else:  # standard output is what a file gets
        print_summaries({done.run.model_name: done.table}, form=form)
    for note in done.notes:
        console.print(words(note), soft_wrap=True)
    if form is not None:
        console.print(str(done.page), soft_wrap=True)
        return 0 if done.complete else 1
    note_coverage(done.run.manifest.model.coverage, words)
    typer.echo(f"\n{done.page}")
    return 0 if done.complete else 1


def _preview(settings: ReportSettings, words: Words, *, as_json: bool) -> None:
    from dataclasses import asdict

    from rdtools.jobs.plan import preview
    from rdtools.machine import in_gb

    planned = preview(settings)
    if as_json:
        print_json(asdict(planned))
        return
    state = "captured" if planned.captured else "to be captured"
    typer.echo(f"Hessians: {planned.hessians}, {planned.hessian_bytes} bytes, {state}")
    if planned.capture_bytes is not None:
        typer.echo(f"Capture: about {in_gb(planned.capture_bytes)} of memory at its peak")
    typer.echo(f"Layers: {planned.layers} of {planned.all_layers}")
    finished = planned.rows - planned.remaining_rows
    typer.echo(f"Rows: {planned.rows} asked for, {finished} already there, {planned.remaining_rows} to do in {planned.tasks} tasks")
    processes = counted(planned.workers, "process", "processes")
    typer.echo(f"Memory: up to about {in_gb(planned.memory_bytes)} at its peak, with {processes}")
    _print_times(planned.times, processes)
    for note in planned.notes:
        typer.echo(words(f"Note: {note}"))
    for pair in planned.infeasible:
        typer.echo(words(f"Infeasible: {pair}"))


#: Grounds of an estimate.
_SOURCES = {"rows": "rows of this run", "calibration": "small layers, timed now", None: "nothing, none was timed yet"}


def _minutes(minutes: float) -> str:
    return f"{minutes:.3g}" if minutes >= 0.1 else "under 0.1"


def _print_times(times: Sequence[MethodTime], processes: str) -> None:
    """A table of estimates, and their sum."""
    if not times:
        return
    total = sum(method_time.minutes or 0.0 for method_time in times)
    typer.echo(
        f"Time: about {_minutes(total)} minutes with {processes}, beside capture and page; an estimate for a machine without other work"
    )
    width = max(len(method_time.method) for method_time in times)
    typer.echo(f"  {'method':<{width}}  {'rows':>6}  {'minutes':>9}  from")
    for method_time in times:
        minutes = "unknown" if method_time.minutes is None else _minutes(method_time.minutes)
        typer.echo(f"  {method_time.method:<{width}}  {method_time.rows:>6}  {minutes:>9}  {_SOURCES[method_time.source]}")
