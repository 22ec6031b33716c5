"""``rdtools allocate``: a plan that shares a budget of bytes out among the layers of a run."""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from rdtools.cli.printing import Json, in_options, names, print_json
from rdtools.cli.report import Device, Length, Sequences, Text, TokenFile
from rdtools.seeds import SEED_END


class Rules(StrEnum):
    """Values of --rule."""

    equal = "equal"
    uniform = "uniform"
    relative = "relative"
    kl = "kl"


class Sources(StrEnum):
    """Values of --source."""

    measured = "measured"
    predicted = "predicted"
    bound = "bound"


#: Beside a KL that is expected without slopes, of a plan that gives layers other shares than the rows did.
UNWEIGHTED = ", as of one rate for all layers: which layers the plan takes bits from is not in it; --slopes measures what each is worth"


def allocate(
    run: Annotated[Path, typer.Argument(help="Run directory of a report that quantized every layer at two rates or more.")],
    bits: Annotated[float, typer.Option(help="Budget in total bits per weight over all layers, scales and models included.")],
    methods: Annotated[
        str | None,
        typer.Option("--methods", "--method", "-m", help="Names that layers may have, comma-separated; by default all of the run."),
    ] = None,
    rule: Annotated[
        Rules, typer.Option(help="What is least: Σ m n D (uniform), Σ D/D₀ (relative), Σ slope of KL · D/D₀ (kl); or one rate (equal).")
    ] = Rules.kl,
    source: Annotated[
        Sources, typer.Option(help="Of distortions: the run's rows, their prediction at finite rate, or the layers' R(D).")
    ] = Sources.measured,
    slopes: Annotated[bool, typer.Option("--slopes", help="Measure slopes of KL for the KL expected, whatever the rule.")] = False,
    text: Text = None,
    tokens: TokenFile = None,
    sequences: Sequences = None,
    length: Length = None,
    windows: Annotated[int, typer.Option(help="Windows of the calibration tokens that slopes are measured on, at most.", min=1)] = 32,
    check: Annotated[bool, typer.Option(help="Quantize layers at rates that the run has no rows of: sizes are those of files.")] = True,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Plan file; by default RUN/allocations/BITS-RULE-SOURCE.json.")] = None,
    seed: Annotated[int, typer.Option(help="Of the run's rotations.", min=0, max=SEED_END - 1)] = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> int:
    """Share a budget out among the layers of a run: files of at most so many bits per weight together, and at least 99.8 % of that.

    Each layer gets a method and a rate of the run's rows or, of an entropy-coded method, any rate between them, so that the sum over layers
    of the loss that --rule names is least. Slopes of KL are measured one layer at a time on the tokens of --text or --tokens, which should
    not be those that a test is on. The plan is a file for `rdtools eval RUN --allocation` and `rdtools quantize --allocation`; the KL that
    it expects comes from a power law through the rows of `rdtools eval RUN`.
    """
    from rdtools.cli.console import PlainConsole, progress_bar
    from rdtools.jobs.allocate import allocate as run_allocation
    from rdtools.jobs.calibration import CalibrationRequest
    from rdtools.model.layer_names import layer_type

    console = PlainConsole(stderr=True)

    def stage(title: str, counted: str) -> Any:
        return progress_bar(title, console, counted=counted)

    plan = run_allocation(
        run,
        bits,
        methods=None if methods is None else names(methods),
        rule=rule.value,
        source=source.value,
        slopes=slopes,
        seed=seed,
        tokens=CalibrationRequest(text=text, tokens=tokens, sequences=sequences, length=length),
        windows=windows,
        check=check,
        out=out,
        device=device,
        say=lambda sentence: console.print(in_options(sentence), soft_wrap=True),
        stage=stage,
    )
    if as_json:
        print_json({"total_bpw": plan.total_bpw, "summed_relative_distortion": plan.summed_relative_distortion, **plan.model_dump()})
        return 0
    of = defaultdict(list)
    for entry in plan.layers:
        of[layer_type(entry.layer)].append(entry)
    shown = PlainConsole()
    shown.print(f"{plan.model}: {len(plan.layers)} layers, {plan.total_bpw:.5f} of {plan.bits:g} bpw, rule {plan.label}")
    for kind, some in of.items():
        rates, weights = [entry.rate_bits for entry in some], [entry.weights or 0 for entry in some]
        mean = float(np.average(rates, weights=weights))
        shown.print(
            f"  {kind}: target {min(rates):.3f} to {max(rates):.3f} bpw, mean {mean:.3f}, by {', '.join(sorted({e.method for e in some}))}"
        )
    shown.print(f"Σ D/D₀ {plan.summed_relative_distortion:.6g}")
    if plan.expected_kl_nats is not None:
        shown.print(
            f"KL expected {plan.expected_kl_nats:.4g} nats ({plan.expected_kl_low:.4g} to {plan.expected_kl_high:.4g}) by the "
            "power law of the run's evaluated rows"
            + ("" if plan.rule == "equal" or plan.expected_kl_by_slopes_nats is not None else UNWEIGHTED)
        )
    if plan.expected_kl_by_slopes_nats is not None:
        shown.print(f"Σ slope · D/D₀ {plan.expected_kl_by_slopes_nats:.4g} nats: KL if that of layers one by one added up")
    return 0
