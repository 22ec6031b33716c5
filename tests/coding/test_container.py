from __future__ import annotations

import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from golden_weights import WEIGHTS, example, following, natural
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rdtools.coding import container_bits, decode, decode_all, encode, exponent_bytes, round_to_bfloat16
from rdtools.coding.container import Container, MatrixBytes
from rdtools.coding.format_v2 import STAGE_BYTES
from rdtools.coding.formats import codec_of
from rdtools.coding.scales import round_to_float32
from rdtools.errors import CorruptFile, ShapeMismatch, UsageError
from rdtools.measure.point import same_weight
from rdtools.ops import COSET_STATES, coset_transitions
from rdtools.records import (
    ENTROPY_MODELS,
    AdaptiveModel,
    Basis,
    ColumnHistograms,
    CosetSymbols,
    EntropyModel,
    Gains,
    GaussianModel,
    LatticeWords,
    QuantizedWeight,
    Rotation,
    RowScales,
    ScalarSymbols,
    SharedHistogram,
    TrellisPaths,
    UniformGrid,
)
from rdtools.transforms import is_hadamard_order

positive = st.floats(1e-6, 1e6).map(round_to_float32)


def bfloat16s(shape, least=0.0):
    return arrays(np.float64, shape, elements=st.floats(least, 1e30)).map(round_to_bfloat16)


def learnt(plain: GaussianModel):
    """Models that learn from these, or do not."""
    numbers = st.just((0, 0)) | st.tuples(st.integers(1, 9), st.integers(1, 10))
    return numbers.map(lambda pair: AdaptiveModel(plain.weight_std, plain.noise_variance, plain.row_exponents, *pair))


