"""Repetition among tokens: how many of them tell something new."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rdtools.model.tokens import Tokens

#: Tokens whose last so many ids agree count once. A choice: phrases of natural text are shorter, while what a model's layers are given at a
#: token hardly depends on ids further back where those before them repeat.
CONTEXT = 16
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(31))) * _FACTOR
    return values ^ (values >> np.uint64(29))


def distinct_contexts(tokens: Tokens) -> int:
    """Number of tokens that tell something new: whose last CONTEXT ids, padding apart, occur together at no earlier token.

    Where a sequence has fewer ids before a token, these count as repeated if they are the last ids of another token with more before it.
    The inputs of a layer that tokens of one context are given are equal or nearly so: a sentence of p tokens repeated for ever has p
    contexts, and its second moments p directions that are resolved. Contexts are told apart by 64-bit hashes.

    Examples
    --------
    >>> ids = np.tile([5, 6, 7], (4, 30))
    >>> distinct_contexts(Tokens(ids, np.ones(ids.shape, bool), "one sentence"))
    3
    """
    if tokens not in _counted:
        _counted[tokens] = _count_contexts(tokens)
    return _counted[tokens]


#: Answers of `distinct_contexts` for as long as the tokens live: said before a capture and kept with its Hessians.
_counted: WeakKeyDictionary[Tokens, int] = WeakKeyDictionary()


def _count_contexts(tokens: Tokens) -> int:
    ids = np.asarray(tokens.ids[tokens.mask], dtype=np.int64).astype(np.uint64)
    lengths = tokens.mask.sum(axis=1)
    position = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    hashes, count = np.zeros(len(ids), dtype=np.uint64), 0
    for length in range(1, min(CONTEXT, len(ids)) + 1):
        # of the last `length` ids: the hash of one fewer, mixed with the id before them
        before = np.zeros_like(ids)
        before[length - 1 :] = ids[: max(len(ids) - length + 1, 0)]
        hashes = _mixed(hashes * np.uint64(3) + before + np.uint64(1))
        ends = position == length - 1 if length < CONTEXT else position >= length - 1
        count += len(np.setdiff1d(hashes[ends], hashes[position >= length] if length < CONTEXT else []))
    return count


def repeated_sequences(tokens: Tokens, others: Tokens | None = None) -> int:
    """Number of sequences that equal an earlier one, padding apart, or one of `others` where these are given."""

    def contents(of: Tokens) -> list[bytes]:
        return [ids[mask].astype(np.int64).tobytes() for ids, mask in zip(of.ids, of.mask, strict=True)]

    mine = contents(tokens)
    if others is None:
        return len(mine) - len(set(mine))
    return sum(ids in seen for seen in [set(contents(others))] for ids in mine)


def sampling_notes(tokens: Tokens, widths: list[int]) -> list[str]:
    """Sentences about calibration tokens that repeat themselves, or are too few for inputs of these widths; none for enough.

    Parameters
    ----------
    tokens : of the calibration
    widths : numbers n of columns of the model's inputs
    """
    total, contexts, copies = int(tokens.mask.sum()), distinct_contexts(tokens), repeated_sequences(tokens)
    notes = []
    if copies:
        notes.append(f"{tokens.source}: {copies} of {len(tokens.ids)} sequences repeat an earlier one, which adds no information")
    counts = f"{contexts} distinct among {total} tokens" if contexts < total else f"{total} tokens"
    wide = sorted({n for n in widths if n > contexts})
    if wide:
        columns = ", ".join(map(str, wide[:4])) + (", …" if len(wide) > 4 else "")
        notes.append(
            f"{tokens.source}: {counts} for inputs of {columns} columns; expected at least as many distinct tokens as columns, better ten "
            "times: layers with more active columns than that will be undersampled and left out of means; give more, or more varied, text"
        )
    elif contexts < total / 2:
        notes.append(f"{tokens.source}: {counts} (those with the same {CONTEXT} last ids count once): the rest is repetition")
    return notes
