from __future__ import annotations

import dataclasses
import multiprocessing
import struct
import zlib
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rdtools.coding import (
    code_length,
    decode,
    encode,
    fit_column_laws,
    octave_exponents,
    paying_row_exponents,
    reconstruct,
    round_to_bfloat16,
    scalar_code_length,
)
from rdtools.coding.exponents import exponent_bytes, read_exponents
from rdtools.coding.fields import Reader
from rdtools.coding.models import column_levels
from rdtools.coding.scales import round_to_float32
from rdtools.coding.vector import STAGE_BYTES
from rdtools.errors import CorruptFile
from rdtools.measure.point import same_weight
from rdtools.records import Basis, CodeModel, LatticeCodes, QuantizedWeight, Rotation, ScalarCodes, TrellisCodes

positive = st.floats(1e-6, 1e6).map(round_to_float32)
scales = st.floats(0, 1e30)


def bfloat16s(shape):
    return arrays(np.float64, shape, elements=scales).map(round_to_bfloat16)


@st.composite
def scalar_codes(draw, m: int, r: int):
    kind = draw(st.sampled_from(("fixed", "shared", "column", "histogram")))
    levels = draw(st.integers(2, 300)) if kind == "fixed" else 0
    exponents = draw(st.none() | arrays(np.uint8, r, elements=st.integers(0, 8 if levels else 255)))
    low, high = (-(levels // 4), (levels // 2 - 1) // 2) if levels else (-(2**31) + 1, 2**31 - 1)
    near = st.integers(max(low, -9), min(high, 9))
    groups = draw(st.integers(1, 3))
    has_scales = draw(st.booleans())
    return ScalarCodes(
        integers=draw(arrays(np.int32, (m, r), elements=st.one_of(near, near, near, st.integers(low, high)))),
        step=draw(positive),
        model=CodeModel(
            kind,
            levels=levels,
            weight_std=draw(positive) if kind == "column" else 0.0,
            noise_variance=draw(st.just(0.0) | positive) if kind == "column" else 0.0,
        ),
        step_exponents=exponents,
        row_exponents=draw(st.none() | arrays(np.uint8, m)) if kind == "column" else None,
        row_scales=draw(bfloat16s((m, groups))) if has_scales else None,
        zero_points=draw(st.none() | arrays(np.int8, (m, groups))) if has_scales else None,
        group_size=draw(st.integers(0, 9)) if has_scales else 0,
        offset=draw(st.sampled_from((0.0, 0.5))),
        gain_std=draw(st.just(0.0) | positive),
        column_gains=draw(st.none() | bfloat16s(r)),
    )


@st.composite
def lattice_codes(draw, m: int, r: int):
    bits = draw(st.sampled_from((2, 3, 4)))
    shape = (m, -(-r // 8))
    words = tuple(draw(arrays(np.uint16, shape, elements=st.integers(0, 256**size - 1))) for size in STAGE_BYTES[bits])
    return LatticeCodes(words, bits, draw(positive), draw(positive) if bits > 2 else 0.0)


@st.composite
def trellis_codes(draw, m: int, r: int):
    bits = draw(st.integers(1, 4))
    tiles = -(-m // 16) * -(-r // 16)
    paths = draw(arrays(np.uint8, (tiles, 32 * bits), fill=st.just(0)))
    return TrellisCodes(paths, draw(st.sampled_from(("1mad", "3inst", "hyb"))), draw(st.integers(8, 16)), bits, draw(positive))


@st.composite
def weights(draw):
    """Anything that a quantizer may store."""
    m, n = draw(st.integers(0, 6)), draw(st.integers(1, 8))
    live = draw(arrays(np.bool_, n))
    r = int(live.sum())

    def turn(order):
        kind = draw(st.sampled_from((None, "haar", "hadamard", "kronecker")))
        return None if kind is None else Rotation(kind, order, draw(st.integers(0, 2**32 - 1)))

    basis = Basis(m, live, turn(r), turn(m), draw(st.none() | bfloat16s(r)))
    codes = draw(st.sampled_from((scalar_codes, scalar_codes, lattice_codes, trellis_codes)))
    return QuantizedWeight(basis, draw(codes(m, r)))


@given(weights())
def test_what_is_encoded_is_decoded(weight):
    container = encode(weight)
    assert same_weight(decode(container.data), weight)
    assert encode(weight).data == container.data


@given(weights(), st.data())
def test_any_flipped_bit_is_noticed(weight, data):
    damaged = bytearray(encode(weight).data)
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptFile, match=r"^some\.rdtq: "):
        decode(bytes(damaged), name="some.rdtq")


@given(weights(), st.data())
def test_any_truncation_is_noticed(weight, data):
    whole = encode(weight).data
    with pytest.raises(CorruptFile, match=r"^some\.rdtq: "):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))], name="some.rdtq")


