"""Links of an input map between the basis and the weights, written and read.

Layout::

    number of links                       u8
    of each: its kind                     u8      by place in `rdtools.coding.format_v3.LINKS`
             bits, filled up to whole bytes

    Select, on n channels: active ones    n bits
    Merge: channels r that go into another one, whether there are scales    varint, u8
           channel and the first one of its group, r times                  2 ⌈log2 n⌉ bits
           scales of the groups                                             bf16 each
    Split: staggered, channels s in several copies, ⌈log2 max T⌉            u8, varint, u8
           channel and copies less one, s times                             ⌈log2 n⌉ + ⌈log2 max T⌉ bits
    Principal: channels k, gain                                             varint, bf16
           vectors after their leading 1, one after another                 float16 each
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import format_v3 as v3
from rdtools.coding.bits import from_bits, index_width, to_bits
from rdtools.coding.fields import Reader, varint
from rdtools.coding.scales import bfloat16_bytes
from rdtools.records.link import Link
from rdtools.transforms.links import Merge, Principal, Select, Split


def _packed(*columns: tuple[Any, int]) -> bytes:
    """Equally many numbers of several columns, of a width each, row by row."""
    bits = [to_bits(np.asarray(values, dtype=np.int64), width).reshape(len(values), width) for values, width in columns]
    return np.packbits(np.concatenate(bits, axis=1)).tobytes()


def _unpacked(side: Reader, count: int, *widths: int) -> list[NDArray[np.int64]]:
    """The columns that `_packed` wrote."""
    total = count * sum(widths)
    bits = np.unpackbits(side.bytes_array(-(-total // 8)))
    if bits[total:].any():
        raise side.refusal("bits after a link of the input map that are not zero")
    rows = bits[:total].reshape(count, sum(widths))
    ends = np.cumsum(widths)
    parts = (rows[:, end - width : end].ravel() for end, width in zip(ends, widths, strict=True))
    return [
        from_bits(part, width).astype(np.int64) if width else np.zeros(count, dtype=np.int64)
        for part, width in zip(parts, widths, strict=True)
    ]


def _encode_select(link: Select) -> bytes:
    return np.packbits(link.active).tobytes()


def _decode_select(side: Reader, n: int, most: int) -> Link:
    bits = np.unpackbits(side.bytes_array(-(-n // 8)))
    if bits[n:].any():
        raise side.refusal("bits after a link of the input map that are not zero")
    return side.build(Select, bits[:n].astype(bool))


def _encode_merge(link: Merge) -> bytes:
    edges = [(channel, group[0]) for group in link.groups for channel in group[1:]]
    width = index_width(link.channels)
    head = varint(len(edges)) + bytes([link.scales is not None])
    scales = b"" if link.scales is None else bfloat16_bytes(link.scales)
    return head + _packed(([c for c, _ in edges], width), ([first for _, first in edges], width)) + scales


def _decode_merge(side: Reader, n: int, most: int) -> Link:
    merged = side.count("merged channels", n)
    scaled = side.choice("presence of scales of merged channels", (False, True), side.u8())
    channels, firsts = _unpacked(side, merged, index_width(n), index_width(n))
    groups: dict[int, list[int]] = {}
    for channel, first in zip(channels.tolist(), firsts.tolist(), strict=True):
        if channel <= first:
            raise side.refusal(f"channel {channel} merged into {first}, expected a channel before it")
        groups.setdefault(first, [first]).append(channel)
    scales = side.bfloat16("scales of merged channels", len(groups)) if scaled else None
    return side.build(Merge, list(groups.values()), n, scales)


def _encode_split(link: Split) -> bytes:
    channels = np.flatnonzero(link.counts > 1)
    width = index_width(int(link.counts.max()))
    head = bytes([link.staggered]) + varint(len(channels)) + bytes([width])
    return head + _packed((channels, index_width(link.inputs)), (link.counts[channels] - 1, width))


def _decode_split(side: Reader, n: int, most: int) -> Link:
    staggered = side.choice("staggered copies", (False, True), side.u8())
    split, width = side.count("split channels", n), side.u8()
    if width > v3.MOST_COPIES_BITS:
        raise side.refusal(f"numbers of copies of {width} bits, expected at most {v3.MOST_COPIES_BITS}")
    channels, more = _unpacked(side, split, index_width(n), width)
    if split and (channels.max() >= n or (np.diff(channels) <= 0).any() or more.min() < 1):
        raise side.refusal(f"split channels {channels.min()} to {channels.max()} of {n}, expected ascending ones in 2 or more copies each")
    counts = np.ones(n, dtype=np.int64)
    counts[channels] += more
    if int(counts.sum()) > most:
        raise side.refusal(f"{int(counts.sum())} channels after splitting, expected at most {most} (argument max_weights)")
    return side.build(Split, counts, staggered)


def _encode_principal(link: Principal) -> bytes:
    after = link.vectors[np.triu_indices(link.channels, 1, link.inputs)]
    return varint(link.channels) + bfloat16_bytes(np.array([link.gain])) + after.astype(v3.CODEWORDS_DTYPE).tobytes()


def _decode_principal(side: Reader, n: int, most: int) -> Link:
    k = side.count("channels of a subspace", n - 1)
    gain = float(side.bfloat16("gain of a subspace", 1)[0])
    upper = np.triu_indices(k, 1, n)
    vectors = np.eye(k, n)
    vectors[upper] = np.frombuffer(side.take(2 * len(upper[0])), v3.CODEWORDS_DTYPE)
    return side.build(Principal, vectors, gain)


@dataclass(frozen=True)
class _Kind:
    type: type[Any]
    encode: Callable[[Any], bytes]
    decode: Callable[[Reader, int, int], Link]


_KINDS = {
    "select": _Kind(Select, _encode_select, _decode_select),
    "merge": _Kind(Merge, _encode_merge, _decode_merge),
    "split": _Kind(Split, _encode_split, _decode_split),
    "principal": _Kind(Principal, _encode_principal, _decode_principal),
}


def encode_links(links: Sequence[Link]) -> bytes:
    """The links of a map, in their order.

    Raises
    ------
    TypeError
        For a kind of link that the format does not have.
    """
    body = bytes([len(links)])
    for link in links:
        name = next((name for name in v3.LINKS if type(link) is _KINDS[name].type), None)
        if name is None:
            raise TypeError(
                f"links of type {type(link).__name__} cannot be stored between basis and weights, expected {', '.join(v3.LINKS)}"
            )
        body += bytes([v3.LINKS.index(name)]) + _KINDS[name].encode(link)
    return body


def decode_links(side: Reader, inputs: int, most: int) -> tuple[Link, ...]:
    """Read what `encode_links` wrote.

    Parameters
    ----------
    side : at the number of links
    inputs : of the first link
    most : outputs that a link may have

    Raises
    ------
    CorruptFile
    """
    links: list[Link] = []
    width = inputs
    for _ in range(side.u8()):
        if width < 1:
            raise side.refusal("a link of the input map without channels")
        link = _KINDS[side.choice("kind of link", v3.LINKS, side.u8())].decode(side, width, most)
        links.append(link)
        width = link.outputs
    return tuple(links)
