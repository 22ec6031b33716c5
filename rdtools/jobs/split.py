"""A text divided among calibration, validation and test, by documents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rdtools.errors import BadTokens, OutputError, UsageError
from rdtools.files import write_atomically
from rdtools.model.documents import PARTS, SHARES, divided, read_documents
from rdtools.seeds import check_seed


@dataclass(frozen=True)
class Part:
    """A part of a text: its documents and characters, and the SHA-256 of its file."""

    documents: int
    characters: int
    sha256: str


def split_text(text: str | Path, out: str | Path, *, documents: str, shares: Sequence[float] = SHARES, seed: int = 0) -> dict[str, Part]:
    """Divide a text by documents into files that share none: ``calibration.txt``, ``validation.txt`` and ``test.txt``.

    Parameters
    ----------
    text : a UTF-8 file
    out : directory that is made
    documents : what separates documents in the text, and in the three files
    shares : of the parts in the characters
    seed : of the draw of documents

    Raises
    ------
    UsageError
        If the directory has one of the files already, or for shares that cannot be.
    BadTokens
        If the text cannot be read, or has too few documents.
    OutputError
    """
    folder, seed = Path(out), check_seed(seed)
    contents = read_documents(Path(text), documents)
    try:
        parts = divided(contents, shares, seed=seed)
    except BadTokens as error:
        raise BadTokens(f"{text}: {error}") from error
    existing = next((name for name in PARTS if (folder / f"{name}.txt").exists()), None)
    if existing is not None:
        raise UsageError(f"{folder / f'{existing}.txt'}: exists; choose another directory")
    separator = documents.replace("\\n", "\n").replace("\\t", "\t")
    counts = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another place") from error
    for name, part in zip(PARTS, parts, strict=True):
        data = f"\n{separator}\n".join(part).encode()
        write_atomically(folder / f"{name}.txt", data)
        counts[name] = Part(len(part), sum(map(len, part)), hashlib.sha256(data).hexdigest())
    return counts