def test_other_versions_and_fields_that_end_early_are_refused():
    whole = encode(_example()).data
    with pytest.raises(CorruptFile, match="version 99"):
        decode(whole[:4] + bytes([99]) + whole[5:])
    # as long as its checksum says, but shorter than its fields
    header, side = bytearray(whole[:20]), whole[24:28]
    header[16:20] = struct.pack("<I", len(side))
    with pytest.raises(CorruptFile, match="ends inside a field"):
        decode(bytes(header) + struct.pack("<I", zlib.crc32(side, zlib.crc32(header))) + side)


def _weight(integers: np.ndarray, model: CodeModel, **settings) -> QuantizedWeight:
    """With no basis but the natural one, and equal steps of ½ unless told otherwise."""
    m, n = integers.shape
    return QuantizedWeight(Basis(m, np.ones(n, dtype=bool)), ScalarCodes(integers, 0.5, model, **settings))


def _example(**settings) -> QuantizedWeight:
    codes = ScalarCodes(
        integers=np.array([[0, 1, -3], [0, 2, 5]], dtype=np.int32),
        step=0.5,
        model=CodeModel("column", weight_std=1.0, noise_variance=0.25),
        step_exponents=np.array([0, 3, 16], dtype=np.uint8),
        gain_std=0.75,
    )
    basis = Basis(2, np.array([True, False, True, True]), Rotation("haar", 3, 7))
    return QuantizedWeight(basis, dataclasses.replace(codes, **settings))


def _goldens():
    """One weight of each kind of content."""
    halves = np.array([0.5, 2.0, 1.0])
    yield "column", _example()
    yield "rows", _example(row_exponents=np.array([4, 0], dtype=np.uint8))
    yield "shared", _example(model=CodeModel("shared"), gain_std=0.0, column_gains=halves)
    yield "histogram", _example(model=CodeModel("histogram"))
    fixed = _example(
        integers=np.array([[3, 1, 0], [-4, -2, 0]], dtype=np.int32),
        model=CodeModel("fixed", levels=8),
        row_scales=np.array([[1.0, 2.0], [0.5, 4.0]]),
        zero_points=np.array([[0, 1], [2, 3]], dtype=np.int8),
        group_size=2,
        offset=0.5,
    )
    basis = Basis(2, np.ones(3, dtype=bool), None, Rotation("hadamard", 2, 5), halves)
    yield "fixed", QuantizedWeight(basis, fixed.codes)
    words = (np.array([[1, 2], [3, 65535]], dtype=np.uint16), np.array([[4, 255], [6, 7]], dtype=np.uint16))
    yield "lattice", QuantizedWeight(Basis(2, np.ones(9, dtype=bool)), LatticeCodes(words, 3, 0.5, 2.0))
    paths = np.arange(64, dtype=np.uint8).reshape(1, 64)
    yield "trellis", QuantizedWeight(Basis(16, np.ones(16, dtype=bool)), TrellisCodes(paths, "3inst", 12, 2, 0.25))


@pytest.mark.parametrize(("name", "weight"), list(_goldens()), ids=lambda x: x if isinstance(x, str) else "")
def test_golden_bytes(name, weight):
    """The format is a promise: a change of these bytes is a new container version."""
    assert encode(weight).data.hex() == GOLDEN[name]
    assert same_weight(decode(bytes.fromhex(GOLDEN[name])), weight)


GOLDEN = {
    "column": (
        "5244545102000101020000000400000021000000a9fd94c307000000b0110000003f000003100000403f020000803f0000803e04000e176f93ff590d00a7ddfade"
    ),
    "rows": (
        "52445451020001010200000004000000240000007d9f4daf07000000b0130000003f000003100004000000403f020000803f0000803e0400d0164d06"
        "00fcffffd992ede0"
    ),
    "shared": (
        "52445451020001010200000004000000270000009fa9ffee07000000b0210000003f00000310003f0040803f0106050202060604020206020202004e"
        "b9dbee9a9e614a"
    ),
    "histogram": (
        "5244545102000101020000000400000029000000e658f8b307000000b0110000003f000003100000403f030200020402020402020405020210020202"
        "00e88e2f4a00000050"
    ),
    "fixed": (
        "5244545102002002020000000300000030000000b8fbce5905000000003f0040803f5d0000003f000003100404803f0040003f804000010203000040"
        "3f000800000002002d5a01c7000030e3"
    ),
    "lattice": "524454510201000002000000090000000d000000a34c5651030000003f0000004001a06ebd010002000300ffff04ff0607",
    "trellis": (
        "524454510202000010000000100000000f00000050533c51010c020000803e010000008cce0e10000102030405060708090a0b0c0d0e0f1011121314"
        "15161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
    ),
}


