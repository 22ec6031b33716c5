"""``rdtools quantize``: a whole model, saved as a checkpoint beside its coded files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rdtools.cli.printing import Json, in_options, print_json
from rdtools.cli.report import Device, Length, Model, RemoteCode, Sequences, Text, TokenFile
from rdtools.corrections.table import CORRECTIONS
from rdtools.seeds import SEED_END

_CORRECTIONS = "Comma-separated corrections of WaterSIC, or all: " + "; ".join(f"{one.name}: {one.what}" for one in CORRECTIONS) + "."


class Hessians(StrEnum):
    """Values of --hessians."""

    sequential = "sequential"
    original = "original"


def quantize(
    save: Annotated[Path, typer.Option("--save", "-o", help="Directory that is made: checkpoint, coded files, quantization.json.")],
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="A name of `rdtools methods`, of one that leaves activations alone.")
    ] = None,
    bits: Annotated[float | None, typer.Option(help="Target rate in bits per weight.")] = None,
    allocation: Annotated[
        Path | None, typer.Option(help="A plan of `rdtools allocate`, in place of --method and --bits: those of every layer.")
    ] = None,
    model: Model = "embedded",
    trust_remote_code: RemoteCode = False,
    hessians: Annotated[
        Hessians, typer.Option(help="Inputs that the quantizer sees: of the partly quantized model, or of the original one.")
    ] = Hessians.sequential,
    corrections: Annotated[str, typer.Option(help=_CORRECTIONS)] = "",
    text: Text = None,
    tokens: TokenFile = None,
    sequences: Sequences = None,
    length: Length = None,
    damping: Annotated[float | None, typer.Option(help="Of the quantizer, relative to the mean diagonal.")] = None,
    export: Annotated[
        str | None,
        typer.Option(help="compressed-tensors: also write DIR/compressed-tensors, integers packed for plain transformers and vLLM."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Rotations are drawn from it.", min=0, max=SEED_END - 1)] = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> int:
    """Quantize a whole model block by block, and save a bfloat16 checkpoint that plain transformers loads.

    The coded files, whose bytes are the reported rate, stand beside it and decode to it to the bit; embedding, output head and norms are
    the original's. layers.csv has the distortion of every layer before and after its rounding to bfloat16. Everything is made in
    DIR.unfinished and renamed at the end; the same command goes on after an interrupt. `rdtools eval DIR` compares it with the original.
    """
    from rdtools.cli.console import PlainConsole, progress_bar
    from rdtools.jobs.calibration import CalibrationRequest
    from rdtools.jobs.export import check_export, export_saved
    from rdtools.jobs.quantize import quantize_model
    from rdtools.jobs.recipes import weight_recipe

    console = PlainConsole(stderr=True)
    if export is not None:
        check_export(export, weight_recipe(method, bits, allocation, damping))

    def stage(title: str, counted: str) -> Any:
        return progress_bar(title, console, counted=counted)

    saved = quantize_model(
        model,
        method,
        bits,
        save,
        allocation=allocation,
        hessians=hessians.value,
        corrections=corrections,
        damping=damping,
        seed=seed,
        calibration=CalibrationRequest(text=text, tokens=tokens, sequences=sequences, length=length),
        trust_remote_code=trust_remote_code,
        device=device,
        say=lambda sentence: console.print(in_options(sentence), soft_wrap=True),
        stage=stage,
    )
    if export is not None:
        export_saved(save, say=lambda sentence: console.print(in_options(sentence), soft_wrap=True))
    relative, rounded = (
        sum(getattr(entry, name) for entry in saved.layers) for name in ("relative_distortion", "rounded_relative_distortion")
    )
    plan = saved.allocation
    if plan is not None and saved.total_bpw > plan.bits:
        console.print(f"{saved.total_bpw:.4f} bpw, above the plan's budget of {plan.bits:g}: the Hessians are not those of the plan")
    if as_json:
        shown = {"save": str(save), "total_bpw": saved.total_bpw, "weights": saved.weights, "summed_relative_distortion": relative}
        print_json({**shown, "rounded_summed_relative_distortion": rounded, **saved.model_dump()})
        return 0
    typer.echo(
        f"{saved.original.name}: {len(saved.layers)} layers of {saved.weights:,} weights by {saved.method}, Hessians: {saved.hessians}"
        f"{''.join(f', {name}' for name in saved.corrections)}; "
        f"coded files {saved.total_bpw:.4f} bpw\n"
        f"Σ D/D₀ {relative:.6g}, after the rounding to bfloat16 {rounded:.6g}\n"
        f"{save}"
    )
    return 0
