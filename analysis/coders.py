"""Bits that entropy coders need for the same symbols: containers of rdtools, and others' coders with the same or their own models.

Every size is that of bytes that were decoded to the integers again, and holds all that a decoder of the matrix needs.
"""

# ruff: noqa: N806 (mathematical capitals)

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import constriction
import numpy as np
import pandas as pd
from rdtools.analysis import huffman

from rdtools.coding import count_integers, decode, encode, fit_column_gaussians, scalar_code_length, shared_table
from rdtools.coding.entropy.gaussians import column_table, gaussian_stds
from rdtools.coding.entropy.models import FrequencyTable, column_tables
from rdtools.methods import format_method
from rdtools.moments.layer import Layer
from rdtools.quantizers import HPTQ, WaterSIC
from rdtools.records import ENTROPY_MODELS, CodeModelKind, GaussianModel, QuantizedWeight, ScalarSymbols
from rdtools.report.figures.coders import draw as draw
from rdtools.runs.store import open_run

#: Many rows and few columns, and few rows and many columns.
LAYERS = ("model.layers.3.mlp.gate_proj", "model.layers.3.mlp.down_proj")
RATES = (2.0, 3.0)
#: Models of the range coder and of ANS.
MODELS: dict[CodeModelKind, str] = {"shared": "pooled histogram", "column": "Gaussian per column", "histogram": "histogram per column"}


@dataclass(frozen=True)
class Size:
    """Bytes a coder needs for a matrix: of coded symbols, and of everything else that its decoder needs."""

    coder: str
    payload: int
    side: int


def _tables(symbols: ScalarSymbols) -> list[FrequencyTable]:
    """The frequencies by which a container codes each column."""
    counts, n = count_integers(symbols.integers), symbols.integers.shape[1]
    if symbols.model.kind == "shared":
        return [shared_table(counts)] * n
    if symbols.model.kind == "histogram":
        return column_tables(counts)
    assert isinstance(symbols.model, GaussianModel)
    return [column_table(std) for std in gaussian_stds(symbols.model, symbols.column_steps).tolist()]


def ans_bytes(integers: np.ndarray, tables: list[FrequencyTable]) -> int:
    """Bytes of the symbols of all columns by asymmetric numeral systems; integers outside a table are coded as its escape symbol."""
    coded = [(np.searchsorted(t.values, z), t) for z, t in zip(integers.T, tables, strict=True)]
    columns = []
    for z, (symbols, t) in zip(integers.T, coded, strict=True):
        symbols[(z < t.values[0]) | (z > t.values[-1])] = len(t.values)
        if len(t.frequencies) > 1:  # a single code needs no bits
            model = constriction.stream.model.Categorical(t.frequencies / t.frequencies.sum(), perfect=False)
            columns.append((symbols.astype(np.int32), model))
    coder = constriction.stream.stack.AnsCoder()
    for symbols, model in reversed(columns):  # what comes last is decoded first
        coder.encode_reverse(symbols, model)
    words = coder.get_compressed()
    reader = constriction.stream.stack.AnsCoder(words)
    _check("ANS", all((reader.decode(model, len(symbols)) == symbols).all() for symbols, model in columns))
    return 4 * len(words)


def _check(coder: str, same: bool) -> None:
    if not same:
        raise AssertionError(f"{coder}: what was decoded is not what was encoded")


def general_coders() -> dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]]:
    """Coders of bytes at their highest level: names, and how to write and read; zstd where the package zstandard is installed."""
    coders: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
        "zlib, level 9": (lambda data: zlib.compress(data, 9), zlib.decompress),
        "LZMA, level 9": (lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE, preset=9), lzma.decompress),
    }
    if find_spec("zstandard") is not None:
        zstandard = import_module("zstandard")
        coders["zstd, level 22"] = zstandard.ZstdCompressor(level=22).compress, zstandard.ZstdDecompressor().decompress
    return coders


def sizes(weight: QuantizedWeight) -> Iterator[Size]:
    """Every coder on the integers of one matrix.

    Side information that has nothing to do with coding (shape, steps, checksums) is the container's for every coder; the models' is each
    coder's own. Coders of bytes get the integers as int8, column after column.
    """
    symbols = weight.symbols
    integers = symbols.integers
    m, n = integers.shape
    counts = count_integers(integers)
    common = 0
    for kind, label in MODELS.items():
        modelled = fit_column_gaussians(symbols, counts=counts) if kind == "column" else replace(symbols, model=ENTROPY_MODELS[kind]())
        coded = replace(weight, symbols=modelled)
        container = encode(coded)
        _check(label, bool((decode(container.data).symbols.integers == integers).all()))
        side = len(container.data) - container.payload_bytes
        yield Size(f"range coder, {label}", container.payload_bytes, side)
        yield Size(f"ANS, {label}", ans_bytes(integers, _tables(coded.symbols)), side)
        if kind == "shared":
            common = side - round(scalar_code_length(coded.symbols, counts)[1] / 8)
    for per_column, label in ((False, "pooled code"), (True, "code per column")):
        tables, words = huffman.encode(integers, per_column=per_column)
        _check("Huffman", bool((huffman.decode(tables + words, m, n, per_column=per_column) == integers).all()))
        yield Size(f"Huffman, {label}", len(words), common + len(tables))
    raw = integers.T.astype(np.int8).tobytes()
    _check("int8", bool((integers == np.frombuffer(raw, np.int8).reshape(n, m).T).all()))
    for name, (write, read) in general_coders().items():
        data = write(raw)
        _check(name, read(data) == raw)
        yield Size(name, len(data), common)


def measure(layer: Layer) -> Iterator[dict[str, object]]:
    """A row for each method, rate and coder: bits per weight, and the plug-in entropies of the integers beside them."""
    for rate in RATES:
        for quantizer in (HPTQ(rate_bits=rate), WaterSIC(rate_bits=rate)):
            weight = quantizer.quantize(layer).weight
            symbols = weight.symbols
            N = symbols.integers.size
            entropies = {
                f"entropy_{name}_bpw": scalar_code_length(replace(symbols, model=ENTROPY_MODELS[kind]()))[0] / N
                for name, kind in (("pooled", "shared"), ("per_column", "histogram"))
            }
            for size in sizes(weight):
                yield {
                    "layer": layer.key.name,
                    "rows": symbols.integers.shape[0],
                    "columns": symbols.integers.shape[1],
                    "method": format_method(quantizer),
                    "target_bpw": rate,
                    "coder": size.coder,
                    "total_bpw": 8 * (size.payload + size.side) / N,
                    "side_bpw": 8 * size.side / N,
                    **entropies,
                }


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of the layers of the first run, one of `rdtools report` on the embedded model."""
    opened = open_run(folders[0])
    return pd.DataFrame([row for name in LAYERS for row in measure(opened[name])])