@pytest.mark.parametrize("distance", [10, 300, 10_000, 60_000, 10**6, 2**31 - 1])
@pytest.mark.parametrize("kind", ["shared", "column"])
def test_one_outlier_costs_a_few_bytes_wherever_it_is(kind, distance):
    rng = np.random.default_rng(0)
    integers = np.rint(2 * rng.standard_normal((256, 256))).astype(np.int32)
    spiked = integers.copy()
    spiked[7, 7] = distance
    plain, container = (encode(_weight(z, CodeModel(kind, weight_std=1.0 * (kind == "column")))) for z in (integers, spiked))
    assert len(container.data) <= len(plain.data) + 16
    assert (decode(container.data).codes.integers == spiked).all()


@pytest.mark.parametrize("model", [CodeModel("shared"), CodeModel("histogram"), CodeModel("column", weight_std=2.0)], ids=lambda m: m.kind)
def test_length_is_what_the_file_takes(model):
    """Ideal length against bytes: a word at the end, and the coder's 2⁻²⁴ grid of probabilities."""
    rng = np.random.default_rng(1)
    integers = np.rint(5 * rng.standard_t(2, size=(300, 40))).astype(np.int32)
    weight = _weight(integers, model)
    container = encode(weight)
    ideal = code_length(weight)
    # header, checksum, flags, step, model; of the one block: words, count of escapes, checksum
    fields = 20 + 4 + 1 + 4 + 1 + 8 * (model.kind == "column") + 2 + 1 + 4
    coded = 8 * (len(container.data) - fields)
    assert ideal - 0.001 * integers.size <= coded <= ideal + 64 + 0.001 * integers.size


def test_blocks_of_columns_decode_apart_from_each_other_and_name_the_damaged_one():
    """More than a million symbols make several blocks; processes decode them to the same bits as one does."""
    rng = np.random.default_rng(2)
    integers = np.rint(rng.standard_normal((2**16, 40)) * 2.0 ** (np.arange(40) / 16)).astype(np.int32)
    integers[5, 39] = 10**6
    weight = _weight(integers, CodeModel("column", weight_std=1.0))
    data = encode(weight).data
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert same_weight(decode(data, executor=pool), weight)
    assert same_weight(decode(data), weight)
    damaged = bytearray(data)
    damaged[-3] ^= 4
    with pytest.raises(CorruptFile, match="block 2 of 3"):
        decode(bytes(damaged))


def test_one_symbol_costs_nothing_and_an_outlier_little():
    integers = np.zeros((4096, 3), dtype=np.int32)
    zeros = _weight(integers, CodeModel("shared"))
    assert encode(zeros).payload_bytes <= 8
    spiked = integers.copy()
    spiked[5, 1] = 10**9
    assert len(encode(_weight(spiked, CodeModel("shared"))).data) <= len(encode(zeros).data) + 16
    # a column of one code takes no part of the payload, and its histogram six bytes
    mixed = np.stack([np.full(4096, 7), np.tile([0, 1], 2048)], axis=1).astype(np.int32)
    assert encode(_weight(mixed, CodeModel("histogram"))).payload_bytes <= 4096 / 8 + 8


def test_reconstruction_by_hand():
    """Column steps 0.5, 0.5·2^(3/8), 2; the dead column is zero."""
    codes = dataclasses.replace(_example().codes, gain_std=0.0, row_scales=np.array([[1.0], [2.0]]))
    weight = QuantizedWeight(Basis(2, np.array([True, False, True, True])), codes)
    step = 0.5 * 2 ** (3 / 8)
    expected = [[0, 0, step, -6], [0, 0, 4 * step, 20]]
    np.testing.assert_allclose(reconstruct(weight), expected, rtol=1e-15)


def test_reconstruction_of_groups_zero_points_and_gains_by_hand():
    """Two groups of two columns and one of one: scale · gain · step · (z + ½ − zero), then column scales."""
    codes = ScalarCodes(
        integers=np.array([[1, 2, 3, 0, 1]], dtype=np.int32),
        step=1.0,
        model=CodeModel("fixed", levels=4),
        row_scales=np.array([[1.0, 10.0, 100.0]]),
        zero_points=np.array([[0, 1, 2]], dtype=np.int8),
        group_size=2,
        column_gains=np.array([1.0, 1.0, 0.5, 1.0, 1.0]),
    )
    weight = QuantizedWeight(Basis(1, np.ones(5, dtype=bool), None, None, np.array([1.0, 1.0, 1.0, 1.0, 2.0])), codes)
    assert reconstruct(weight).tolist() == [[1.0, 2.0, 10.0, -10.0, -200.0]]


