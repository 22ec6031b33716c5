from __future__ import annotations

import dataclasses
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rdtools.coding import code_length, decode, encode, octave_exponents, reconstruct, round_to_bfloat16
from rdtools.coding.scales import round_to_float32
from rdtools.errors import CorruptFile
from rdtools.measure.point import same_weight
from rdtools.records import CodeModel, QuantizedWeight, Rotation


@st.composite
def weights(draw):
    """Anything that a quantizer may store."""
    m, n = draw(st.integers(0, 6)), draw(st.integers(1, 8))
    live = draw(arrays(np.bool_, n))
    r = int(live.sum())
    kind = draw(st.sampled_from(("fixed", "shared", "column")))
    levels = draw(st.integers(2, 300)) if kind == "fixed" else 0
    low, high = (-(levels // 2), levels - 1 - levels // 2) if levels else (-(2**31) + 1, 2**31 - 1)
    near = st.integers(max(low, -9), min(high, 9))
    codes = draw(arrays(np.int32, (m, r), elements=st.one_of(near, near, near, st.integers(low, high))))
    positive = st.floats(1e-6, 1e6).map(round_to_float32)
    return QuantizedWeight(
        codes=codes,
        step=draw(positive),
        step_exponents=draw(st.none() | arrays(np.uint8, r)),
        row_scales=round_to_bfloat16(draw(arrays(np.float64, m, elements=st.floats(0, 1e30)))) if draw(st.booleans()) else None,
        live=live,
        code_model=CodeModel(kind, levels=levels, weight_std=draw(positive) if kind == "column" else 0.0),
        offset=draw(st.sampled_from((0.0, 0.5))),
        gain_std=draw(st.just(0.0) | positive),
        rotation=Rotation(draw(st.sampled_from(("haar", "hadamard"))), r, draw(st.integers(0, 2**32 - 1))) if draw(st.booleans()) else None,
    )


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
    weight = _example()
    body = bytearray(encode(weight).data[:-4])
    body[4] = 99
    with pytest.raises(CorruptFile, match="version 99"):
        decode(bytes(body) + struct.pack("<I", zlib.crc32(body)))
    short = encode(weight).data[:30]
    with pytest.raises(CorruptFile, match="ends inside a field"):
        decode(short + struct.pack("<I", zlib.crc32(short)))


def _example() -> QuantizedWeight:
    codes = np.array([[0, 1, -3], [0, 2, 5]], dtype=np.int32)
    return QuantizedWeight(
        codes=codes,
        step=0.5,
        step_exponents=np.array([0, 3, 16], dtype=np.uint8),
        row_scales=None,
        live=np.array([True, False, True, True]),
        code_model=CodeModel("column", weight_std=1.0),
        gain_std=0.75,
        rotation=Rotation("haar", 3, 7),
    )


def test_golden_bytes():
    """The format is a promise: a change of these bytes is a new container version."""
    assert encode(_example()).data.hex() == GOLDEN


GOLDEN = "524454510102150102000000040000000200000007000000b00000003f0003100000403f0000803f020acb01ff825ea43ab51698b1e6"


@pytest.mark.parametrize("distance", [10, 300, 10_000, 60_000, 10**6, 2**31 - 1])
@pytest.mark.parametrize("kind", ["shared", "column"])
def test_one_outlier_costs_a_few_bytes_wherever_it_is(kind, distance):
    rng = np.random.default_rng(0)
    codes = np.rint(2 * rng.standard_normal((256, 256))).astype(np.int32)
    plain = dataclasses.replace(
        _example(), codes=codes, live=np.ones(256, bool), code_model=CodeModel(kind, weight_std=1.0), step_exponents=None, rotation=None
    )
    spiked = codes.copy()
    spiked[7, 7] = distance
    container = encode(dataclasses.replace(plain, codes=spiked))
    assert len(container.data) <= len(encode(plain).data) + 16
    assert (decode(container.data).codes == spiked).all()


def test_length_is_what_the_file_takes():
    """Ideal length against bytes: a word at the end, and the coder's 2⁻²⁴ grid of probabilities."""
    rng = np.random.default_rng(1)
    codes = np.rint(5 * rng.standard_t(2, size=(300, 40))).astype(np.int32)
    for model in (CodeModel("shared"), CodeModel("column", weight_std=2.0)):
        weight = dataclasses.replace(
            _example(), codes=codes, live=np.ones(40, bool), code_model=model, step_exponents=None, rotation=None, gain_std=0.0
        )
        container = encode(weight)
        ideal = code_length(weight)
        coded = 8 * len(container.data) - 8 * (20 + 4 + 4 + 1 + 4 * (model.kind == "column"))  # header, step, CRC, count, deviation
        assert ideal - 0.001 * codes.size <= coded <= ideal + 64 + 0.001 * codes.size


def test_one_symbol_costs_nothing_and_an_outlier_little():
    zeros = dataclasses.replace(_example(), codes=np.zeros((4096, 3), dtype=np.int32), code_model=CodeModel("shared"), step_exponents=None)
    assert encode(zeros).payload_bytes <= 8
    codes = zeros.codes.copy()
    codes[5, 1] = 10**9
    spiked = dataclasses.replace(zeros, codes=codes)
    assert len(encode(spiked).data) <= len(encode(zeros).data) + 16
    assert (decode(encode(spiked).data).codes == codes).all()


def test_reconstruction_by_hand():
    """Column steps 0.5, 0.5·2^(3/8), 2; no gain, no rotation; the dead column is zero."""
    weight = dataclasses.replace(_example(), gain_std=0.0, rotation=None, row_scales=np.array([1.0, 2.0]))
    step = 0.5 * 2 ** (3 / 8)
    expected = [[0, 0, step, -6], [0, 0, 4 * step, 20]]
    np.testing.assert_allclose(reconstruct(weight), expected, rtol=1e-15)


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
