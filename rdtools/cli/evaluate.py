"""``rdtools eval``: perplexity and divergence of quantized models on held-out tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rdtools.cli.printing import Json, in_options, names, numbers, print_json, records
from rdtools.cli.quantize import Hessians
from rdtools.cli.report import EvaluationText, EvaluationTokens, Length, Sequences, Text, TokenFile
from rdtools.seeds import SEED_END

if TYPE_CHECKING:
    import pandas as pd

#: Column → heading and format.
_SHOWN = {
    "method": ("method", "{}"),
    "target_bpw": ("target", "{:g}"),
    "total_bpw": ("bpw", "{:.3f}"),
    "allocation": ("rates by", "{}"),
    "hessians": ("inputs", "{}"),
    "corrections": ("corrections", "{}"),
    "summed_relative_distortion": ("Σ D/D₀", "{:.4g}"),
    "expected_kl_nats": ("KL expected", "{:.3g}"),
    "expected_kl_by_slopes_nats": ("by slopes", "{:.3g}"),
    "perplexity": ("perplexity", "{:.4f}"),
    "kl_nats": ("KL (nats)", "{:.3g}"),
    "kl_p99_nats": ("KL, 99 %", "{:.3g}"),
    "kl_cvar1_nats": ("KL, worst 1 %", "{:.3g}"),
    "acceptance": ("acceptance", "{:.4f}"),
    "top1_agreement": ("top-1", "{:.4f}"),
}


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory with its Hessians, or a model saved by rdtools quantize.")],
    methods: Annotated[
        str | None, typer.Option("--methods", "--method", "-m", help="Comma-separated names; by default those of the run's reports.")
    ] = None,
    rates: Annotated[
        str | None, typer.Option("--rates", "--rate", "-r", help="Target rates in bpw, comma-separated; by default those of the reports.")
    ] = None,
    allocation: Annotated[
        str | None, typer.Option(help="Plans of `rdtools allocate`, comma-separated, in place of --methods and --rates: a row for each.")
    ] = None,
    hessians: Annotated[
        Hessians,
        typer.Option(
            help="Inputs that the quantizers see: of the original model, or of the partly quantized one, activations included, which needs "
            "the run's calibration data again."
        ),
    ] = Hessians.original,
    text: Text = None,
    tokens: TokenFile = None,
    sequences: Sequences = None,
    length: Length = None,
    corrections: Annotated[
        str,
        typer.Option(
            help="With --hessians sequential: drift, to ask of every layer for the outputs that it has in the original, not for those on "
            "the inputs that it has in the quantized model."
        ),
    ] = "",
    damping: Annotated[float | None, typer.Option(help="Of methods named by --methods, relative to the mean diagonal.")] = None,
    seed: Annotated[int, typer.Option(help="Of the run's rotations, of the noise and of the bootstrap.", min=0, max=SEED_END - 1)] = 0,
    evaluation_text: EvaluationText = None,
    evaluation_tokens: EvaluationTokens = None,
    documents: Annotated[
        str | None,
        typer.Option(help="What separates documents in the text, such as '<|endoftext|>': intervals are over these, and not over windows."),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Tokens in a window; by default the longest of model and data, at most 2048.", min=2)
    ] = None,
    windows: Annotated[int | None, typer.Option(help="At most so many windows, evenly spaced; by default all.", min=1)] = None,
    noise: Annotated[bool, typer.Option(help="A row with noise of bfloat16's rounding size in the same weights.")] = True,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="File of the original's predictions by their most probable tokens, .safetensors: written if it is not there; if it is, "
            "the original is not run. KL is then a lower bound, acceptance an upper one."
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(help="Tokens told apart in a new --reference; by default 1024.", min=1)] = None,
    device: Annotated[str, typer.Option(help="Torch device for the forward passes.")] = "cpu",
    fresh: Annotated[bool, typer.Option("--fresh", help="Make rows anew that are there.")] = False,
    as_json: Json = False,
) -> int:
    """Put the quantized layers of a run into its model, or load a saved model, and compare it with the original on held-out tokens.

    Prints perplexity, KL(original‖quantized) per token and its tail, expected acceptance and top-1 agreement; all columns, with standard
    errors and intervals over sequences, are in evaluation.parquet and evaluation.csv of the run. Finished rows are kept, and the same
    command goes on after an interrupt. Exits with 1 if a row failed.
    """
    from rdtools.cli.console import PlainConsole, progress_bar
    from rdtools.evaluation.harness import lm_eval_command
    from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
    from rdtools.jobs.evaluate import evaluate as run_evaluation
    from rdtools.runs.saved import is_saved

    console = PlainConsole(stderr=True)
    has_tokens = any(value is not None for value in (text, tokens, sequences, length))

    def stage(title: str, counted: str) -> Any:
        return progress_bar(title, console, counted=counted)

    table = run_evaluation(
        run,
        methods=None if methods is None else names(methods),
        rates=None if rates is None else numbers("--rates", rates, float, "a number; expected bits per weight such as 2,3,4"),
        allocations=() if allocation is None else names(allocation),
        hessians=hessians.value,
        calibration=CalibrationRequest(text=text, tokens=tokens, sequences=sequences, length=length) if has_tokens else None,
        corrections=corrections,
        damping=damping,
        seed=seed,
        evaluation=EvaluationRequest(text=evaluation_text, tokens=evaluation_tokens),
        documents=documents,
        window=window,
        windows=windows,
        noise=noise,
        reference=reference,
        top=top,
        device=device,
        fresh=fresh,
        say=lambda sentence: console.print(in_options(sentence), soft_wrap=True),
        stage=stage,
    )
    if as_json:
        print_json(records(table))
    else:
        _print(table)
        if is_saved(run):
            typer.echo(f"Tasks: {lm_eval_command(run, tokenizer=(run / 'tokenizer_config.json').is_file())}")
    return 1 if (table["status"] == "failed").any() else 0


def _print(table: pd.DataFrame) -> None:
    """The rows, what they are scored on, and why some failed."""
    from pandas import isna

    from rdtools.cli.console import PlainConsole
    from rdtools.report.formats import text_table

    console, first, ok = PlainConsole(), table.iloc[0], table[table["status"] == "ok"]
    original = f"; perplexity of the original {ok['perplexity_original'].iloc[0]:.4f}" if len(ok) else ""
    console.print(
        f"{first['model']}: {first['protocol']}, each token but the first of one scored, {first['scored_tokens']} tokens of "
        f"{first['evaluation']}{original}",
        soft_wrap=True,
    )
    if len(ok):
        plain = {name for name, value in (("hessians", "sequential"), ("corrections", "drift")) if not (ok[name] == value).any()}
        shown = {name: look for name, look in _SHOWN.items() if ok[name].notna().any() and name not in plain}
        columns = [["" if isna(value) else form.format(value) for value in ok[name]] for name, (_, form) in shown.items()]
        heads = [heading for heading, _ in shown.values()]
        for line in text_table(heads, list(zip(*columns, strict=True)), console.width):
            console.print(line, soft_wrap=True)
    for scope in ok["activation_scope"].dropna().unique():
        console.print(f"Methods with quantized activations: {scope}", soft_wrap=True)
    for row in ok[ok["online_maps"].notna()].to_dict("records"):
        console.print(f"{row['method']}: maps applied online: {row['online_maps']}", soft_wrap=True)
    for fused in table["fused"].dropna().unique():
        console.print(f"In the weights of the original, at no cost: {fused}", soft_wrap=True)
    for row in table[table["status"] == "failed"].to_dict("records"):
        rate = "" if row["target_bpw"] != row["target_bpw"] else f" at {row['target_bpw']:g}"
        console.print(in_options(f"{row['method']}{rate}: failed: {row['message']}"), soft_wrap=True)
