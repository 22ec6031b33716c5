"""Texts of several documents: read, divided among calibration, validation and test, and tokenized one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import BadTokens, UsageError
from rdtools.model.tokens import read_text
from rdtools.seeds import generator

#: Parts of a text, in order, and their shares of the characters.
PARTS, SHARES = ("calibration", "validation", "test"), (0.5, 0.25, 0.25)


def read_documents(path: Path, separator: str) -> list[str]:
    r"""Documents of a UTF-8 text, without the space around them; those that are empty are left out.

    Parameters
    ----------
    path : of the text
    separator : what stands between documents, such as "<|endoftext|>"; ``\n`` and ``\t`` in it stand for a line break and a tabulator

    Raises
    ------
    BadTokens
        If the file cannot be read, or has fewer than two documents.
    UsageError
        For an empty separator.
    """
    if not separator:
        raise UsageError("`documents`: an empty separator, expected what stands between documents, such as '<|endoftext|>'")
    documents = [part.strip() for part in read_text(path).split(separator.replace("\\n", "\n").replace("\\t", "\t"))]
    documents = [part for part in documents if part]
    if len(documents) < 2:
        count = ("no document", "one document")[len(documents)]
        raise BadTokens(f"{path}: {count} with {separator!r} as separator, expected at least two; name what separates its documents")
    return documents


def divided(documents: Sequence[str], shares: Sequence[float] = SHARES, *, seed: int) -> list[list[str]]:
    """Documents divided at random, each part in the order of the text; a part is full when it has its share of the characters.

    Parameters
    ----------
    documents : of a text
    shares : of the parts, positive
    seed : of the draw

    Raises
    ------
    UsageError, BadTokens

    Examples
    --------
    >>> [len(part) for part in divided(["ab"] * 8, seed=0)]
    [4, 2, 2]
    """
    total = sum(shares)
    if len(shares) != len(PARTS) or not all(0 < share < math.inf for share in shares):
        raise UsageError(f"`shares` {list(shares)}: expected three positive numbers, for {', '.join(PARTS)}")
    order = generator(seed, "division of documents").permutation(len(documents))
    sizes = np.array([len(documents[number]) for number in order], dtype=np.float64)
    before = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    part = np.searchsorted(np.cumsum(shares[:-1]) / total, before, side="right")
    empty = [name for number, name in enumerate(PARTS) if not (part == number).any()]
    if empty:
        raise BadTokens(f"{len(documents)} documents of unequal length leave none for {empty[0]}; expected more of them, or other `shares`")
    of = np.empty(len(documents), dtype=np.int64)
    of[order] = part
    return [
        [document for document, part_number in zip(documents, of, strict=True) if part_number == number] for number in range(len(PARTS))
    ]


def tokenize_documents(documents: Sequence[str], tokenizer: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids of all documents one behind the other, each tokenized by itself with what the tokenizer puts before a text, and their documents.

    Returns
    -------
    (t,) ids, and (t,) number of the document of each
    """
    ids = [np.asarray(tokenizer(document, verbose=False)["input_ids"], dtype=np.int64) for document in documents]
    return np.concatenate(ids), np.repeat(np.arange(len(ids)), [len(part) for part in ids])
