"""``rdtools split``: a text divided among calibration, validation and test by its documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, print_json
from rdtools.errors import UsageError
from rdtools.seeds import SEED_END


def split(
    text: Annotated[Path, typer.Argument(help="UTF-8 text of several documents.")],
    out: Annotated[Path, typer.Argument(help="Directory that is made.")],
    documents: Annotated[str, typer.Option(help="What separates documents in the text, such as '<|endoftext|>' or '\\n\\n\\n'.")],
    shares: Annotated[str, typer.Option(help="Of calibration, validation and test in the characters.")] = "0.5,0.25,0.25",
    seed: Annotated[int, typer.Option(help="Of the draw of documents.", min=0, max=SEED_END - 1)] = 0,
    as_json: Json = False,
) -> int:
    """Divide a text by documents into calibration.txt, validation.txt and test.txt, of which no document is in two.

    The first is for --text, the second for choosing among settings, the third for the numbers of a paper: `rdtools eval --documents` with
    the same separator has intervals over its documents.
    """
    from rdtools.jobs.split import split_text

    try:
        parts = [float(share) for share in shares.split(",")]
    except ValueError:
        raise UsageError(f"--shares {shares!r}: expected three numbers with commas between, such as 0.5,0.25,0.25") from None
    sizes = split_text(text, out, documents=documents, shares=parts, seed=seed)
    if as_json:
        print_json({name: part.__dict__ for name, part in sizes.items()})
        return 0
    for name, part in sizes.items():
        typer.echo(f"{out / f'{name}.txt'}: {part.documents} documents, {part.characters} characters")
    return 0
