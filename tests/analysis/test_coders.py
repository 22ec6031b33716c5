from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import constriction
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rdtools.analysis import coders, huffman
from rdtools.analysis.make_all import write_figure

from rdtools.coding.entropy.gaussians import column_table
from rdtools.coding.entropy.models import FrequencyTable
from rdtools.moments.layer import Layer
from rdtools.records import Basis, GaussianModel, QuantizedWeight, ScalarSymbols, SharedHistogram, UniformGrid

FIGURES = Path(__file__).resolve().parents[2] / "figures"

matrices = arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-9, 9) | st.integers(-300, 300))


def _entropy(values):
    p = np.unique(values, return_counts=True)[1] / values.size
    return float(-(p * np.log2(p)).sum())


@given(matrices, st.booleans())
@example(np.zeros((3, 2), dtype=np.int32), True)
@example(np.array([[5, 7], [5, -9], [5, 7]], dtype=np.int32), True)
def test_huffman_codes_are_decoded(integers, per_column):
    tables, words = huffman.encode(integers, per_column=per_column)
    assert (huffman.decode(tables + words, *integers.shape, per_column=per_column) == integers).all()


def test_canonical_words_are_those_of_deflate():
    """The example of RFC 1951, section 3.2.2."""
    words = huffman.canonical_words(np.array([3, 3, 3, 3, 3, 2, 4, 4]))
    assert words.tolist() == [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]


@given(arrays(np.int64, st.integers(2, 40), elements=st.integers(0, 1000)).filter(lambda counts: (counts > 0).sum() > 1))
def test_lengths_fill_the_tree_and_are_within_a_bit_of_the_entropy(counts):
    """Kraft's sum is one; the mean length lies between the entropy and one bit above it."""
    lengths = huffman.word_lengths(counts)
    assert ((lengths > 0) == (counts > 0)).all()
    assert math.fsum(2.0 ** -lengths[counts > 0]) == 1
    p = counts[counts > 0] / counts.sum()
    entropy = -math.fsum(p * np.log2(p))
    assert entropy - 1e-12 <= (p * lengths[counts > 0]).sum() < entropy + 1


