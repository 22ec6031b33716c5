"""Integers on a trellis of cosets: their length, and the file that they are in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from golden_weights import natural

from rdtools.coding import decode, encode, fit_coset_gaussians
from rdtools.coding.formats import codec_of
from rdtools.coding.formats.coset_trellis import CODEC
from rdtools.errors import CodingError, CorruptFile
from rdtools.measure.point import same_weight
from rdtools.ops import coset_trellis_sweep
from rdtools.records import CosetSymbols, GaussianModel, RowScales, UniformGrid


def walks(m, n, step, *, seed=0, stds=1.0, states=8, segment=64):
    W = np.random.default_rng(seed).standard_normal((m, n)) * stds
    integers, _ = coset_trellis_sweep(W, np.eye(n), np.full(n, step), states, segment=segment)
    return CosetSymbols(integers, UniformGrid(step), GaussianModel(1.0), states, segment)


@pytest.mark.parametrize("step", [2.0**-12, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("unequal", [False, True])
def test_a_file_has_the_ideal_length_under_the_fitted_law(step, unequal):
    """To a word, and 0.001 bit of each symbol: parts of 2⁻²⁴, and low bits of wide Gaussians."""
    stds = np.where(np.arange(200) % 2, 1.0, 4.0)[:, None] if unequal else 1.0
    exponents = np.where(np.arange(200) % 2, 0, 16).astype(np.uint8) if unequal else None
    symbols, bits = fit_coset_gaussians(walks(200, 30, step, stds=stds), exponents)
    weight = natural(symbols, 200, 30)
    container = encode(weight)
    assert same_weight(decode(container.data), weight)
    assert codec_of(weight.symbols).length_bits(weight.symbols) == bits
    assert abs(8 * container.payload_bytes - bits) <= 32 + 0.001 * symbols.integers.size


def test_the_law_knows_the_parity():
    """As many bits as an integer of step α: entropy of N(0, 1) at step ¼ less what it is at an eighth is one bit."""
    symbols, bits = fit_coset_gaussians(walks(4000, 4, 0.25), None)
    scalar = 0.5 * np.log2(2 * np.pi * np.e) + 2
    assert bits / symbols.integers.size == pytest.approx(scalar, abs=4 * 0.5 * np.log2(np.e) * np.sqrt(2 / 16000))


def test_values_are_half_a_step_each():
    symbols = walks(8, 3, 0.5)
    assert (CODEC.values(symbols, 3) == 0.25 * symbols.integers).all()


def test_one_outlier_costs_a_few_bytes():
    symbols, _ = fit_coset_gaussians(walks(64, 8, 0.5), None)
    spiked = symbols.integers.copy()
    spiked[0, 0] = 4 * 10**8
    spiked[1:, 0] = 0
    plain = symbols.integers.copy()
    plain[:, 0] = 0
    sizes = [len(encode(natural(CosetSymbols(q, symbols.grid, symbols.model, 8, 64), 64, 8)).data) for q in (plain, spiked)]
    assert sizes[1] <= sizes[0] + 16


def test_blocks_decode_apart_and_the_damaged_one_is_named():
    integers = np.zeros((2**16, 33), dtype=np.int32)
    integers[5, 32] = 4 * 10**6
    symbols = CosetSymbols(integers, UniformGrid(1.0), GaussianModel(0.125), 8, 2**16)
    weight = natural(symbols, *integers.shape)
    data = encode(weight).data
    with ThreadPoolExecutor(2) as pool:
        assert same_weight(decode(data, executor=pool, max_weights=2**22), weight)
    damaged = bytearray(data)
    damaged[-3] ^= 4
    with pytest.raises(CorruptFile, match="block 2 of 3"):
        decode(bytes(damaged), max_weights=2**22)


def test_integers_that_are_no_walks_are_not_written():
    symbols = walks(8, 3, 0.5)
    symbols.integers[4, 1] += 1
    with pytest.raises(CodingError, match=r"columns 0 to 2: integers of a parity .* expected those of a trellis of 8 states"):
        encode(natural(symbols, 8, 3))


def test_records_that_no_file_has_are_refused():
    q, grid, model = np.zeros((2, 2), dtype=np.int32), UniformGrid(1.0), GaussianModel(1.0)
    for states, segment in ((7, 1), (2048, 1), (8, 0)):
        with pytest.raises(ValueError, match=f"a trellis of {states} states with walks of {segment} rows"):
            CosetSymbols(q, grid, model, states, segment)
    rows = RowScales(np.ones((2, 1)))
    for other in (UniformGrid(0.0), UniformGrid(1.0, offset=0.5), UniformGrid(1.0, levels=4), UniformGrid(1.0, rows=rows)):
        with pytest.raises(ValueError, match="expected only steps above 0"):
            CosetSymbols(q, other, model, 8, 1)
    assert codec_of(CosetSymbols(q, grid, model, 8, 1)) is CODEC
