"""Files of which an eighth of the blocks is coded: their length is that of the whole file, and what is wrong is noticed."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from rdtools.coding import format_v2 as fmt
from rdtools.coding import sampled_bits
from rdtools.coding.formats import sampled_blocks
from rdtools.errors import CodingError, UsageError
from rdtools.jobs.settings import ReportSettings
from rdtools.measure import measure
from rdtools.measure.point import coded, sampled
from rdtools.methods import format_method, parse_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.sweep.task import quantize_layer

M, N, BLOCK = 64, 80, 1024


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Sixteen columns each: five blocks, of which the third is coded."""
    monkeypatch.setattr(fmt, "BLOCK_SYMBOLS", BLOCK)


@pytest.fixture(scope="module")
def layer():
    rng = np.random.default_rng(0)
    return Layer.of(rng.standard_normal((M, N)) * np.exp(0.3 * rng.standard_normal((M, 1))), haar_moment(power_law(N, 1.0), rng))


@pytest.mark.parametrize("name", ["hptq", "watersic", "hptq(coding=histogram)", "gptq", "gptq-g128", "watersic-mmse"])
def test_the_length_is_that_of_the_whole_file(name, layer):
    """To the half words at the ends of blocks: none of more than a word."""
    weight = parse_method(name, 3.0).quantize(layer).weight
    (whole,), part = coded([weight], ["x"]), sampled(weight, "x")
    assert part.share == pytest.approx(1 / 5)
    assert part.data == b""
    assert abs(part.bits.payload - whole.bits.payload) <= 5 * 32
    assert abs(part.bits.overhead - whole.bits.overhead) <= 5 * 8 * 3  # the heads of blocks differ in bytes of varints and escapes


@pytest.mark.parametrize("columns", [slice(None), slice(32, 48), slice(0, 16)])
def test_escaped_integers_are_counted_once(columns, layer):
    """Of weights far beyond their model, in all blocks, in the coded one alone, or in another alone."""
    outliers = np.zeros((M, N), dtype=bool)
    outliers[::8, columns] = True
    wild = Layer.of(np.where(outliers, 1000.0 * layer.weight, layer.weight), np.eye(N))
    weight = parse_method("hrtn-column", 6.0).quantize(wild).weight
    (whole,), part = coded([weight], ["x"]), sampled(weight, "x")
    assert abs(part.bits.total - whole.bits.total) <= 5 * (32 + 16)


@pytest.mark.parametrize("name", ["watersic-trellis", "watersic-e8", "qtip", "watersic(adaptive_columns=16)"])
def test_symbols_without_blocks_of_their_own_are_coded_whole(name, layer):
    layer = layer if name != "qtip" else Layer.of(np.random.default_rng(1).standard_normal((16, 16)), np.eye(16))
    weight = parse_method(name, 2.0).quantize(layer).weight
    if name.startswith("watersic(") and not weight.symbols.model.learns:
        weight = dataclasses.replace(weight, symbols=dataclasses.replace(weight.symbols, model=_learning(weight.symbols.model)))
    assert sampled_bits(weight) is None
    assert sampled(weight, "x").share is None


def _learning(model):
    learning = dataclasses.replace(model, columns=16, strength=6)
    assert learning.learns
    return learning


def test_a_single_block_is_coded_whole(layer, monkeypatch):
    monkeypatch.setattr(fmt, "BLOCK_SYMBOLS", M * N)
    assert sampled_bits(parse_method("watersic", 3.0).quantize(layer).weight) is None


def test_a_row_says_how_much_of_it_was_coded(layer):
    """Distortion and symbols are those of the exact row, the total is within the tolerance, and the names differ."""
    exact, part = quantize_layer(layer, [parse_method(name, 3.0) for name in ("watersic", "watersic(file_coding=sampled)")], seed=0)
    assert (exact["method"], part["method"], part["status"]) == ("watersic", "watersic(file_coding=sampled)", "ok")
    assert "coded_share" not in exact
    assert part["coded_share"] == pytest.approx(1 / 5)
    assert all(part[name] == exact[name] for name in ("distortion", "symbol_bpw", "rate_kind", "rd_bound_rate_bpw"))
    assert abs(part["total_bpw"] - exact["total_bpw"]) <= 5 * (32 + 24) / (M * N)
    assert part["overhead_bpw"] == pytest.approx(part["total_bpw"] - part["symbol_bpw"], abs=1e-12)


def test_a_model_that_is_not_that_of_the_coder_is_refused(layer, monkeypatch):
    weight = parse_method("watersic", 3.0).quantize(layer).weight
    monkeypatch.setattr(sampled_blocks, "runs_length_bits", lambda runs: 0.9 * math.fsum(len(values) for values, _ in runs))
    with pytest.raises(CodingError, match=r"1 of 5 blocks take \d+ bits and 922 by their models.*file_coding 'exact'"):
        sampled(weight, "x")


def test_a_block_that_does_not_decode_is_refused(layer, monkeypatch):
    real = sampled_blocks.blocks.decode_block
    monkeypatch.setattr(sampled_blocks.blocks, "decode_block", lambda block: real(block) + (np.arange(16) == 7))
    with pytest.raises(CodingError, match="columns 32 to 47: the coded symbols do not decode"):
        measure(layer, parse_method("watersic", 3.0).quantize(layer), coding="sampled")


def test_the_setting_is_one_of_two_and_not_beside_files_of_several_layers():
    assert format_method(parse_method("hptq(file_coding=sampled)+hadamard", 3.0)) == "hptq(file_coding=sampled)+hadamard"
    assert {q.file_coding for q in ReportSettings(coding="sampled", methods=("gptq", "qtip"), rates=(2.0,)).quantizers()} == {"sampled"}
    assert format_method(ReportSettings(methods=("gptq",)).quantizers()[0]) == "gptq"
    with pytest.raises(UsageError, match=r"HPTQ: file_coding 'half', expected 'exact' or 'sampled'"):
        parse_method("hptq(file_coding=half)", 3.0)
    with pytest.raises(UsageError, match="file_coding 'sampled', expected 'exact' beside files of several layers"):
        parse_method("hptq(file_coding=sampled)+one-file", 3.0)
    with pytest.raises(UsageError, match=r"`coding` 'half': expected 'exact' or 'sampled'"):
        ReportSettings(coding="half")
