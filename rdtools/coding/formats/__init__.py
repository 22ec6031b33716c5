"""Formats of symbols, one file each, and the table of their codecs: the only place that tells kinds of symbols apart."""

from __future__ import annotations

from typing import Any

from rdtools.coding.codec import Codec
from rdtools.coding.fields import Reader
from rdtools.coding.formats import additive, coset_trellis, lattice, scalar, trellis
from rdtools.records import QuantizedWeight

CODECS: tuple[Codec, ...] = (scalar.CODEC, lattice.CODEC, trellis.CODEC, coset_trellis.CODEC, additive.CODEC)


def codec_of(symbols: Any) -> Codec:
    """The codec of a record of symbols.

    Raises
    ------
    TypeError
    """
    for codec in CODECS:
        if type(symbols) is codec.type:
            return codec
    known = ", ".join(codec.type.__name__ for codec in CODECS)
    raise TypeError(f"symbols of type {type(symbols).__name__} have no codec, expected {known}; add one to rdtools.coding.formats.CODECS")


def read_tag(reader: Reader, tag: int) -> Codec:
    """The codec that a stored tag stands for.

    Raises
    ------
    CorruptFile
    """
    for codec in CODECS:
        if codec.tag == tag:
            return codec
    known = ", ".join(f"{codec.tag} {codec.type.__name__}" for codec in CODECS)
    raise reader.refusal(f"codec {tag}, expected one of {known}")


def code_length(weight: QuantizedWeight) -> float:
    """Ideal length of the symbols of a weight, bits in all: of integers as `scalar_code_length` says, histograms included, of lattice words
    and trellis paths as stored.
    """
    return codec_of(weight.symbols).length_bits(weight.symbols)
