"""Formats of symbols, one file each, and the table of their codecs: the only place that tells kinds of symbols apart."""

from __future__ import annotations

from typing import Any

from rdtools.coding.codec import Codec
from rdtools.coding.fields import Reader
from rdtools.coding.formats import additive, coset_trellis, lattice, lattice_points, scalar, tile_paths, trellis

#: By the byte that stands for a codec in a container; a tag is never used again for another.
CODECS: dict[int, Codec] = {
    0: scalar.CODEC,
    1: lattice.CODEC,
    2: trellis.CODEC,
    3: coset_trellis.CODEC,
    4: additive.CODEC,
    5: lattice_points.CODEC,
    6: tile_paths.CODEC,
}


def tagged_codec(symbols: Any) -> tuple[int, Codec]:
    """Tag and codec of a record of symbols.

    Raises
    ------
    TypeError
    """
    for tag, codec in CODECS.items():
        if type(symbols) is codec.type:
            return tag, codec
    known = ", ".join(codec.type.__name__ for codec in CODECS.values())
    raise TypeError(f"symbols of type {type(symbols).__name__} have no codec, expected {known}; add one to rdtools.coding.formats.CODECS")


def codec_of(symbols: Any) -> Codec:
    """The codec of a record of symbols; raises as `tagged_codec`."""
    return tagged_codec(symbols)[1]


def read_tag(reader: Reader, tag: int) -> Codec:
    """The codec that a stored tag stands for.

    Raises
    ------
    CorruptFile
    """
    if tag not in CODECS:
        known = ", ".join(f"{number} {codec.type.__name__}" for number, codec in CODECS.items())
        raise reader.refusal(f"codec {tag}, expected one of {known}")
    return CODECS[tag]
