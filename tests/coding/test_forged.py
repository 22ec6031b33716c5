"""Files with a good checksum that no rdtools wrote: refused by name, or decoded, in little memory."""

from __future__ import annotations

import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from golden_weights import WEIGHTS, following, natural, stored

from rdtools.coding import decode_all, encode
from rdtools.coding.entropy.coder import decode_runs, encode_runs
from rdtools.coding.entropy.exponents import read_exponents
from rdtools.coding.entropy.gaussians import Gaussian
from rdtools.coding.entropy.models import read_histogram, uniform_table
from rdtools.coding.fields import Reader, varint
from rdtools.errors import CorruptFile
from rdtools.measure.point import same_weight
from rdtools.records import Basis, GaussianModel, QuantizedWeight, Rotation, ScalarSymbols, SharedHistogram, UniformGrid

#: Weights that the files of these tests may hold, and the bytes of memory that `decode_all` then keeps below.
MAX_WEIGHTS = 4096
MEMORY = 128 * MAX_WEIGHTS + 128 * 200 + 64_000_000


def checksum_place(data: bytes) -> tuple[int, int]:
    """Where the checksum stands, and the end of the side information."""
    if data[4] == 3 and data[5] & 0x80:
        count, shared = struct.unpack_from("<BI", data, 10)
        sizes = [struct.unpack_from("<I", data, 15 + 10 * k + 6)[0] for k in range(count) if 25 + 10 * k <= len(data)]
        place = 15 + 10 * count
        return place, place + 4 + shared + sum(sizes)
    return 20, 24 + struct.unpack_from("<I", data, 16)[0]


def repaired(data: bytes) -> bytes:
    """The file with the checksum that its head and side information have."""
    place, end = checksum_place(data)
    checksum = zlib.crc32(data[place + 4 : end], zlib.crc32(data[:place]))
    return data[:place] + struct.pack("<I", checksum) + data[place + 4 :] if place + 4 <= len(data) else data


def refused(data: bytes) -> bool:
    """True if the file is refused as it should be; any other exception is the test's failure."""
    try:
        decode_all(data, name="some.rdtq", max_weights=MAX_WEIGHTS)
    except CorruptFile as error:
        return str(error).startswith("some.rdtq: ")
    return False


def forge(data: bytes, positions, values) -> list[bool]:
    """Outcomes of setting each byte to each value, with the checksum repaired."""
    outcomes = []
    for position in positions:
        for value in values:
            forged = bytearray(data)
            forged[position] = value
            outcomes.append(refused(repaired(bytes(forged))))
    return outcomes


#: Together they have every field but the numbers of Gaussian models, wide ones of which take long.
QUICK = (
    *("shared", "histogram", "fixed", "exponents", "lattice", "lattice 2 bits", "trellis", "additive", "additive permutation"),
    "parts bfloat16",
    "parts links",
)
BITS = (0, 255, *(1 << k for k in range(8)))


