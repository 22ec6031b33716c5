"""A golden file of the container taken apart, field by field: the test vector of the documentation."""

from __future__ import annotations

import struct
from typing import NamedTuple

from rdtools_docs import ROOT

GOLDEN = ROOT / "tests" / "golden" / "container" / "v3"

#: Field, its form (of `struct`, or a number of bytes), and its meaning in ``column.bin``: 2 × 4 weights, the second column always zero,
#: the other three rotated by a Haar matrix, unequal steps, a Gaussian entropy model per column.
_COLUMN = (
    ("magic", "4s", "every file begins so"),
    ("version", "B", "of the container"),
    ("rotation kind and flags", "B", "low four bits 4: Haar; high four bits 1: some columns are inactive"),
    ("columns n", "I", "input features, inactive ones included"),
    ("codec tag", "B", "integers on uniform grids, entropy-coded"),
    ("rotation kind of the outputs", "B", "none"),
    ("rows m", "I", "output features"),
    ("bytes of side information", "I", "from after the checksum to the payload"),
    ("CRC-32", "I", "of all bytes above and of the side information"),
    ("seed of the input rotation", "Q", "the rotation is rebuilt from it"),
    ("active columns", 1, "one bit per column, the first column highest: columns 0, 2 and 3"),
    ("flags of the codec", "B", "1: step exponents, 16: standard deviation of the gain"),
    ("step", "f", "of the finest column"),
    ("form of exponents", "B", "0: plain bytes"),
    ("step exponents", 3, "eighths of an octave: column steps 0.5, 0.5 · 2^(3/8) and 0.5 · 2^(16/8)"),
    ("gain std", "f", "standard deviation for which reconstruction gains are computed"),
    ("entropy model", "B", "a Gaussian model per column"),
    ("weight standard deviation", "f", "σ of the model: integers of a column of step α have variance (σ/α)² + noise variance"),
    ("noise variance", "f", "what fed-back errors add, in squared steps"),
    ("words of the block", "B", "variable-length integer, zigzag: 4 stands for 2"),
    ("escaped integers of the block", "B", "none"),
    ("CRC-32 of the block", "I", "of its payload"),
    ("payload", 8, "two words of the range coder, u32 little-endian"),
)


class Field(NamedTuple):
    """A field of a file: where it begins, its bytes, its name, its value and its meaning."""

    offset: int
    data: bytes
    name: str
    value: object
    meaning: str


def column_fields() -> list[Field]:
    """The fields of ``column.bin``; together they are the whole file.

    Raises
    ------
    ValueError
        If the file has more bytes than the fields, or fewer.
    """
    data, place, found = (GOLDEN / "column.bin").read_bytes(), 0, []
    for name, form, meaning in _COLUMN:
        size = form if isinstance(form, int) else struct.calcsize("<" + form)
        part = data[place : place + size]
        value = part.hex(" ") if isinstance(form, int) else struct.unpack("<" + form, part)[0]
        found.append(Field(place, part, name, value.decode() if isinstance(value, bytes) else value, meaning))
        place += size
    if place != len(data):
        raise ValueError(f"column.bin: {len(data)} bytes, its fields have {place}")
    return found


def golden_files() -> list[tuple[str, int, str]]:
    """Name, size and beginning of the SHA-256 of every golden file of the version that is written."""
    import hashlib

    files = sorted(GOLDEN.glob("*.bin"))
    return [(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()[:16]) for path in files]
