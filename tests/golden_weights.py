"""Small quantized weights whose container bytes are kept in ``tests/golden/container``: one for each thing that a format can hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from rdtools.ops import coset_transitions
from rdtools.records import (
    ActivationGrid,
    AdaptiveModel,
    AdditiveCodes,
    Basis,
    ColumnHistograms,
    CosetSymbols,
    Gains,
    GaussianModel,
    LatticePoints,
    LatticeWords,
    LayerParts,
    LowRank,
    QuantizedWeight,
    Rotation,
    RowBias,
    RowScales,
    ScalarSymbols,
    SharedHistogram,
    TilePaths,
    TrellisPaths,
    Uniform,
    UniformGrid,
)
from rdtools.records.quantized import NO_PARTS
from rdtools.transforms.links import Merge, Principal, Select, Split

FOLDER = Path(__file__).parent / "golden" / "container"


def natural(integers, rows: int, columns: int, parts: LayerParts = NO_PARTS) -> QuantizedWeight:
    """A weight in the natural basis."""
    return QuantizedWeight(Basis(rows, np.ones(columns, dtype=bool)), integers, parts)


def example(**settings) -> QuantizedWeight:
    """2 × 4 with a dead column, a rotation, unequal steps and a gain."""
    symbols = ScalarSymbols(
        integers=np.array([[0, 1, -3], [0, 2, 5]], dtype=np.int32),
        grid=UniformGrid(0.5, np.array([0, 3, 16], dtype=np.uint8)),
        model=GaussianModel(weight_std=1.0, noise_variance=0.25),
        gains=Gains(0.75),
    )
    basis = Basis(2, np.array([True, False, True, True]), Rotation("haar", 3, 7))
    return QuantizedWeight(basis, dataclasses.replace(symbols, **settings))


def _scalar():
    halves = np.array([0.5, 2.0, 1.0])
    yield "column", example()
    yield "rows", example(model=GaussianModel(1.0, 0.25, np.array([4, 0], dtype=np.uint8)))
    yield "shared", example(model=SharedHistogram(), gains=Gains(columns=halves))
    yield "histogram", example(model=ColumnHistograms())
    fixed = example(
        integers=np.array([[3, 1, 0], [-4, -2, 0]], dtype=np.int32),
        model=Uniform(),
        grid=UniformGrid(
            0.5,
            np.array([0, 3, 16], dtype=np.uint8),
            offset=0.5,
            levels=8,
            rows=RowScales(np.array([[1.0, 2.0], [0.5, 4.0]]), np.array([[0, 1], [2, 3]], dtype=np.int8), group_size=2),
        ),
    )
    basis = Basis(2, np.ones(3, dtype=bool), None, Rotation("hadamard", 2, 5), halves)
    yield "fixed", QuantizedWeight(basis, fixed.symbols)
    # two blocks, and integers on either side of the boundary
    long = np.zeros((1, 2**20 + 1), dtype=np.int32)
    long[0, [5, 2**20 - 1]] = 1, -1
    yield "blocks", natural(ScalarSymbols(long, UniformGrid(1.0), SharedHistogram()), 1, 2**20 + 1)
    # a distribution wider than its window: one integer inside, one outside
    wide = np.array([[2**18, 2**18 + 1]], dtype=np.int32)
    yield "wide", natural(ScalarSymbols(wide, UniformGrid(1.0), GaussianModel(60000.0)), 1, 2)
    # distributions at their least variance, and of no variance at all, with an integer that neither expects
    narrow = np.array([[0, 1, 0, 0]], dtype=np.int32)
    exponents = np.array([0, 40, 40, 80], dtype=np.uint8)
    yield "narrow", natural(ScalarSymbols(narrow, UniformGrid(1.0, exponents), GaussianModel(1.0, -0.5)), 1, 4)
    yield "zero", natural(ScalarSymbols(narrow, UniformGrid(1.0), GaussianModel()), 1, 4)
    # exponents in their coded form: near each other, and all the same
    integers = np.arange(64, dtype=np.int32).reshape(1, 64) % 3
    spread = (100 + np.arange(64) % 5).astype(np.uint8)
    yield "exponents", natural(ScalarSymbols(integers, UniformGrid(2.0**-12, spread), SharedHistogram(), Gains(1.0)), 1, 64)
    yield (
        "equal exponents",
        natural(ScalarSymbols(integers, UniformGrid(2.0**-12, np.full(64, 9, dtype=np.uint8)), SharedHistogram()), 1, 64),
    )
    # steps that run through every regime of the gain
    steps = np.arange(0, 80, 8, dtype=np.uint8)
    gains = np.ones((1, 10), dtype=np.int32)
    yield "gains", natural(ScalarSymbols(gains, UniformGrid(0.125, steps), ColumnHistograms(), Gains(1.0)), 1, 10)
    # columns without a symbol, with few, and with more than the table of gains knows
    several = np.array([[0, 0, 1, -2, 40], [0, 0, 0, 1, -9], [0, 1, -1, 3, 2**20]], dtype=np.int32)
    yield "integer gains", natural(ScalarSymbols(several, UniformGrid(0.5), SharedHistogram(), Gains(of_integers=True)), 3, 5)


def _lattice():
    words = (np.array([[1, 2], [3, 65535]], dtype=np.uint16), np.array([[4, 255], [6, 7]], dtype=np.uint16))
    yield "lattice", natural(LatticeWords(words, 3, 0.5, 2.0), 2, 9)
    yield "lattice 2 bits", natural(LatticeWords(words[:1], 2, 0.5), 2, 9)
    yield "lattice 4 bits", natural(LatticeWords((words[0], words[0][::-1].copy()), 4, 0.5, 2.0), 2, 9)


def _trellis():
    paths = np.arange(64, dtype=np.uint8).reshape(1, 64)
    yield "trellis", natural(TrellisPaths(paths, "3inst", 12, 2, 0.25), 16, 16)
    basis = Basis(3, np.arange(22) > 1, Rotation("hadamard", 20, 2**32 - 1), None, np.full(20, 1.5))
    yield "trellis 1mad", QuantizedWeight(basis, TrellisPaths(np.arange(64, dtype=np.uint8).reshape(2, 32), "1mad", 8, 1, 0.25))
    yield "trellis hyb", natural(TrellisPaths(paths[::-1].repeat(2, axis=1) + np.uint8(7), "hyb", 9, 4, 0.25), 16, 16)


def _tiles():
    """Two blocks of columns with a bit and with three, and one with none; two rows of tiles."""
    rows = np.arange(2 * 32, dtype=np.uint8).reshape(2, 32)
    paths = (rows, np.zeros((2, 0), dtype=np.uint8), rows.repeat(3, axis=1))
    scales = np.array([0.0, 0.5, 0.25, 0.125, 2.0])
    yield "tiles", natural(TilePaths(paths, np.array([1, 0, 3], dtype=np.uint8), "3inst", 12, scales), 20, 40)


def _additive():
    """Three rows of 14 columns, of which the second group is critical; 2 and 3 bits."""
    books = tuple(np.arange(8 * size, dtype=np.float64).reshape(size, 8) / 64 - 0.25 for size in (4, 8))
    integers, scales = np.array([[0, 3, 5], [1, 2, 7], [2, 0, 0]], dtype=np.uint16), np.array([1.0, 0.5, 3.0])
    order = np.concatenate([np.arange(1, 9), [0], np.arange(9, 16)])
    yield "additive", natural(AdditiveCodes(integers, books, scales, order, "set", 1, 1), 3, 14)
    permuted = AdditiveCodes(integers, books, scales, order[::-1].copy(), "permutation", 1, 1)
    yield "additive permutation", QuantizedWeight(Basis(3, np.arange(17) > 0, Rotation("hadamard", 16, 3)), permuted)
    yield (
        "additive natural",
        natural(AdditiveCodes(integers[:, [0, 1, 0, 1]] % 4, (books[0], -books[0]), scales, np.arange(16), "natural", 2, 0), 3, 16),
    )


def _coset():
    """Walks of 4 and of 1024 states, begun anew after two rows; unequal steps and rows; low bits and an integer that is escaped."""
    integers = np.array([[0, 2, 1000], [0, 3, -2], [2, -4, 0], [-1, 2, 70000]], dtype=np.int32)
    exponents = np.array([0, 3, 16], dtype=np.uint8)
    yield "coset", natural(CosetSymbols(integers, UniformGrid(0.5, exponents), GaussianModel(1.0, 0.25), 4, 2), 4, 3)
    rows = np.array([0, 4, 8, 12], dtype=np.uint8)
    basis = Basis(4, np.array([True, False, True, True]), Rotation("haar", 3, 7))
    even = (2 * (integers // 4) * 2).astype(np.int32)
    yield "coset wide", natural(CosetSymbols(np.array([[2**30]], dtype=np.int32), UniformGrid(1.0), GaussianModel(2.0**31), 256, 1), 1, 1)
    yield "coset rows", QuantizedWeight(basis, CosetSymbols(even, UniformGrid(2.0**-11), GaussianModel(1.0, 0.0, rows), 1024, 4096))


def _points():
    """A vector of each lattice and rows that make none; unequal steps; unequal rows, and an integer that is escaped."""
    integers = np.array([[1, -2, 0], [0, 2, 0], [-3, 0, 1000], [0, 0, 0], [2, -4, 0]], dtype=np.int32)
    exponents = np.array([0, 3, 16], dtype=np.uint8)
    yield "points D4", natural(LatticePoints(integers, UniformGrid(0.5, exponents), GaussianModel(1.0, 0.25), "D4"), 5, 3)
    odd = np.array([[1, 0], [3, 1], [-1, 2], [1, 1], [1, 0], [-3, -1], [1, 0], [70001, 1], [2, 0]], dtype=np.int32)
    rows = np.arange(9, dtype=np.uint8)
    yield "points E8", natural(LatticePoints(odd, UniformGrid(2.0), GaussianModel(1.0, 0.0, rows), "E8"), 9, 2)


def _adaptive():
    """Rows of one direction, coded in two groups; the last row far out and escaped; equal rows and unequal ones; walks; learning off."""
    k, i = np.arange(24)[:, None], np.arange(7)
    integers = np.asarray((k * 5 % 11 - 5) * (1 + i) // 2 + (k + i) % 3 - 1, dtype=np.int32)
    integers[-1] *= 1000
    plain = GaussianModel(4.0, 0.25)
    exponents = np.array([0, 3, 0, 8, 0, 3, 3], dtype=np.uint8)

    def learnt(model, columns, strength):
        return AdaptiveModel(model.weight_std, model.noise_variance, model.row_exponents, columns, strength)

    yield "adaptive", natural(ScalarSymbols(integers, UniformGrid(0.5, exponents), learnt(plain, 4, 6)), 24, 7)
    rows = GaussianModel(0.25, 0.0, (k[:, 0] % 5 * 3).astype(np.uint8))
    yield "adaptive rows", natural(ScalarSymbols(integers, UniformGrid(0.5), learnt(rows, 7, 1), Gains(of_integers=True)), 24, 7)
    yield "adaptive off", natural(ScalarSymbols(integers, UniformGrid(0.5, exponents), learnt(plain, 0, 0)), 24, 7)
    walks, state = integers.copy(), np.zeros(7, dtype=np.int64)
    for row in walks:
        row += (row ^ state) & 1
        state = coset_transitions(8)[state, (row >> 1) & 1]
    yield "adaptive coset", natural(CosetSymbols(walks, UniformGrid(0.5, exponents), learnt(plain, 7, 9), 8, 24), 24, 7)
    # a standard deviation of 2^15 steps, where low bits are equally likely
    coarse = np.asarray(integers * 4096, dtype=np.int32)
    yield "adaptive wide", natural(ScalarSymbols(coarse, UniformGrid(0.5), learnt(GaussianModel(2.0**14), 7, 10)), 24, 7)


def _parts():
    """Quantized activations, a low-rank term of 16 and of 32 bits, and both, a bias; in a file of several matrices only one has them."""
    left, right = np.array([[1.0], [-0.5]]), np.array([[0.25], [2.0], [0.0], [-3.0]])
    yield "parts", dataclasses.replace(example(), parts=LayerParts(ActivationGrid(4, clip=0.9), LowRank(left, right, "float16")))
    yield "parts asymmetric", dataclasses.replace(example(), parts=LayerParts(ActivationGrid(8, symmetric=False, group_size=2)))
    yield "parts bfloat16", dataclasses.replace(example(), parts=LayerParts(low_rank=LowRank(left, right, "bfloat16")))
    # reassembled: one of five columns dead, two merged with a scale, one of the three that are left in three staggered copies
    links = (Merge([(0, 2)], 4, [2.0]), Split(np.array([1, 3, 1]), staggered=True))
    symbols = ScalarSymbols(np.array([[0, 1, -1, 1, 0], [-2, 1, 0, 0, 1]], dtype=np.int32), UniformGrid(0.5, levels=4), Uniform())
    basis = Basis(2, np.array([True, True, False, True, True]))
    yield "parts links", QuantizedWeight(basis, symbols, LayerParts(ActivationGrid(4, symmetric=False), links=links))
    kept = (Select(np.array([True, False, True])), Split(np.array([2, 1])))
    symbols = ScalarSymbols(np.array([[1, 1, -1]], dtype=np.int32), UniformGrid(0.5, levels=4), Uniform())
    yield "parts pruned", natural(symbols, 1, 3, LayerParts(links=kept))
    # two of five channels span a subspace: in 6 bits, columns too
    turn = (Principal(np.array([[1.0, 0.5, -0.25, 0.0, 2.0], [0.0, 1.0, -1.5, 0.125, 0.75]]), 0.5),)
    grid = UniformGrid(0.5, np.array([0, 0, 8, 8, 8], np.uint8), offset=0.5, levels=4, rows=RowScales(np.array([[1.0], [2.0]])))
    symbols = ScalarSymbols(np.array([[1, -2, 0, -1, 0], [-2, 1, -1, 0, 0]], dtype=np.int32), grid, Uniform())
    fine = ActivationGrid(4, clip=0.85, fine_channels=2, fine_bits=6)
    yield "parts fine", natural(symbols, 2, 5, LayerParts(fine, links=turn))
    yield "parts bias", dataclasses.replace(example(), parts=LayerParts(bias=RowBias(np.array([-0.5, 96.0]))))


def following() -> list[QuantizedWeight]:
    """Three matrices of one input with the steps of the first, whose models go on from one to the next; a fourth with steps of its own."""
    first = WEIGHTS["adaptive coset"].symbols
    again = dataclasses.replace(first, grid=dataclasses.replace(first.grid, step=0.25))
    plain = dataclasses.replace(first, model=GaussianModel(4.0, 0.25))
    own = dataclasses.replace(plain, grid=UniformGrid(0.5))
    return [natural(symbols, 24, 7) for symbols in (first, again, plain, own)]


#: By name.
WEIGHTS = dict([*_scalar(), *_lattice(), *_trellis(), *_coset(), *_points(), *_tiles(), *_additive(), *_adaptive(), *_parts()])


def stored(version: int, name: str) -> bytes:
    """The golden file."""
    return (FOLDER / f"v{version}" / f"{name.replace(' ', '-')}.bin").read_bytes()