def test_levels_halve_with_every_octave_of_step_begun_and_a_single_level_is_zero():
    """16 levels: steps 0, 1/8, 1, 9/8, 4 and 5 octaves above the finest have 16, 8, 8, 4, 1 and 1."""
    exponents = np.array([0, 1, 8, 9, 32, 40], dtype=np.uint8)
    codes = ScalarCodes(np.zeros((1, 6), dtype=np.int32), 1.0, CodeModel("fixed", levels=16), exponents, offset=0.5)
    assert column_levels(codes).tolist() == [16, 8, 8, 4, 1, 1]
    weight = QuantizedWeight(Basis(1, np.ones(6, dtype=bool)), codes)
    assert code_length(weight) == pytest.approx(4 + 3 + 3 + 2)
    assert reconstruct(weight)[0, -1] == 0
    assert same_weight(decode(encode(weight).data), weight)


@given(arrays(np.float64, st.integers(1, 20), elements=st.floats(1e-3, 1e3)))
def test_steps_are_stored_to_a_sixteenth_of_an_octave(steps):
    stored = steps.min() * 2.0 ** (octave_exponents(steps) / 8)
    assert np.abs(np.log2(stored / steps)).max() <= 1 / 16 + 1e-6


def test_bfloat16_rounds_to_nearest_even_and_saturates():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).uniform(0, 10, 1000) * 10.0 ** np.arange(-20, 20).repeat(25)
    expected = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16).double().numpy()
    assert (round_to_bfloat16(values) == expected).all()
    assert np.isfinite(round_to_bfloat16(np.array([1e300]))).all()


@given(arrays(np.uint8, st.integers(0, 40)))
def test_exponents_come_back_in_the_shorter_form(exponents):
    data = exponent_bytes(exponents)
    reader = Reader(data, "x")
    assert (read_exponents(reader, len(exponents)) == exponents).all()
    reader.finish()
    assert len(data) <= 1 + len(exponents)


def test_exponents_near_each_other_take_about_their_entropy():
    """4096 of a rounded normal law of deviation 3: log2(3 √(2πe)) = 3.63 bits each."""
    exponents = np.rint(100 + 3 * np.random.default_rng(0).standard_normal(4096)).astype(np.uint8)
    assert 8 * len(exponent_bytes(exponents)) == pytest.approx(3.63 * 4096, rel=0.01)


def test_rows_of_unequal_deviation_are_coded_by_laws_of_their_own():
    """Rows of four octaves: the length is that of laws that know each row, but for the rounding of exponents."""
    rng = np.random.default_rng(3)
    deviations = 2.0 ** np.linspace(0, 4, 128)
    integers = np.rint(rng.standard_normal((128, 512)) * deviations[:, None]).astype(np.int32)
    exponents = octave_exponents(deviations)
    plain = ScalarCodes(integers, 1.0, CodeModel("column"))
    unequal, equal = fit_column_laws(plain, row_exponents=exponents), fit_column_laws(plain)
    assert (unequal.row_exponents == exponents).all()
    assert equal.row_exponents is None
    known = sum(
        code_length(_weight(row[None], CodeModel("column", weight_std=float(s) / 2))) for row, s in zip(integers, deviations, strict=True)
    )
    assert scalar_code_length(unequal)[0] == pytest.approx(known, rel=0.002)
    weight = QuantizedWeight(Basis(128, np.ones(512, dtype=bool)), unequal)
    assert same_weight(decode(encode(weight).data), weight)
    assert 8 * encode(weight).payload_bytes == pytest.approx(scalar_code_length(unequal)[0], rel=0.001)
    # equal rows are not worth their exponents
    assert paying_row_exponents(rng.standard_normal((128, 64))) is None
    assert (paying_row_exponents(rng.standard_normal((128, 512)) * deviations[:, None]) != 0).any()


def test_records_that_no_file_can_hold_are_refused():
    for settings in ({"zero_points": np.ones((2, 1), dtype=np.int8)}, {"group_size": 2}):
        with pytest.raises(ValueError, match="belong to row scales"):
            ScalarCodes(np.zeros((2, 3), dtype=np.int32), 1.0, CodeModel("shared"), **settings)


def test_a_single_expected_code_has_no_negative_length():
    zeros = ScalarCodes(np.zeros((20, 16), dtype=np.int32), 1.0, CodeModel("column", weight_std=0.0))
    assert scalar_code_length(zeros)[0] == 0