@st.composite
def scalar_symbols(draw, m: int, r: int):
    kind = draw(st.sampled_from(("fixed", "shared", "column", "histogram", "adaptive")))
    levels = draw(st.integers(2, 300)) if kind == "fixed" else 0
    exponents = draw(st.none() | arrays(np.uint8, r, elements=st.integers(0, 8 if levels else 255)))
    low, high = (-(levels // 4), (levels // 2 - 1) // 2) if levels else (-(2**31) + 1, 2**31 - 1)
    near = st.integers(max(low, -9), min(high, 9))
    has_scales = draw(st.booleans())
    group_size = draw(st.integers(0, 9)) if has_scales else 0
    groups = -(-r // group_size) if group_size else 1
    integers = draw(arrays(np.int32, (m, r), elements=st.one_of(near, near, near, st.integers(low, high))))
    rows = RowScales(draw(bfloat16s((m, groups))), draw(st.none() | arrays(np.int8, (m, groups))), group_size) if has_scales else None
    grid = UniformGrid(draw(positive), exponents, draw(st.sampled_from((0.0, 0.5))), levels, rows)
    model = ENTROPY_MODELS[kind]()
    if kind in ("column", "adaptive"):
        model = GaussianModel(draw(positive), draw(st.just(0.0) | positive), draw(st.none() | arrays(np.uint8, m)))
    if kind == "adaptive":
        model = draw(learnt(model))
    return ScalarSymbols(integers, grid, model, Gains(draw(st.just(0.0) | positive), draw(st.none() | bfloat16s(r))))


@st.composite
def lattice_words(draw, m: int, r: int):
    bits = draw(st.sampled_from((2, 3, 4)))
    shape = (m, -(-r // 8))
    words = tuple(draw(arrays(np.uint16, shape, elements=st.integers(0, 256**size - 1))) for size in STAGE_BYTES[bits])
    return LatticeWords(words, bits, draw(positive), draw(positive) if bits > 2 else 0.0)


@st.composite
def trellis_paths(draw, m: int, r: int):
    bits = draw(st.integers(1, 4))
    tiles = -(-m // 16) * -(-r // 16)
    paths = draw(arrays(np.uint8, (tiles, 32 * bits), fill=st.just(0)))
    return TrellisPaths(paths, draw(st.sampled_from(("1mad", "3inst", "hyb"))), draw(st.integers(8, 16)), bits, draw(positive))


@st.composite
def coset_symbols(draw, m: int, r: int):
    """Walks down every column: any ⌊q/2⌋, and the parity that the trellis says."""
    states, segment = draw(st.sampled_from(COSET_STATES)), draw(st.integers(1, 7))
    halves = draw(arrays(np.int64, (m, r), elements=st.integers(-9, 9) | st.integers(-(2**30) + 1, 2**30 - 1)))
    integers, state = np.zeros((m, r), dtype=np.int32), np.zeros(r, dtype=np.int64)
    for k in range(m):
        state = state if k % segment else np.zeros(r, dtype=np.int64)
        integers[k] = 2 * halves[k] + state % 2
        state = coset_transitions(states)[state, halves[k] % 2]
    exponents, rows = draw(st.none() | arrays(np.uint8, r)), draw(st.none() | arrays(np.uint8, m))
    model = GaussianModel(draw(positive), draw(st.just(0.0) | positive), rows)
    model = draw(st.just(model) | learnt(model))
    return CosetSymbols(integers, UniformGrid(draw(positive), exponents), model, states, segment)


def rotations(order: int):
    if order == 0:
        return st.none()
    kinds = st.sampled_from(("haar", "kronecker", *(["hadamard"] if is_hadamard_order(order) else [])))
    return st.none() | st.builds(Rotation, kinds, st.just(order), st.integers(0, 2**64 - 1))


@st.composite
def weights_of_one_input(draw, most: int = 3):
    """Anything that quantizers may store, for matrices of one input."""
    n = draw(st.integers(1, 8))
    active = draw(arrays(np.bool_, n))
    r = int(active.sum())
    rotation, scales = draw(rotations(r)), draw(st.none() | bfloat16s(r, least=1e-30))
    weights = []
    for _ in range(draw(st.integers(1, most))):
        m = draw(st.integers(0, 6))
        basis = Basis(m, active, rotation, draw(rotations(m)), draw(st.just(scales) | st.none() | bfloat16s(r, least=1e-30)))
        integers = draw(st.sampled_from((scalar_symbols, scalar_symbols, lattice_words, trellis_paths, coset_symbols)))
        weights.append(QuantizedWeight(basis, draw(integers(m, r))))
    return weights


def weights():
    """One such matrix."""
    return weights_of_one_input(most=1).map(lambda weights: weights[0])


def scalar_weight(integers: np.ndarray, model: EntropyModel) -> QuantizedWeight:
    """Integers in the natural basis with equal steps of ½."""
    return natural(ScalarSymbols(integers, UniformGrid(0.5), model), *integers.shape)


@given(weights())
def test_what_is_encoded_is_decoded(weight):
    container = encode(weight)
    assert same_weight(decode(container.data), weight)
    assert encode(weight).data == container.data


@given(weights_of_one_input(), st.booleans())
def test_matrices_of_one_input_come_back_together(weights, following):
    container = encode(weights, following=following)
    decoded = decode_all(container.data)
    assert len(decoded) == len(container.matrices) == len(weights)
    assert all(map(same_weight, decoded, weights))
    bits = container_bits(container)
    assert sum(part.total for part in bits) == pytest.approx(8 * len(container.data), rel=1e-12)
    assert [part.payload for part in bits] == [8 * encode(weight).payload_bytes for weight in weights]


def test_shared_bytes_are_stored_once_and_split_by_the_number_of_weights():
    """Three matrices of a rotated input with a dead column: mask, scales and seed once, and every weight pays the same for them."""
    scales = np.array([0.5, 2.0, 1.0])
    symbols = example().symbols
    active = np.array([True, False, True, True])
    basis = Basis(2, active, Rotation("haar", 3, 7), None, scales)
    tall = dataclasses.replace(symbols, integers=np.concatenate([symbols.integers] * 3))
    weights = [QuantizedWeight(basis, symbols), QuantizedWeight(dataclasses.replace(basis, rows=6), tall), QuantizedWeight(basis, symbols)]
    together = encode(weights)
    alone = [encode(weight) for weight in weights]
    # of the 24 bytes of a single frame 10 are those of the matrix, of several 14 and 5 more are shared; seed 8, mask 1, scales 6
    shared = 10 + 4 + 5 + 8 + 1 + 6
    assert len(together.data) == sum(len(one.data) for one in alone) - 3 * (14 + 15) + shared
    bits = container_bits(together)
    own = [8 * (len(one.data) - 14 - 15) for one in alone]
    assert [part.total - own_bits for part, own_bits in zip(bits, own, strict=True)] == pytest.approx(
        [8 * shared * 8 / 40, 8 * shared * 24 / 40, 8 * shared * 8 / 40]
    )
    # scales that differ are stored with each matrix
    differing = [weights[0], QuantizedWeight(dataclasses.replace(basis, column_scales=None), symbols)]
    assert all(map(same_weight, decode_all(encode(differing).data), differing))


def test_matrices_that_follow_others_leave_out_exponents_and_go_on_learning():
    """Of four matrices the first three have one table of steps; the models of the second begin with the rows of the first."""
    weights = following()
    together, apart = encode(weights, following=True), encode(weights)
    exponents = len(exponent_bytes(weights[0].symbols.grid.exponents))
    learnt = [len(one.data) for one in (encode(weights[:2], following=True), encode(weights[:2]))]
    saved = len(apart.data) - len(together.data)
    assert saved == 2 * exponents + (learnt[1] - learnt[0] - exponents) > 2 * exponents
    bits, own = container_bits(together), container_bits(apart)
    assert sum(part.total for part in bits) == 8 * len(together.data)
    assert bits[0].payload == own[0].payload
    assert bits[1].payload < own[1].payload
    # all matrices have the same number of weights, so that each has a third or, with the fourth, a fourth of what is shared
    assert bits[0].total == pytest.approx(own[0].total - 8 * exponents * 3 / 4)
    # only integers may follow, after integers of their kind, and with steps that are there
    lattice = WEIGHTS["lattice 2 bits"]
    assert encode([lattice, lattice], following=True).data == encode([lattice, lattice]).data


def test_matrices_without_weights_share_equally():
    assert [part.total for part in container_bits(Container(bytes(10), (MatrixBytes(0, 0, 2), MatrixBytes(0, 0, 4))))] == [32.0, 48.0]


def test_weights_of_different_inputs_are_encoded_apart():
    weight = example()
    other = QuantizedWeight(dataclasses.replace(weight.basis, rotation=Rotation("haar", 3, 8)), weight.symbols)
    with pytest.raises(ShapeMismatch, match=r"weight 1 .*seed=8.*seed=7.*encode them apart"):
        encode([weight, other])
    with pytest.raises(ShapeMismatch, match="weight 1 has 3 of 3 columns"):
        encode([weight, natural(weight.symbols, 2, 3)])
    with pytest.raises(UsageError, match="0 weights, expected 1 to 255"):
        encode([])
    with pytest.raises(UsageError, match=r"some\.rdtq: holds 2 matrices.*decode_all"):
        decode(encode([weight, weight]).data, name="some.rdtq")


@given(weights_of_one_input(), st.data())
def test_any_flipped_bit_is_noticed(weight, data):
    damaged = bytearray(encode(weight).data)
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptFile, match=r"^some\.rdtq: "):
        decode_all(bytes(damaged), name="some.rdtq")


@given(weights_of_one_input(), st.data())
def test_any_truncation_is_noticed(weight, data):
    whole = encode(weight).data
    with pytest.raises(CorruptFile, match=r"^some\.rdtq: "):
        decode_all(whole[: data.draw(st.integers(0, len(whole) - 1))], name="some.rdtq")


@pytest.mark.parametrize("distance", [10, 300, 10_000, 60_000, 10**6, 2**31 - 1])
@pytest.mark.parametrize("kind", ["shared", "column"])
def test_one_outlier_costs_a_few_bytes_wherever_it_is(kind, distance):
    rng = np.random.default_rng(0)
    integers = np.rint(2 * rng.standard_normal((256, 256))).astype(np.int32)
    spiked = integers.copy()
    spiked[7, 7] = distance
    plain, container = (
        encode(scalar_weight(z, GaussianModel(1.0) if kind == "column" else ENTROPY_MODELS[kind]())) for z in (integers, spiked)
    )
    assert len(container.data) <= len(plain.data) + 16
    assert (decode(container.data).symbols.integers == spiked).all()


@pytest.mark.parametrize("model", [SharedHistogram(), ColumnHistograms(), GaussianModel(2.0)], ids=lambda m: m.kind)
def test_length_is_what_the_file_takes(model):
    """Ideal length against bytes: a word at the end, and the coder's 2⁻²⁴ grid of probabilities."""
    rng = np.random.default_rng(1)
    integers = np.rint(5 * rng.standard_t(2, size=(300, 40))).astype(np.int32)
    weight = scalar_weight(integers, model)
    container = encode(weight)
    ideal = codec_of(weight.symbols).length_bits(weight.symbols)
    # header, checksum, flags, step, model; of the one block: words, count of escapes, checksum
    fields = 20 + 4 + 1 + 4 + 1 + 8 * (model.kind == "column") + 2 + 1 + 4
    coded = 8 * (len(container.data) - fields)
    assert ideal - 0.001 * integers.size <= coded <= ideal + 64 + 0.001 * integers.size


def test_blocks_of_columns_decode_apart_from_each_other_and_name_the_damaged_one():
    """More than a million symbols make several blocks; processes decode them to the same bits as one does."""
    rng = np.random.default_rng(2)
    integers = np.rint(rng.standard_normal((2**16, 40)) * 2.0 ** (np.arange(40) / 16)).astype(np.int32)
    integers[5, 39] = 10**6
    weight = scalar_weight(integers, GaussianModel(1.0))
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
    zeros = scalar_weight(integers, SharedHistogram())
    assert encode(zeros).payload_bytes <= 8
    spiked = integers.copy()
    spiked[5, 1] = 10**9
    assert len(encode(scalar_weight(spiked, SharedHistogram())).data) <= len(encode(zeros).data) + 16
    # a column of one code takes no part of the payload, and its histogram six bytes
    mixed = np.stack([np.full(4096, 7), np.tile([0, 1], 2048)], axis=1).astype(np.int32)
    assert encode(scalar_weight(mixed, ColumnHistograms())).payload_bytes <= 4096 / 8 + 8
