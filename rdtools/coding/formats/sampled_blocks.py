"""Some blocks of columns coded, decoded and compared; the lengths of the others by their model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rdtools.coding.codec import Sample
from rdtools.coding.entropy import blocks
from rdtools.coding.entropy.coder import encode_runs, runs_length_bits
from rdtools.coding.fields import varint
from rdtools.coding.formats.word_blocks import block_bytes
from rdtools.errors import CodingError

#: One block of columns in so many is coded. Its length may differ from that of its model by so much: a range coder loses less than 1e-4 on
#: blocks of a million integers, and half a word at their end.
SAMPLED_EVERY, SAMPLED_EXCESS = 8, 2e-3
_HALF_WORD = 16


def sample_blocks(
    side: bytes, integers: NDArray[np.int32], places: Sequence[tuple[tuple[int, int], blocks.Sequence]], length_bits: float
) -> Sample:
    """Code every SAMPLED_EVERYth block.

    Parameters
    ----------
    side : side information before that of blocks
    integers : (m, r)
    places : columns of each block, first and past the last, and the order and models of its integers; at least one
    length_bits : of all integers under their models, escaped ones included

    Raises
    ------
    CodingError
        If a block does not decode to its integers, or all take SAMPLED_EXCESS more or less than by their models.
    """
    heads, payload, modelled, coded, escapes = bytearray(), bytearray(), 0.0, 0, 0
    chosen = places[min(SAMPLED_EVERY, len(places)) // 2 :: SAMPLED_EVERY]
    for (first, stop), sequence in chosen:
        part, name = integers[:, first:stop], f"columns {first} to {stop - 1}"
        runs = sequence.read(part)
        words, escaped = encode_runs(runs)
        block = blocks.Block(len(part), sequence, words, np.array(escaped, dtype=np.int64), name)
        if not np.array_equal(blocks.decode_block(block), part):
            raise CodingError(f"{name}: the coded symbols do not decode to the integers; a fault of rdtools or of this machine: report it")
        head, data = block_bytes(words, escaped)
        heads += head
        payload += data
        modelled += runs_length_bits(runs)
        escapes += 8 * sum(len(varint(integer)) for integer in escaped)
        coded += part.size
    others, excess = len(places) - len(chosen), 8 * len(payload) - modelled
    if abs(excess) > SAMPLED_EXCESS * modelled + 2 * _HALF_WORD * len(chosen):
        raise CodingError(
            f"{len(chosen)} of {len(places)} blocks take {8 * len(payload)} bits and {modelled:.0f} by their models, expected a difference "
            f"of at most {SAMPLED_EXCESS:.1%}: the others cannot be counted by theirs; code all of them, with file_coding 'exact'"
        )
    # escaped integers are in the heads of blocks and in the length under the models: those that are coded are counted there, others here
    left_bits = length_bits - modelled - escapes + excess / len(chosen) * others
    side_bits = (8 * len(heads) - escapes) / len(chosen) * others
    return Sample(coded / integers.size, side + bytes(heads), bytes(payload), side_bits, left_bits)
