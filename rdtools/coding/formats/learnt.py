"""Integers under models that the decoder learns, range-coded row by row in groups of columns that decode apart: what two codecs share.

Layout, after the numbers of the plain Gaussian models::

    strength                                              u8          + CONTINUED where models go on from matrices before this one; then,
                                                                      with a strength above 0, in place of blocks of columns,
    columns of a group                                    u16
    of each group: see `rdtools.coding.formats.word_blocks`

With strength 0 the integers are stored as under a Gaussian model. See `rdtools.kernels.adaptive_coder_reference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import format_v3 as v3
from rdtools.coding.codec import Map
from rdtools.coding.entropy.adaptive import MOST_INTEGERS_PER_BYTE, groups, learnt_models, most_columns
from rdtools.coding.fields import Reader, packed
from rdtools.coding.formats.word_blocks import block_bytes, read_block
from rdtools.errors import CodingError, CorruptFile, UsageError
from rdtools.ops import LearntModels, adaptive_decode, adaptive_encode, map_on_threads
from rdtools.records import AdaptiveModel, CosetSymbols, GaussianModel, ScalarSymbols

#: Symbols of other matrices in the file, from whose rows models may go on to learn.
Before = Sequence[ScalarSymbols | CosetSymbols]


def head_bytes(model: AdaptiveModel, *, continued: bool = False) -> bytes:
    """The strength of learning and, above 0, the columns of a group, as they are stored."""
    strength = packed(v3.STRENGTH, model.strength | v3.CONTINUED * continued)
    return strength + (packed(v3.GROUP_COLUMNS, model.columns) if model.strength else b"")


def read_head(side: Reader, plain: GaussianModel, rows: int, before: Before) -> tuple[AdaptiveModel, Before]:
    """The model that `head_bytes` and the numbers of the plain models stand for, and the symbols that it goes on from."""
    (stored,) = v3.STRENGTH.unpack(side.take(v3.STRENGTH.size))
    strength = stored & ~v3.CONTINUED
    if stored & v3.CONTINUED and not (before and strength):
        raise side.refusal("models that go on learning, expected rows of a matrix before this one and a strength above 0")
    (columns,) = v3.GROUP_COLUMNS.unpack(side.take(v3.GROUP_COLUMNS.size)) if strength else (0,)
    if columns > most_columns(rows):
        raise side.refusal(f"groups of {columns} columns in a matrix of {rows} rows, expected at most {most_columns(rows)}")
    model = side.build(AdaptiveModel, plain.weight_std, plain.noise_variance, plain.row_exponents, columns, strength)
    return model, before if stored & v3.CONTINUED else ()


def encode_learnt(symbols: ScalarSymbols | CosetSymbols, model: AdaptiveModel, before: Before) -> tuple[bytes, bytes]:
    """Side information, the head included, and payload: models begin anew, or go on from the rows before, whichever is shorter."""
    ways, rows = [], len(symbols.integers)
    if model.columns > most_columns(rows):
        raise UsageError(f"encode: groups of {model.columns} columns in a matrix of {rows} rows, expected at most {most_columns(rows)}")
    for known in [(), before] if before else [()]:
        blocks, coded = encode_groups(symbols, model, known)
        ways.append((head_bytes(model, continued=bool(known)) + blocks, coded))
    return min(ways, key=lambda way: len(way[0]) + len(way[1]))


def encode_groups(symbols: ScalarSymbols | CosetSymbols, model: AdaptiveModel, before: Before) -> tuple[bytes, bytes]:
    """Side information and payload of the groups.

    Raises
    ------
    CodingError
        For integers that are no walks of their trellis.
    """
    side, payload = bytearray(), bytearray()
    of_group, bounds = learnt_models(symbols, model, before), list(groups(symbols.integers.shape[1], model))

    def encode_group(span: tuple[int, int]) -> tuple[NDArray[np.uint32], NDArray[np.int32], str]:
        first, stop = span
        return adaptive_encode(symbols.integers[:, first:stop], of_group(first, stop))

    for (first, stop), (words, escaped, fault) in zip(bounds, map_on_threads(encode_group, bounds), strict=True):
        if fault:
            raise CodingError(f"columns {first} to {stop - 1}: {fault}; expected those of their trellis")
        numbers, data = block_bytes(words, escaped.tolist())
        side += numbers
        payload += data
    return bytes(side), bytes(payload)


@dataclass(frozen=True, eq=False)
class _Group:
    """A group of columns, which decodes by itself."""

    words: NDArray[np.uint32]
    escaped: NDArray[np.int64]
    models: LearntModels
    name: str


def _decode_group(group: _Group) -> NDArray[np.int32]:
    integers, fault = adaptive_decode(group.words, group.escaped, group.models)
    if fault:
        raise CorruptFile(f"{group.name}: {fault}; the file is damaged: write it again")
    return integers


def decode_groups(
    side: Reader, payload: Reader, symbols: ScalarSymbols | CosetSymbols, model: AdaptiveModel, before: Before, apply: Map
) -> None:
    """Read what `encode_groups` writes into the integers of `symbols`.

    Raises
    ------
    CorruptFile
    """
    rows, columns = symbols.integers.shape
    if rows * columns > MOST_INTEGERS_PER_BYTE * payload.remaining:
        raise side.refusal(
            f"{rows * columns} integers under learnt models in {payload.remaining} bytes, expected at most {MOST_INTEGERS_PER_BYTE} each"
        )
    of_group, coded, bounds = learnt_models(symbols, model, before), [], list(groups(columns, model))
    for number, (first, stop) in enumerate(bounds):
        words, escaped = read_block(side, payload, rows * (stop - first), name=f"group {number} of {len(bounds)}")
        coded.append(_Group(words, escaped, of_group(first, stop), payload.name))
    decoded = map_on_threads(_decode_group, coded) if apply is map else apply(_decode_group, coded)
    for (first, stop), integers in zip(bounds, decoded, strict=True):
        symbols.integers[:, first:stop] = integers
