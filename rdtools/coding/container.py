"""The file that a rate is measured on: symbols, scales and entropy models of the matrices of one input, with checksums.

`rdtools.coding.format_v3` has the layout that is written, `rdtools.coding.format_v2` the older one that is read too.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import format_v2 as v2
from rdtools.coding import format_v3 as v3
from rdtools.coding.agreement import check_agreement
from rdtools.coding.codec import Codec
from rdtools.coding.entropy.exponents import exponent_bytes
from rdtools.coding.fields import Reader, packed
from rdtools.coding.formats import tagged_codec
from rdtools.coding.frames import Matrix, read_v2, read_v3
from rdtools.coding.parts import coded_columns, encode_parts
from rdtools.coding.scales import bfloat16_bytes
from rdtools.errors import CorruptFile, ShapeMismatch, UsageError, check_type
from rdtools.records import QuantizedWeight, Rotation, Symbols

#: Weights that a file may hold by default: twice those of the largest known matrix, and unless it is small no more for each of its bytes
#: than at 0.002 bits per weight.
MAX_WEIGHTS, MAX_WEIGHTS_PER_BYTE, SMALL = 2**32, 2**12, 2**21


@dataclass(frozen=True)
class MatrixBytes:
    """Bytes of one matrix in a container that no other matrix needs."""

    weights: int
    payload: int
    overhead: int


@dataclass(frozen=True)
class Container:
    """Encoded matrices of one input.

    Attributes
    ----------
    data : the file
    matrices : bytes of each matrix alone; the rest of the file is shared, exponents that several matrices have among it
    """

    data: bytes
    matrices: tuple[MatrixBytes, ...]

    @property
    def payload_bytes(self) -> int:
        """Bytes of coded symbols."""
        return sum(matrix.payload for matrix in self.matrices)


@dataclass(frozen=True)
class MatrixBits:
    """Bits of one matrix in a container, with its part of the shared ones.

    Attributes
    ----------
    payload : coded symbols
    overhead : everything else, shared bits in proportion to weights
    """

    payload: float
    overhead: float

    @property
    def total(self) -> float:
        """Bits in all; over the matrices they sum to those of the file."""
        return self.payload + self.overhead


def container_bits(container: Container) -> tuple[MatrixBits, ...]:
    """Bits of each matrix: its own, and shared bits in proportion to the number of weights.

    Examples
    --------
    Five bytes are shared by matrices of three weights and of one.

    >>> container_bits(Container(bytes(25), (MatrixBytes(3, 4, 6), MatrixBytes(1, 5, 5))))
    (MatrixBits(payload=32.0, overhead=78.0), MatrixBits(payload=40.0, overhead=50.0))
    """
    parts = container.matrices
    shared = 8 * (len(container.data) - sum(part.payload + part.overhead for part in parts))
    weights = sum(part.weights for part in parts)
    shares = [part.weights / weights if weights else 1 / len(parts) for part in parts]
    return tuple(MatrixBits(8.0 * part.payload, 8 * part.overhead + shared * share) for part, share in zip(parts, shares, strict=True))


def _same(scales: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    return scales is other if scales is None or other is None else np.array_equal(scales, other)


_ROTATION_NUMBERS = {kind: number for number, kind in v3.ROTATIONS.items()}


def _rotation_kind(rotation: Rotation | None) -> int:
    return _ROTATION_NUMBERS[None if rotation is None else rotation.kind]


def _seed(rotation: Rotation | None) -> bytes:
    return b"" if rotation is None else packed(v3.SEED, rotation.seed)


def _may_follow(codec: Codec, chain: Sequence[Symbols], symbols: Symbols) -> bool:
    """True for symbols with the kind and the step exponents of the last ones."""
    if not chain or type(chain[-1]) is not type(symbols) or codec.exponents is None:
        return False
    return _same(codec.exponents(chain[-1]), codec.exponents(symbols))


def encode(weights: QuantizedWeight | Sequence[QuantizedWeight], *, following: bool = False) -> Container:
    """Write quantized weights as a file; `decode` and `decode_all` give back equal records.

    Parameters
    ----------
    weights : one, or up to 255 of the same input: equal active columns and input rotation, which are stored once, as are column scales if
        they are equal
    following : store step exponents that are those of the matrix before once, and let models that learn go on from its rows where that is
        shorter; then a matrix decodes after those before it only

    Raises
    ------
    ShapeMismatch
        For weights of different inputs, and parts of a weight that have other sizes than each other.
    UsageError
        For no weight, or too many, and for numbers that are not those that a file stores.
    WrongType
        For anything but quantized weights.
    """
    several = tuple(weights) if isinstance(weights, list | tuple) else (weights,)
    for weight in several:
        check_type("encode", type(weight), QuantizedWeight, "such as `weight` of what a quantizer answered")
    if not 1 <= len(several) <= 255:
        raise UsageError(f"encode: {len(several)} weights, expected 1 to 255 of one input")
    for weight in several:
        check_agreement(weight.basis, weight.symbols, weight.parts)
    first = several[0].basis
    for index, weight in enumerate(several):
        if not np.array_equal(weight.basis.active, first.active) or weight.basis.rotation != first.rotation:
            raise ShapeMismatch(
                f"encode: weight {index} has {int(weight.basis.active.sum())} of {len(weight.basis.active)} columns active and rotation "
                f"{weight.basis.rotation}, the first {int(first.active.sum())} of {len(first.active)} and {first.rotation}; weights in a "
                "file share their input: encode them apart"
            )
    return _container(several, following, lambda codec, symbols, chain: codec.encode(symbols, chain) if chain else codec.encode(symbols))


def _container(several: Sequence[QuantizedWeight], following: bool, coded: Callable[..., tuple[bytes, bytes]]) -> Container:
    """A file of weights of one input, from their side information and payload by codec, symbols, and those before."""
    first = several[0].basis
    own_scales = not all(_same(weight.basis.column_scales, first.column_scales) for weight in several)
    inactive = not first.active.all()
    shared = _seed(first.rotation)
    if inactive:
        shared += np.packbits(first.active).tobytes()
    if first.column_scales is not None and not own_scales:
        shared += bfloat16_bytes(first.column_scales)

    sides, payloads, heads = [], [], []
    chain: list[Symbols] = []
    common = [0] * len(several)  # bytes of step exponents that other matrices use too
    for index, weight in enumerate(several):
        (tag, codec), basis = tagged_codec(weight.symbols), weight.basis
        chain = chain if following and _may_follow(codec, chain, weight.symbols) else []
        side = _seed(basis.row_rotation)
        if own_scales:
            side += b"\0" if basis.column_scales is None else b"\1" + bfloat16_bytes(basis.column_scales)
        content, payload = coded(codec, weight.symbols, chain)
        parts = encode_parts(weight.parts)
        sides.append(side + parts + content)
        payloads.append(payload)
        size = len(sides[-1]) + (len(shared) if len(several) == 1 else 0)
        tag |= v3.PARTS * bool(parts) | v3.FOLLOWS * bool(chain)
        heads.append(v3.MATRIX_HEAD.pack(tag, _rotation_kind(basis.row_rotation), basis.rows, size))
        if chain and codec.exponents is not None and (exponents := codec.exponents(weight.symbols)) is not None:
            common[index - len(chain)] = len(exponent_bytes(exponents))
        chain = [*chain, weight.symbols]
    flags = v2.INACTIVE_COLUMNS * inactive | v2.COLUMN_SCALES * (first.column_scales is not None and not own_scales)
    flags |= v3.OWN_SCALES * own_scales | v3.SEVERAL * (len(several) > 1)
    head = v3.HEAD.pack(v2.MAGIC, v3.VERSION, _rotation_kind(first.rotation) | flags << 4, len(first.active))
    if len(several) > 1:
        head += v3.SEVERAL_HEAD.pack(len(several), len(shared))
    head += b"".join(heads)
    body = shared + b"".join(sides)
    data = head + v2.CHECKSUM.pack(zlib.crc32(body, zlib.crc32(head))) + body + b"".join(payloads)
    columns = len(first.active)
    matrices = tuple(
        MatrixBytes(weight.basis.rows * columns, len(payload), v3.MATRIX_HEAD.size + len(side) - others)
        for weight, side, payload, others in zip(several, sides, payloads, common, strict=True)
    )
    return Container(data, matrices)


@dataclass(frozen=True)
class SampledBits:
    """Bits of a matrix of which a sample of blocks was coded.

    Attributes
    ----------
    bits : coded ones, and those of the other blocks by their model
    share : coded integers over all
    """

    bits: MatrixBits
    share: float


def sampled_bits(weight: QuantizedWeight) -> SampledBits | None:
    """The bits of a file of a matrix, of whose symbols every eighth block is coded and decoded; None where the whole has to be coded.

    Raises
    ------
    CodingError
    """
    codec = tagged_codec(weight.symbols)[1]
    sample = codec.sample(weight.symbols) if codec.sample else None
    if sample is None:
        return None
    (bits,) = container_bits(_container((weight,), False, lambda *_: (sample.side, sample.payload)))
    return SampledBits(MatrixBits(bits.payload + sample.left_payload_bits, bits.overhead + sample.left_side_bits), sample.share)


_FRAMES: dict[int, Callable[[Reader, int], list[Matrix]]] = {v2.VERSION: read_v2, v3.VERSION: read_v3}


def decode_all(
    data: bytes, *, name: str = "container", executor: Executor | None = None, max_weights: int | None = None
) -> tuple[QuantizedWeight, ...]:
    """Read what `encode` wrote: all matrices of the file.

    Parameters
    ----------
    data : the file
    name : for messages
    executor : decodes blocks of columns in its workers; None to decode them one after another. The result is the same.
    max_weights : refuse files of more weights, rows times columns, before memory is taken. None for MAX_WEIGHTS, of which a file has to
        have a byte for MAX_WEIGHTS_PER_BYTE, unless there are no more than SMALL; say how many there are to decode a matrix of zeros, which
        takes a few bytes whatever its size. Memory stays below 64 bytes for each weight of this number and each byte of the file, and 64 MB

    Raises
    ------
    CorruptFile
        For another kind of file, a truncated one, a flipped bit, an unknown version, codec, kind or option, and numbers out of their range;
        the message starts with `name` and says which.
    WrongType
        For anything but bytes.
    """
    check_type("decode", type(data), bytes, "the content of a file that `encode` wrote; of a path: pathlib.Path(path).read_bytes()")
    reader = Reader(data, name)
    if len(data) < len(v2.MAGIC) + 1 or data[: len(v2.MAGIC)] != v2.MAGIC:
        raise CorruptFile(f"{name}: not a container of rdtools: {len(data)} bytes starting {data[:4]!r}, expected {v2.MAGIC!r}")
    version = data[len(v2.MAGIC)]
    if version not in _FRAMES:
        known = " and ".join(map(str, sorted(_FRAMES)))
        raise CorruptFile(f"{name}: container version {version}, this rdtools reads {known}; a newer rdtools wrote it: upgrade rdtools")
    if max_weights is None:
        max_weights = min(MAX_WEIGHTS, max(SMALL, MAX_WEIGHTS_PER_BYTE * len(data)))
    matrices = _FRAMES[version](reader, max_weights)
    apply = map if executor is None else executor.map
    weights: list[QuantizedWeight] = []
    chain: list[Symbols] = []
    for matrix in matrices:
        chain = chain if matrix.follows else []
        columns = coded_columns(matrix.basis, matrix.parts)
        symbols = matrix.codec.decode(matrix.side, reader, matrix.basis.rows, columns, apply, *([chain] if chain else []))
        chain = [*chain, symbols]
        matrix.side.finish("the side information")
        weights.append(QuantizedWeight(matrix.basis, symbols, matrix.parts))
    reader.finish()
    return tuple(weights)


def decode(data: bytes, *, name: str = "container", executor: Executor | None = None, max_weights: int | None = None) -> QuantizedWeight:
    """Read what `encode` wrote of a single matrix; parameters and errors as those of `decode_all`.

    Raises
    ------
    CorruptFile
    UsageError
        For a file of several matrices.
    """
    weights = decode_all(data, name=name, executor=executor, max_weights=max_weights)
    if len(weights) > 1:
        raise UsageError(f"{name}: holds {len(weights)} matrices, expected one; read it with decode_all")
    return weights[0]
