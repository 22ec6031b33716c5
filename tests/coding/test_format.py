"""The format is a promise: a change of these bytes is a new container version."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import zlib

import numpy as np
import pytest
from golden_weights import FOLDER, WEIGHTS, example, following, stored
from rdtools.kernels import adaptive_coder_reference, coset_trellis_reference

from rdtools import normal
from rdtools.coding import decode, decode_all, encode, format_v2, format_v3
from rdtools.coding.formats import CODECS, codec_of
from rdtools.coding.parts import coded_columns
from rdtools.errors import CodingError, CorruptFile
from rdtools.measure.point import same_weight
from rdtools.ops import dispatch
from rdtools.records import QuantizedWeight, Rotation

VALUES = json.loads((FOLDER / "values.json").read_text())
#: Files of version 2 with a Haar rotation by NumPy's generator.
UNBUILDABLE = ("column", "rows", "shared", "histogram")
#: What version 2 has no files of.
NEW = ("integer gains", *(name for name in WEIGHTS if name.startswith(("adaptive", "additive", "coset", "parts", "points", "tiles"))))


def digest(weight) -> str:
    """SHA-256 of the decoded values before any rotation."""
    values = codec_of(weight.symbols).values(weight.symbols, coded_columns(weight.basis, weight.parts))
    return hashlib.sha256(values.tobytes()).hexdigest()


def group():
    """Two matrices that share their input but not their scales."""
    weight = example()
    scaled = dataclasses.replace(weight.basis, column_scales=np.array([0.5, 2.0, 1.0]))
    return [weight, QuantizedWeight(scaled, weight.symbols)]


def holds(name: str) -> bool:
    """Golden files of both versions are read, and written where they should be."""
    try:
        weight = WEIGHTS[name]
        new = encode(weight).data
        return (
            new == stored(3, name)
            and (name in UNBUILDABLE + NEW or same_weight(decode(stored(2, name)), weight))
            and same_weight(decode(new), weight)
            and digest(weight) == VALUES[name]
        )
    except (CorruptFile, ValueError, IndexError, struct.error):
        return False


@pytest.mark.parametrize("name", WEIGHTS)
def test_golden_files_are_written_and_read(name):
    weight = WEIGHTS[name]
    assert encode(weight).data == stored(3, name)
    assert same_weight(decode(stored(3, name)), weight)
    assert digest(weight) == VALUES[name]


@pytest.mark.parametrize("name", sorted({*WEIGHTS} - {*NEW}))
def test_files_of_version_2_have_the_payload_of_version_3_and_four_bytes_less_for_each_rotation(name):
    old, new, basis = stored(2, name), encode(WEIGHTS[name]), WEIGHTS[name].basis
    assert (old[4], new.data[4]) == (2, 3)
    assert len(old) == len(new.data) - 4 * sum(rotation is not None for rotation in (basis.rotation, basis.row_rotation))
    assert new.payload_bytes == 0 or old[-new.payload_bytes :] == new.data[-new.payload_bytes :]


@pytest.mark.parametrize("name", sorted({*WEIGHTS} - {*UNBUILDABLE, *NEW}))
def test_files_of_version_2_are_read(name):
    assert same_weight(decode(stored(2, name)), WEIGHTS[name])


@pytest.mark.parametrize("name", UNBUILDABLE)
def test_rotations_of_version_2_that_cannot_be_rebuilt_are_refused_with_the_version_that_can(name):
    with pytest.raises(CorruptFile, match=r"^some\.rdtq: a haar rotation of container version 2 .* cannot be rebuilt; .* rdtools 0\.1"):
        decode(stored(2, name), name="some.rdtq")


def test_a_kronecker_rotation_of_the_rows_of_version_2_is_refused():
    data = bytearray(stored(2, "fixed"))
    data[6] = 3 << 4
    (size,) = struct.unpack_from("<I", data, 16)
    struct.pack_into("<I", data, 20, zlib.crc32(data[24 : 24 + size], zlib.crc32(data[:20])))
    with pytest.raises(CorruptFile, match="a kronecker rotation of container version 2"):
        decode(bytes(data))


def test_a_seed_of_64_bits_is_kept():
    weight = example()
    long = QuantizedWeight(dataclasses.replace(weight.basis, rotation=Rotation("haar", 3, 2**64 - 2)), weight.symbols)
    assert decode(encode(long).data).basis.rotation == Rotation("haar", 3, 2**64 - 2)


def test_the_golden_file_of_several_matrices_is_written_and_read():
    assert encode(group()).data == stored(3, "several")
    assert all(map(same_weight, decode_all(stored(3, "several")), group()))


def test_the_golden_file_of_matrices_that_follow_others_is_written_and_read():
    assert encode(following(), following=True).data == stored(3, "following")
    assert all(map(same_weight, decode_all(stored(3, "following")), following()))


@pytest.mark.parametrize(("constant", "value"), [("FOLLOWS", 32), ("CONTINUED", 32)])
def test_changing_a_flag_of_matrices_that_follow_others_breaks_a_golden_file(constant, value, monkeypatch):
    monkeypatch.setattr(format_v3, constant, value)
    assert encode(following(), following=True).data != stored(3, "following")


@pytest.mark.parametrize("version", [0, 1, 4, 255])
def test_an_unknown_version_is_named_with_those_that_are_read(version):
    data = bytearray(stored(3, "column"))
    data[4] = version
    with pytest.raises(CorruptFile, match=rf"^some\.rdtq: container version {version}, this rdtools reads 2 and 3; .*upgrade rdtools"):
        decode(bytes(data), name="some.rdtq")


#: Another value for each number that decides bytes, and golden files that it must break.
CHANGES = {
    "MAGIC": (b"RDTX", ["column"]),
    "HEAD": (struct.Struct(">4sBBBBIII"), ["fixed"]),
    "CHECKSUM": (struct.Struct(">I"), ["column"]),
    "SEED": (struct.Struct(">I"), ["fixed"]),
    "ROTATIONS": ((None, "hadamard", "haar", "kronecker"), ["fixed"]),
    "INACTIVE_COLUMNS": (4, ["column"]),
    "COLUMN_SCALES": (4, ["fixed"]),
    "VARINT_BITS": (6, ["wide"]),
    "VARINT_LIMIT": (7, ["wide"]),
    "BLOCK_SYMBOLS": (2**20 + 1, ["blocks"]),
    "PRECISION_BITS": (23, ["column", "rows", "narrow"]),
    "WINDOW_STDS": (5.0, ["column", "rows", "exponents"]),
    "WINDOW_LIMIT": (2**18 + 1, ["wide"]),
    "MIN_VARIANCE": (2.0**-6, ["narrow"]),  # below 2⁻⁷ every minimum gives the same frequencies
    "MIN_STD": (0.3, ["zero"]),
    "SCALAR_HEAD": (struct.Struct(">Bf"), ["column"]),
    "MODELS": (("shared", "fixed", "column", "histogram"), ["shared"]),
    "LEVELS": (struct.Struct(">I"), ["fixed"]),
    "GAUSSIAN": (struct.Struct(">ff"), ["column"]),
    "GAIN": (struct.Struct(">f"), ["column"]),
    "BLOCK_CHECKSUM": (struct.Struct(">I"), ["column"]),
    "STEP_EXPONENTS": (128, ["column"]),
    "ROW_EXPONENTS": (128, ["rows"]),
    "ROW_SCALES": (128, ["fixed"]),
    "ZERO_POINTS": (128, ["fixed"]),
    "GAIN_STD": (128, ["column"]),
    "COLUMN_GAINS": (128, ["shared"]),
    "MID_RISE": (128, ["fixed"]),
    "SCALES_DTYPE": (">u2", ["fixed"]),
    "WORDS_DTYPE": (">u4", ["column"]),
    "EXPONENTS_HEAD": (struct.Struct(">BBf"), ["exponents"]),
    "PLAIN_EXPONENTS": (2, ["column"]),
    "CODED_EXPONENTS": (2, ["exponents"]),
    "MIN_EXPONENT_STD": (0.06, ["equal exponents"]),
    "LATTICE_HEAD": (struct.Struct(">BffI"), ["lattice"]),
    "STAGE_BYTES": ({2: (3,), 3: (2, 2), 4: (2, 3)}, ["lattice"]),
    "TRELLIS_HEAD": (struct.Struct(">BBBfII"), ["trellis"]),
    "TRELLIS_CODES": (("3inst", "1mad", "hyb"), ["trellis", "trellis 1mad"]),
    "TILE": (8, ["trellis"]),
}


@pytest.mark.parametrize("constant", CHANGES)
def test_changing_a_number_of_the_format_breaks_a_golden_file(constant, monkeypatch):
    value, names = CHANGES[constant]
    monkeypatch.setattr(format_v2, constant, value)
    assert not any(holds(name) for name in names)


@pytest.mark.parametrize(("constant", "value"), [("GAIN_TERMS", 25), ("GAIN_RANGE", (0.5, 8.0)), ("GAIN_RANGE", (0.25, 7.0))])
def test_changing_the_portable_gain_breaks_a_golden_file(constant, value, monkeypatch):
    monkeypatch.setattr(normal, constant, value)
    assert not holds("gains")


@pytest.mark.parametrize("constant", ["HEAD", "SEVERAL_HEAD", "MATRIX_HEAD", "SEED"])
def test_changing_the_frame_of_version_3_breaks_a_golden_file(constant, monkeypatch):
    monkeypatch.setattr(format_v3, constant, struct.Struct(getattr(format_v3, constant).format.replace("<", ">")))
    assert encode(group()).data != stored(3, "several")


def test_changing_the_kinds_of_version_3_breaks_a_golden_file(monkeypatch):
    monkeypatch.setattr(format_v3, "ROTATIONS", {0: None, 1: "haar", 2: "hadamard", 3: "kronecker"})
    with pytest.raises(CorruptFile, match="input rotation 4"):
        decode(stored(3, "column"))


@pytest.mark.parametrize(("constant", "value"), [
    ("ADDITIVE_HEAD", struct.Struct(">BBBBBII")),
    ("ADDITIVE_ORDERS", ("set", "natural", "permutation")),
    ("CODEWORDS_DTYPE", ">f2"),
])  # fmt: skip
def test_changing_a_number_of_additive_codebooks_breaks_a_golden_file(constant, value, monkeypatch):
    monkeypatch.setattr(format_v3, constant, value)
    assert not any(holds(name) for name in ("additive", "additive natural"))


@pytest.mark.parametrize(("constant", "value", "name"), [
    ("COSET_STATE", struct.Struct("<H"), "coset"),
    ("COSET_STATE_BITS", range(3, 11), "coset"),
    ("FINE_STD", 256.0, "coset rows"),
    ("MAX_SHIFT", 19, "coset wide"),
])  # fmt: skip
def test_changing_a_number_of_the_trellis_of_cosets_breaks_a_golden_file(constant, value, name, monkeypatch):
    monkeypatch.setattr(format_v3, constant, value)
    assert not holds(name)


@pytest.mark.parametrize(("constant", "value", "name"), [
    ("NEW_MODELS", ("column", "adaptive"), "adaptive off"),
    ("COSET_ADAPTIVE", 64, "adaptive coset"),
    ("STRENGTH", struct.Struct("<H"), "adaptive"),
    ("GROUP_COLUMNS", struct.Struct(">H"), "adaptive rows"),
])  # fmt: skip
def test_changing_a_number_of_learnt_models_breaks_a_golden_file(constant, value, name, monkeypatch):
    monkeypatch.setattr(format_v3, constant, value)
    assert not holds(name)


@pytest.mark.parametrize(("constant", "value", "name"), [
    ("UNITS", 32, "adaptive"), ("CLIP", 2, "adaptive rows"), ("MOST_MEAN", 1.0, "adaptive rows"), ("HEAVY", 1.0, "adaptive rows"),
    ("PRIOR_ROWS", 16, "adaptive"), ("INVERSE_SHARE", 1, "adaptive"), ("GROWTH", 2, "adaptive"), ("WINDOW", 5.0, "adaptive coset"),
    ("FINE_STD", 256.0, "adaptive wide"), ("MAX_SHIFT", 5, "adaptive wide"),
])  # fmt: skip
def test_changing_the_arithmetic_of_learnt_models_breaks_a_golden_file(constant, value, name, monkeypatch):
    """In the reference, which writes the bytes of the compiled code as long as its numbers are these."""
    monkeypatch.setattr(dispatch, "available_backends", lambda: ("reference",))
    assert encode(WEIGHTS[name]).data == stored(3, name)
    monkeypatch.setattr(adaptive_coder_reference, constant, value)
    assert encode(WEIGHTS[name]).data != stored(3, name)


@pytest.mark.parametrize(("constant", "value"), [
    ("PARTS", 64),
    ("HAS_ACTIVATION", 4),
    ("HAS_LOW_RANK", 4),
    ("ACTIVATION_GRID", struct.Struct(">BBdI")),
    ("LOW_RANK", struct.Struct(">IB")),
    ("FACTOR_DTYPES", {"float16": "<f2", "bfloat16": "<u2"}),
])  # fmt: skip
def test_changing_a_number_of_the_parts_of_a_layer_breaks_a_golden_file(constant, value, monkeypatch):
    monkeypatch.setattr(format_v3, constant, value)
    assert not holds("parts")


@pytest.mark.parametrize(("constant", "value"), [
    ("HAS_FINE", 16),
    ("FINE_CHANNELS", struct.Struct(">IB")),
    ("LINKS", ("select", "merge", "principal", "split")),
])  # fmt: skip
def test_changing_a_number_of_fine_channels_breaks_a_golden_file(constant, value, monkeypatch):
    assert holds("parts fine")
    monkeypatch.setattr(format_v3, constant, value)
    assert not holds("parts fine")


def test_changing_the_flag_of_a_bias_breaks_its_golden_file(monkeypatch):
    assert holds("parts bias")
    monkeypatch.setattr(format_v3, "HAS_BIAS", 32)
    assert not holds("parts bias")


@pytest.mark.parametrize(("constant", "value"), [
    ("HAS_LINKS", 8),
    ("LINKS", ("select", "split", "merge")),
    ("MOST_COPIES_BITS", 1),
])  # fmt: skip
def test_changing_a_number_of_the_links_of_a_map_breaks_a_golden_file(constant, value, monkeypatch):
    assert holds("parts links")
    monkeypatch.setattr(format_v3, constant, value)
    assert not holds("parts links")


@pytest.mark.parametrize(("constant", "value"), [("TILE_HEAD", struct.Struct(">BBII")), ("TILE_SCALES", struct.Struct(">4f"))])
def test_changing_a_number_of_blocks_of_paths_breaks_a_golden_file(constant, value, monkeypatch):
    assert holds("tiles")
    monkeypatch.setattr(format_v3, constant, value)
    assert not holds("tiles")


def test_changing_the_order_of_the_lattices_breaks_a_golden_file(monkeypatch):
    assert holds("points D4")
    monkeypatch.setattr(format_v3, "LATTICES", ("E8", "D4"))
    assert not holds("points D4")


def test_changing_a_code_of_the_trellis_breaks_a_golden_file(monkeypatch):
    monkeypatch.setitem(coset_trellis_reference.CODES, 4, (0o5, 0o4))
    with pytest.raises(CodingError, match="expected those of a trellis of 4 states"):
        encode(WEIGHTS["coset"])


def test_changing_the_flag_or_the_table_of_integer_gains_breaks_a_golden_file(monkeypatch):
    assert holds("integer gains")
    monkeypatch.setattr(format_v3, "INTEGER_GAINS", 64)
    assert not holds("integer gains")
    monkeypatch.undo()
    squares, gains = normal.gain_table()
    monkeypatch.setattr(normal, "gain_table", lambda: (squares, gains * (1 - 1e-9)))
    assert not holds("integer gains")


@pytest.mark.parametrize("constant", ["OWN_SCALES", "SEVERAL"])
def test_changing_a_flag_of_version_3_breaks_a_golden_file(constant, monkeypatch):
    monkeypatch.setattr(format_v3, constant, 1)
    assert encode(group()).data != stored(3, "several")


def test_every_number_of_the_formats_is_covered():
    """The version stands in every golden file, as does the tag of the codec."""
    assert {name for name in vars(format_v2) if name.isupper()} == {*CHANGES, "VERSION"}
    assert {name for name in vars(format_v3) if name.isupper()} == {
        "VERSION",
        "HEAD",
        "SEVERAL_HEAD",
        "MATRIX_HEAD",
        "SEED",
        "ROTATIONS",
        "OWN_SCALES",
        "LATTICES",
        "TILE_HEAD",
        "TILE_SCALES",
        "FOLLOWS",
        "CONTINUED",
        "SEVERAL",
        "COSET_STATE",
        "COSET_STATE_BITS",
        "FINE_STD",
        "MAX_SHIFT",
        "ADDITIVE_HEAD",
        "ADDITIVE_ORDERS",
        "CODEWORDS_DTYPE",
        "INTEGER_GAINS",
        "NEW_MODELS",
        "COSET_ADAPTIVE",
        "STRENGTH",
        "GROUP_COLUMNS",
        "PARTS",
        "HAS_ACTIVATION",
        "HAS_LOW_RANK",
        "HAS_FINE",
        "ACTIVATION_GRID",
        "FINE_CHANNELS",
        "LOW_RANK",
        "FACTOR_DTYPES",
        "HAS_LINKS",
        "LINKS",
        "MOST_COPIES_BITS",
    }
    tags = {type(weight.symbols): stored(3, name)[10] & ~format_v3.PARTS for name, weight in WEIGHTS.items()}
    assert tags == {codec.type: tag for tag, codec in CODECS.items()}  # a golden file for every codec