@pytest.mark.parametrize("name", QUICK)
def test_every_value_of_every_byte_before_the_payload_is_refused_or_decoded(name):
    data = stored(3, name)
    place, end = checksum_place(data)
    outcomes = forge(data, [*range(place), *range(place + 4, end)], range(256))
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.parametrize("name", ["column", "rows", "narrow", "zero", "gains", "several", "coset", "coset rows"])
def test_bytes_before_the_payload_are_refused_or_decoded_in_bounded_memory(name):
    """Gaussian models: each byte with single bits, and in the memory that is stated."""
    data = stored(3, name)
    place, end = checksum_place(data)
    tracemalloc.start()
    try:
        outcomes = forge(data, [*range(place), *range(place + 4, end)], BITS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.parametrize("name", ["fixed", "trellis 1mad"])
def test_every_value_of_the_head_of_version_2_is_refused_or_decoded(name):
    """Head, rotation seeds, mask and column scales."""
    outcomes = forge(stored(2, name), [*range(20), *range(24, 32)], range(256))
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.parametrize(("name", "position", "value", "message"), [
    ("shared", 5, 0x1F, "input rotation 15, expected one of 0 None, 2 hadamard, 4 haar, 5 kronecker"),
    ("shared", 10, 7, "codec 7, expected one of 0 ScalarSymbols, 1 LatticeWords, 2 TrellisPaths, 3 CosetSymbols, 4 AdditiveCodes, 5 "),
    ("shared", 11, 3, "row rotation 3, expected one of"),
    ("shared", 5, 0x74, "column scales that are both shared and own"),
    ("trellis", 24, 9, "trellis code 9, expected one of 0 1mad, 1 3inst, 2 hyb"),
    ("lattice", 24, 5, "lattice words of 5 bits per weight, expected one of 2, 3, 4"),
    ("trellis", 25, 21, "2 bits and 21 state bits, expected"),
    ("additive", 24, 3, "order of columns 3, expected one of 0 natural, 1 set, 2 permutation"),
    ("additive", 26, 17, "1 codebooks of 17 bits and 1 more"),
    ("additive", 27, 0, "0 extended codebooks of 3 bits for 1 critical groups"),
    ("adaptive", 37, 5, "entropy model 5, expected one of 0 fixed, 1 shared, 2 column, 3 histogram, 4 adaptive"),
    ("adaptive coset", 24, 0xC1, "flags of integers 0xc1 with unknown options 0x40"),
    ("adaptive", 46, 11, "adaptive model of 4 columns and strength 11, expected"),
    ("adaptive", 48, 0xFF, "groups of 65284 columns in a matrix of 24 rows, expected at most 512"),
    ("parts", 10, 0x87, "codec 7, expected one of 0 ScalarSymbols"),
    ("points E8", 39, 2, "lattice 2, expected one of 0 D4, 1 E8"),
    ("coset", 33, 11, "bits of a state 11, expected one of 2 2, 3 3"),
    ("parts", 33, 0, "parts of a layer, of which none is there"),
    ("parts", 33, 8, "fine channels of activations without a grid of the others"),
    ("parts", 33, 32, "parts of a layer 0x20 with unknown options 0x20"),
    ("parts", 34, 1, "activation grid: 1 bits, expected a whole number from 2 to 16"),
    ("parts", 35, 2, "symmetry of activations 2, expected one of 0 False, 1 True"),
    ("parts", 48, 9, "a low-rank term of rank 9 beside 2 rows and 4 columns"),
    ("parts", 52, 4, "dtype of factors 4, expected one of 0 bfloat16, 1 float16"),
    ("fixed", 38, 0xDD, "gains of the integers beside lmmse_std 0.75"),
])  # fmt: skip
def test_what_this_program_does_not_know_is_named(name, position, value, message):
    """The first four with a good checksum made an IndexError or a KeyError in container 2."""
    forged = bytearray(stored(3, name))
    forged[position] = value
    with pytest.raises(CorruptFile, match=rf"^some\.rdtq: {re.escape(message)}.*upgrade rdtools"):
        decode_all(repaired(bytes(forged)), name="some.rdtq")


@pytest.mark.parametrize(("matrix", "tag", "message"), [
    (0, 67, "a matrix that follows another, expected one of integers of the same kind before it"),
    (1, 64, "a matrix that follows another, expected one of integers of the same kind before it"),
    (1, 65, "a matrix that follows another"),
    (3, 67, None),
])  # fmt: skip
def test_forged_matrices_that_follow_others_are_refused_or_read(matrix, tag, message):
    forged = bytearray(encode(following(), following=True).data)
    forged[15 + 10 * matrix] = tag
    if message is None:  # which has no step exponents to leave out
        assert all(map(same_weight, decode_all(repaired(bytes(forged))), following()))
        return
    with pytest.raises(CorruptFile, match=message):
        decode_all(repaired(bytes(forged)))


def test_models_that_go_on_from_no_matrix_are_refused():
    forged = bytearray(stored(3, "adaptive coset"))
    place = len(forged) - encode(WEIGHTS["adaptive coset"]).payload_bytes
    strength = next(k for k in range(24, place) if forged[k : k + 3] == bytes([9, 7, 0]))
    forged[strength] |= 16
    with pytest.raises(CorruptFile, match="models that go on learning, expected rows of a matrix before this one"):
        decode_all(repaired(bytes(forged)))


def test_many_integers_under_learnt_models_in_few_bytes_are_refused_before_anything_is_learnt():
    """Learning takes thousands of operations for each integer, so that a small file must not ask for many."""
    forged = bytearray(stored(3, "adaptive off"))
    forged[12:16] = struct.pack("<I", 2**16)
    forged[46:47] = bytes([6, 4, 0])
    (size,) = struct.unpack_from("<I", forged, 16)
    struct.pack_into("<I", forged, 16, size + 2)
    with pytest.raises(CorruptFile, match=r"458752 integers under learnt models in \d+ bytes, expected at most 256 each"):
        decode_all(repaired(bytes(forged)))


def test_sizes_are_refused_before_memory_is_taken():
    """Four thousand million columns, or rows of them, in a file of 60 bytes."""
    for place in (6, 12):
        forged = bytearray(stored(3, "zero"))
        forged[place : place + 4] = b"\xff" * 4
        tracemalloc.start()
        with pytest.raises(CorruptFile, match="expected at most 16777216 of each"):
            decode_all(repaired(bytes(forged)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000
    zeros = natural(ScalarSymbols(np.zeros((64, 65), dtype=np.int32), UniformGrid(1.0), SharedHistogram()), 64, 65)
    with pytest.raises(
        CorruptFile, match=r"64 rows and 65 columns, expected at most 16777216 of each and 4096 weights \(argument max_weights\)"
    ):
        decode_all(encode(zeros).data, max_weights=4096)


@pytest.mark.parametrize(("symbols", "frequencies", "message"), [
    ([3], [5], "a histogram of 5 integers, expected 6"),
    ([3, 3], [3, 3], "expected ascending integers"),
    ([2**40], [6], "expected ascending integers of 32 bits"),
])  # fmt: skip
def test_histograms_that_no_integers_have_are_refused(symbols, frequencies, message):
    runs = b"".join(varint(s - p) + varint(1) + varint(f) for s, p, f in zip(symbols, [0, *symbols], frequencies, strict=False))
    with pytest.raises(CorruptFile, match=message):
        read_histogram(Reader(varint(len(symbols)) + runs, "x"), 6)


@pytest.mark.parametrize("field", ["runs", "length"])
def test_forged_lengths_of_histograms_are_refused(field):
    data = varint(2**60) if field == "runs" else varint(1) + varint(0) + varint(2**60)
    with pytest.raises(CorruptFile, match="expected 0 to"):
        read_histogram(Reader(data, "x"), 2**62)


@pytest.mark.parametrize("data", [bytes([7, 0, 0, 0, 0, 0]), b"\1\5" + struct.pack("<f", 1e9) + b"\0\0"])
def test_exponents_of_another_form_or_law_are_refused(data):
    with pytest.raises(CorruptFile, match=r"form of exponents 7|standard deviation of exponents 1e"):
        read_exponents(Reader(data, "x"), 1)


def test_escaped_integers_and_symbols_that_do_not_belong_together_are_refused():
    words, escaped = encode_runs([(np.array([1000]), Gaussian(1.0))])
    for wrong in ([], [*escaped, 1]):
        with pytest.raises(CorruptFile, match=rf"{len(wrong)} escaped integers"):
            decode_runs(words, np.array(wrong, dtype=np.int64), [(1, Gaussian(1.0))], name="x")
    with pytest.raises(CorruptFile, match="that no frequencies of this file give"):
        decode_runs(np.full(2, 2**32 - 1, dtype=np.uint32), np.zeros(0, np.int64), [(9, uniform_table(3))], name="x")


def test_a_few_bytes_hold_no_matrix_of_millions_unless_the_reader_says_so():
    """Zeros take no bits, so that a file of 55 bytes may be of any size."""
    zeros = natural(ScalarSymbols(np.zeros((1500, 1500), dtype=np.int32), UniformGrid(1.0), SharedHistogram()), 1500, 1500)
    data = encode(zeros).data
    assert len(data) == 55
    with pytest.raises(CorruptFile, match=r"1500 rows and 1500 columns, expected .* and 2097152 weights \(argument max_weights\)"):
        decode_all(data)
    (weight,) = decode_all(data, max_weights=1500**2)
    assert weight.symbols.integers.shape == (1500, 1500)


@pytest.mark.parametrize(("kind", "columns", "message"), [
    ("hadamard", 3, "a hadamard rotation of order 3, expected an order that exists"),
    ("haar", 2000, r"a haar rotation of order 2000, expected a matrix of at most 2097152 numbers \(argument max_weights\)"),
    ("kronecker", 1999, "a kronecker rotation of order 1999, expected a matrix of at most"),
])  # fmt: skip
def test_rotations_that_do_not_exist_or_take_too_much_are_refused(kind, columns, message, monkeypatch):
    monkeypatch.setattr("rdtools.coding.container.check_agreement", lambda *parts: None)  # which would not write it
    symbols = ScalarSymbols(np.zeros((1, columns), dtype=np.int32), UniformGrid(1.0), SharedHistogram())
    basis = Basis(1, np.ones(columns, dtype=bool), Rotation(kind, columns, 1))
    with pytest.raises(CorruptFile, match=message):
        decode_all(encode(QuantizedWeight(basis, symbols)).data)


def test_a_hundred_of_the_widest_gaussian_models_are_refused_before_any_table_is_made():
    exponents = np.arange(100, dtype=np.uint8)
    symbols = ScalarSymbols(np.zeros((1, 100), dtype=np.int32), UniformGrid(1.0, exponents), GaussianModel(1.0))
    head = encode(natural(symbols, 1, 100)).data
    # the same file with a finer step and a larger deviation; its words are of the narrow models
    forged = head.replace(struct.pack("<f", 1.0), struct.pack("<f", 2.0**-60), 1).replace(
        struct.pack("<ff", 1.0, 0.0), struct.pack("<ff", 1e30, 0.0), 1
    )
    with pytest.raises(CorruptFile, match=r"Gaussian models of 52429\d\d\d frequencies for \d+ bytes, expected at most 33554432"):
        decode_all(repaired(forged))


def test_a_residual_scale_below_zero_is_refused():
    forged = stored(3, "lattice 2 bits")
    forged = forged.replace(struct.pack("<ff", 0.5, 0.0), struct.pack("<ff", 0.5, -1.0))
    with pytest.raises(CorruptFile, match=r"residual_scale -1\.0 at 2 bits, expected 0"):
        decode_all(repaired(forged))