def test_as_many_bits_as_constriction_writes(rng):
    integers = np.rint(3 * rng.standard_normal((200, 3))).astype(np.int32)
    symbols = integers.T.ravel() - integers.min()
    tree = constriction.symbol.huffman.EncoderHuffmanTree(np.bincount(symbols).astype(np.float64))
    stream = constriction.symbol.QueueEncoder()
    for symbol in symbols.tolist():
        stream.encode_symbol(symbol, tree)
    assert len(huffman.encode(integers, per_column=False)[1]) == -(-stream.get_compressed_and_bitrate()[1] // 8)


def test_ans_codes_escapes_and_leaves_out_what_needs_no_bits():
    """Within a word and 0.1 % of minus log2 of the frequencies, to each of which the coder adds one in 2²⁴."""
    wide, single = column_table(1.0), FrequencyTable(np.array([4]), np.array([9]))
    integers = np.column_stack([np.tile([0, 1, -1, 90], 250), np.full(1000, 4)]).astype(np.int32)
    p = wide.frequencies / wide.frequencies.sum() + 2.0**-24
    at = {int(z): -math.log2(p[k]) for k, z in enumerate(wide.values)}
    ideal = 250 * (at[0] + at[1] + at[-1] - math.log2(p[-1])) / 8
    assert abs(coders.ans_bytes(integers, [wide, single]) - ideal) <= 4 + 0.001 * ideal


@pytest.fixture(scope="module")
def sizes():
    """Of 2000 × 12 rounded normal integers whose standard deviations differ by two octaves."""
    stds = 2.0 ** (np.arange(12) / 6)
    integers = np.rint(np.random.default_rng(0).standard_normal((2000, 12)) * stds).astype(np.int32)
    symbols = ScalarSymbols(integers, UniformGrid(0.25, np.arange(12, dtype=np.uint8)[::-1] * 8 // 6), GaussianModel())
    weight = QuantizedWeight(Basis(2000, np.ones(12, dtype=bool)), symbols)
    return integers, {size.coder: size for size in coders.sizes(weight)}


def test_payloads_are_the_entropies_that_their_models_have(sizes):
    """Coders of a stream reach the plug-in entropy: within a word, and the coder's 2⁻²⁴ grid of probabilities; Huffman's is at most a bit
    more a code. Coders of bytes, which know neither distribution nor columns, stay above the mean entropy of the columns."""
    integers, by_name = sizes
    N = integers.size
    pooled, column = _entropy(integers), float(np.mean([_entropy(z) for z in integers.T]))
    assert pooled - column > 0.05
    for coder in ("range coder", "ANS"):
        assert abs(8 * by_name[f"{coder}, pooled histogram"].payload - N * pooled) <= 64 + 0.001 * N
        assert abs(8 * by_name[f"{coder}, histogram per column"].payload - N * column) <= 64 + 0.001 * N
        # the distribution has one number where the histogram has one for each code: longer, by less than a histogram takes
        law = by_name[f"{coder}, Gaussian per column"]
        assert N * column < 8 * law.payload < 8 * (law.payload + law.side) < 8 * sum(_parts(by_name[f"{coder}, histogram per column"]))
    assert N * pooled <= 8 * by_name["Huffman, pooled code"].payload < N * (pooled + 1)
    assert N * column <= 8 * by_name["Huffman, code per column"].payload < N * (column + 1)
    assert all(8 * by_name[name].payload > N * column for name in coders.general_coders())


def _parts(size):
    return size.payload, size.side


def test_side_information_is_counted_for_every_coder(sizes):
    """Steps, shape and checksums for all; histograms by column cost more than one; a normal distribution costs two numbers."""
    integers, by_name = sizes
    n = integers.shape[1]
    least = min(size.side for size in by_name.values())
    assert least >= n + 24  # a byte per column, and the header
    assert {by_name[name].side for name in coders.general_coders()} == {least}
    for coder in ("range coder", "ANS"):
        shared, law, histogram = (
            by_name[f"{coder}, {label}"].side for label in ("pooled histogram", "Gaussian per column", "histogram per column")
        )
        assert law == least + 8
        assert least + 8 < shared < histogram
    assert least < by_name["Huffman, pooled code"].side < by_name["Huffman, code per column"].side
    assert ("zstd, level 22" in by_name) == (find_spec("zstandard") is not None)


def test_codes_beyond_a_byte_are_refused():
    integers = np.array([[0, 200], [1, 0]], dtype=np.int32)
    weight = QuantizedWeight(Basis(2, np.ones(2, dtype=bool)), ScalarSymbols(integers, UniformGrid(1.0), SharedHistogram()))
    with pytest.raises(AssertionError, match="int8"):
        list(coders.sizes(weight))


def test_rows_and_figure_of_a_run(tmp_path, monkeypatch, rng):
    X = rng.standard_normal((256, 32)) * np.exp(rng.standard_normal(32))
    layers = {name: Layer.of(rng.standard_normal((64, 32)), X.T @ X / 256, name=name) for name in coders.LAYERS}
    monkeypatch.setattr(coders, "open_run", lambda folder: layers)
    write_figure("coders", [Path("anywhere")], tmp_path)
    rows = pd.read_csv(tmp_path / "coders.csv")
    assert set(rows["layer"]) == set(coders.LAYERS)
    assert set(zip(rows["method"], rows["target_bpw"], strict=True)) == {(m, r) for m in ("hptq", "watersic") for r in (2, 3)}
    assert (rows["side_bpw"] > 0).all()
    assert (rows["total_bpw"] > rows["side_bpw"]).all()
    assert (tmp_path / "coders.pdf").is_file()
    axes = coders.draw(rows).axes
    assert len(axes) == 8
    # two entropies, and for each coder a line and its two ends; in the first panel two marks of the legend
    lines = 2 + 3 * rows["coder"].nunique()
    assert [len(axis.lines) for axis in axes] == [lines + 2, *[lines] * 7]


def test_what_the_gallery_shows_of_the_embedded_model():
    """WaterSIC's columns differ, so normal distributions by column beat pooled histogram, side information included; GPTQ's agree, so they
    change little. Coders of bytes lose to the range coder with either, and histogram per column costs more than it saves at 768 rows and
    fewer."""
    rows = pd.read_csv(FIGURES / "coders.csv")
    bits = rows.pivot_table(index=["layer", "method", "target_bpw"], columns="coder", values="total_bpw")
    law, shared = bits["range coder, Gaussian per column"], bits["range coder, pooled histogram"]
    assert (law < shared).all()
    assert ((shared - law).xs("watersic", level="method") > 0.02).all()
    assert ((shared - law).xs("hptq", level="method") < 0.005).all()
    assert (bits["range coder, histogram per column"] > shared).all()
    others = [name for name in bits if name.partition(",")[0] in ("Huffman", "zlib", "LZMA", "zstd")]
    assert len(others) == 5
    assert (bits[others].min(axis=1) > law + 0.03).all()
    # a range coder's words against those of ANS: two words a block at most
    assert ((bits["range coder, pooled histogram"] - bits["ANS, pooled histogram"]).abs() <= 64 / (256 * 768)).all()
