"""Windows of held-out tokens, by a protocol with a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import BadTokens
from rdtools.model.tokens import Tokens


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of equal length that do not overlap; every token of a window but the first is scored, from what the window has before it.

    Attributes
    ----------
    ids : (w, L) int64
    clusters : (w,) int64, number of the sequence that a window is part of: what is drawn again for an interval; (w, L) of the document
        that each token is part of, where a text has several
    source, sha256 : of the tokens
    left_out : tokens in ends of sequences that fill no window

    Examples
    --------
    >>> tokens = Tokens(np.arange(10).reshape(2, 5), np.ones((2, 5), bool), "example")
    >>> windows = cut(tokens, 2)
    >>> windows.ids.tolist(), windows.clusters.tolist(), windows.left_out, windows.scored, windows.protocol
    ([[0, 1], [2, 3], [5, 6], [7, 8]], [0, 0, 1, 1], 2, 4, 'windows of 2')
    """

    ids: NDArray[np.int64]
    clusters: NDArray[np.int64]
    source: str
    sha256: str
    left_out: int = 0

    @property
    def length(self) -> int:
        """L, tokens in a window."""
        return int(self.ids.shape[1])

    @property
    def scored(self) -> int:
        """Tokens that are predicted and scored."""
        return int(self.ids.shape[0] * (self.ids.shape[1] - 1))

    @property
    def protocol(self) -> str:
        """Name of the protocol: results of different ones are not comparable."""
        return f"windows of {self.length}" + (" over documents" if self.clusters.ndim == 2 else "")

    @property
    def token_clusters(self) -> NDArray[np.int64]:
        """(scored,) cluster of every scored token."""
        return self.clusters[:, 1:].reshape(-1) if self.clusters.ndim == 2 else self.clusters.repeat(self.length - 1)

    def batches(self, tokens: int) -> Iterator[NDArray[np.int64]]:
        """Windows in order, (b, L), at most so many tokens together or one window."""
        step = max(1, tokens // self.length)
        for first in range(0, len(self.ids), step):
            yield self.ids[first : first + step]


def cut(tokens: Tokens, length: int, *, most: int | None = None) -> Windows:
    """Cut sequences into windows; each sequence is a cluster.

    Parameters
    ----------
    tokens : padding is taken out first
    length : L
    most : windows at most, evenly spaced; None for all

    Raises
    ------
    BadTokens
        If no sequence has a window.
    """
    if length < 2:
        raise BadTokens(f"{tokens.source}: windows of {length} tokens, expected at least 2: the first of a window is not scored")
    rows, clusters, left_out = [], [], 0
    for number, (ids, mask) in enumerate(zip(tokens.ids, tokens.mask, strict=True)):
        text = ids[mask]
        count = len(text) // length
        rows.append(text[: count * length].reshape(count, length))
        clusters.append(np.full(count, number))
        left_out += len(text) - count * length
    ids, of = np.concatenate(rows), np.concatenate(clusters)
    if len(ids) == 0:
        raise BadTokens(
            f"{tokens.source}: the longest sequence has {tokens.longest} tokens, a window {length}; expected at least one window: give "
            "more text, or a shorter `window`"
        )
    return _some(Windows(ids, of, tokens.source, tokens.sha256, left_out), most)


def cut_documents(tokens: Tokens, documents: NDArray[np.int64], length: int, *, most: int | None = None) -> Windows:
    """Cut documents that stand one behind the other in one sequence into windows; each document is a cluster, wherever windows begin.

    Parameters
    ----------
    tokens : a single sequence without padding
    documents : (t,) number of the document of each token
    length, most : as of `cut`

    Raises
    ------
    BadTokens
        If there is no window.
    """
    windows = cut(tokens, length)
    return _some(replace(windows, clusters=documents[: windows.ids.size].reshape(windows.ids.shape)), most)


def _some(windows: Windows, most: int | None) -> Windows:
    """At most so many windows, evenly spaced."""
    if most is None or most >= len(windows.ids):
        return windows
    chosen = np.unique(np.linspace(0, len(windows.ids) - 1, most).round().astype(int))
    return replace(windows, ids=windows.ids[chosen], clusters=windows.clusters[chosen])
