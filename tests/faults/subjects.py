"""Files of each kind that rdtools reads, damaged case by case; every case is drawn by its number and the seed.

A case returns what became of it and raises where a promise is broken. The promises: a damaged file is refused by a `CorruptFile` of one
line; a forged one, whose checksums agree, is refused in one line or read as what its header says.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np
from faults.limits import Case
from faults.mutations import mutated
from golden_weights import FOLDER

from rdtools.errors import CorruptFile, RdtoolsError

#: Golden containers, between them every field of both versions.
CONTAINERS = sorted(FOLDER.glob("v*/*.bin"))


def _refused(error: RdtoolsError) -> str:
    message = str(error)
    assert "\n" not in message, message
    assert len(message) > 20, message
    return type(error).__name__


def _content(weights) -> list:
    from rdtools.coding import reconstruct

    return [reconstruct(weight) for weight in weights]


def damaged_containers(seed: int) -> Case:
    """Damage without a new checksum: whatever changes a byte is a `CorruptFile`."""
    from rdtools.coding import decode_all

    files = [path.read_bytes() for path in CONTAINERS]

    def case(number: int) -> str:
        generator = np.random.default_rng((seed, 1, number))
        data = files[int(generator.integers(len(files)))]
        damaged = mutated(data, generator)
        if damaged == data:
            return "unchanged"
        try:
            decode_all(damaged)
        except CorruptFile as error:
            return _refused(error)
        raise AssertionError("accepted")

    return case


class _Agrees:
    """A checksum that is the stored one, whatever that is: what a forger's arithmetic comes to."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None


def _without_checksums() -> None:
    from rdtools.coding import fields, frames
    from rdtools.coding.formats import scalar

    for module in (fields, frames, scalar):
        module.zlib = SimpleNamespace(crc32=lambda *_: _Agrees())


def forged_containers(seed: int) -> Case:
    """Damage with every checksum recomputed: a `CorruptFile`, or finite values of the shape in the header."""
    from rdtools.coding import decode_all

    files = [path.read_bytes() for path in CONTAINERS]
    for data in files:
        _try_decoding(data)  # compiles what decoders use
    _without_checksums()

    def case(number: int) -> str:
        generator = np.random.default_rng((seed, 2, number))
        forged = files[int(generator.integers(len(files)))]
        for _ in range(int(generator.integers(1, 4))):
            forged = mutated(forged, generator) or forged
        try:
            weights = decode_all(forged)
            matrices = _content(weights)
        except CorruptFile as error:
            return _refused(error)
        (columns,) = struct.unpack_from("<I", forged, 6 if forged[4] == 3 else 12)
        for weight, matrix in zip(weights, matrices, strict=True):
            assert matrix.shape == (weight.basis.rows, columns), matrix.shape
            assert np.isfinite(matrix).all(), "values that are not finite"
        return "read"

    return case


def _try_decoding(data: bytes) -> None:
    from rdtools.coding import decode_all

    try:
        _content(decode_all(data))
    except CorruptFile:  # rotations of version 2 that cannot be rebuilt
        return
