"""Canonical Huffman codes of integer matrices, one for all integers or one for each column: a peer of the entropy coders.

Layout: bits of a code length (u8); for each code the least integer and their number as variable-length integers, then the lengths of
their words, 0 for an integer that does not occur, filled up to a byte; then the words of all integers, column after column.
"""

from __future__ import annotations

import constriction
import numpy as np

from rdtools.coding.fields import Reader, varint


def word_lengths(counts: np.ndarray) -> np.ndarray:
    """Bits of the word of each symbol, from constriction's tree; 0 for symbols that do not occur and for a single one."""
    occurring = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), dtype=np.int64)
    if len(occurring) > 1:
        tree = constriction.symbol.huffman.EncoderHuffmanTree(counts[occurring].astype(np.float64))
        for k, symbol in enumerate(occurring):
            word = constriction.symbol.QueueEncoder()
            word.encode_symbol(k, tree)
            lengths[symbol] = word.get_compressed_and_bitrate()[1]
    return lengths


def canonical_words(lengths: np.ndarray) -> np.ndarray:
    """The words that the lengths stand for: numbers that count up with length and symbol, as in DEFLATE."""
    words = np.zeros(len(lengths), dtype=np.int64)
    word = previous = 0
    for symbol in np.lexsort((np.arange(len(lengths)), lengths)):
        if lengths[symbol] > 0:
            word <<= int(lengths[symbol]) - previous
            words[symbol], previous = word, int(lengths[symbol])
            word += 1
    return words


def _bits(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The lowest bits of each value, highest first, one value after another."""
    places = np.arange(int(lengths.max(initial=0)))
    shifts = lengths[:, None] - 1 - places
    return ((values[:, None] >> np.maximum(shifts, 0)) & 1)[shifts >= 0].astype(np.uint8)


def encode(integers: np.ndarray, *, per_column: bool) -> tuple[bytes, bytes]:
    """Tables, and words, of an (m, n) matrix."""
    parts = list(integers.T) if per_column else [integers.T.ravel()]
    lows = [int(part.min()) for part in parts]
    tables = [word_lengths(np.bincount(part - low)) for part, low in zip(parts, lows, strict=True)]
    width = max(int(lengths.max()).bit_length() for lengths in tables)
    data, words = bytearray([width]), []
    for part, low, lengths in zip(parts, lows, tables, strict=True):
        data += varint(low) + varint(len(lengths)) + np.packbits(_bits(lengths, np.full(len(lengths), width))).tobytes()
        words.append(_bits(canonical_words(lengths)[part - low], lengths[part - low]))
    return bytes(data), np.packbits(np.concatenate(words)).tobytes()


def decode(data: bytes, rows: int, columns: int, *, per_column: bool) -> np.ndarray:
    """Tables and words that `encode` wrote, in one."""
    reader = Reader(data, "Huffman codes")
    width = reader.u8()
    tables = []
    for _ in range(columns if per_column else 1):
        low, count = reader.varint(), reader.varint()
        bits = np.unpackbits(np.frombuffer(reader.take(-(-count * width // 8)), np.uint8), count=count * width)
        tables.append((low, bits.reshape(count, width) @ (1 << np.arange(width)[::-1])))
    stream = np.unpackbits(np.frombuffer(data[reader.position :], np.uint8))
    integers, position = np.empty((len(tables), rows * columns // len(tables)), dtype=np.int32), 0
    for part, (low, lengths) in zip(integers, tables, strict=True):
        longest = int(lengths.max())
        if longest == 0:
            part[:] = low
            continue
        # every window of the longest word's length, and the symbol whose word it begins with
        padded = np.concatenate([stream[position : position + longest * len(part)], np.zeros(longest, dtype=np.uint8)])
        windows = (np.lib.stride_tricks.sliding_window_view(padded, longest) @ (1 << np.arange(longest)[::-1])).tolist()
        order = np.lexsort((np.arange(len(lengths)), lengths))
        order = order[lengths[order] > 0]
        symbols = np.repeat(order, 1 << (longest - lengths[order])).tolist()
        sizes, offset, found = lengths.tolist(), 0, []
        for _ in range(len(part)):
            symbol = symbols[windows[offset]]
            found.append(symbol)
            offset += sizes[symbol]
        part[:] = low + np.array(found)
        position += offset
    return integers.reshape(columns, rows).T
