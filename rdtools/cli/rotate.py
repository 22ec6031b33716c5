"""``rdtools rotate``: a model of the same function, with gains of norms and rotations in its weights."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, in_options, print_json
from rdtools.cli.report import Model, RemoteCode
from rdtools.seeds import SEED_END


class Kind(StrEnum):
    """Values of --rotation."""

    auto = "auto"
    hadamard = "hadamard"
    haar = "haar"
    kronecker = "kronecker"
    none = "none"


def rotate(
    save: Annotated[Path, typer.Option("--save", "-o", help="Directory that is made.")],
    model: Model = "embedded",
    trust_remote_code: RemoteCode = False,
    rotation: Annotated[
        Kind, typer.Option(help="Of residual stream and values; auto: Hadamard where that order exists, else Haar; none: fold gains alone.")
    ] = Kind.auto,
    heads: Annotated[bool, typer.Option(help="Rotate the values of each head, and the inputs of the output projection with them.")] = True,
    seed: Annotated[int, typer.Option(help="Rotations are drawn from it.", min=0, max=SEED_END - 1)] = 0,
    as_json: Json = False,
) -> int:
    """Fold the gains of a model's norms and rotate its residual stream and values, in weights that compute the same function.

    The checkpoint is float32, loads in plain transformers, and is a model for every other command; the output head has a matrix of its own.
    The inputs of the output and down projections need an online rotation: methods with +inner-rotation rotate these alone. A model whose
    norms subtract the mean, or stand behind its layers, is refused.
    """
    from rdtools.cli.console import PlainConsole
    from rdtools.jobs.rotate import rotate_model

    console = PlainConsole(stderr=True)
    fused = rotate_model(
        model,
        save,
        rotation=None if rotation is Kind.none else rotation.value,
        heads=heads,
        seed=seed,
        trust_remote_code=trust_remote_code,
        say=lambda sentence: console.print(in_options(sentence), soft_wrap=True),
    )
    if as_json:
        print_json({"save": str(save), **asdict(fused)})
        return 0
    typer.echo(f"{fused.text}{'; output head untied' if fused.untied else ''}")
    typer.echo(f"logits of random tokens change by {fused.change:.2g} of their spread\n{save}")
    return 0
