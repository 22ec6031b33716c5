"""Ops that are timed: the least that the machine could take for each, ours, and how others do the same."""

# ruff: noqa: N806 (mathematical capitals)

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rdtools.analysis import bench_peers as peers
from rdtools.analysis.bench_measure import Case, Contestant

from rdtools import coding, ops
from rdtools.linalg import cholesky
from rdtools.moments.layer import Layer
from rdtools.quantizers import WaterSIC
from rdtools.quantizers.methods.trellis_sic import SEGMENT
from rdtools.quantizers.rounding.sic import Precision
from rdtools.records import ENTROPY_MODELS, Basis, CodeModelKind, CosetSymbols, GaussianModel, QuantizedWeight, ScalarSymbols, UniformGrid


@dataclass(frozen=True)
class DrawnLayer:
    """A normal weight and a Wishart moment of 4n tokens, with absmax row scales of a mid-rise grid of 2^BITS levels."""

    W: np.ndarray
    H: np.ndarray

    @classmethod
    def draw(cls, n: int) -> DrawnLayer:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((4 * n, n), dtype=np.float32)
        return cls(rng.standard_normal((n, n), dtype=np.float32), (X.T @ X).astype(np.float64) / (4 * n))

    @property
    def scale(self) -> np.ndarray:
        return (2 * np.abs(self.W).max(axis=1) / 2**peers.BITS).astype(np.float32)

    def loss(self, integers: Any) -> float:
        """Relative error of what the integers stand for."""
        return self.relative_error(self.scale[:, None] * (np.asarray(integers, dtype=np.float32) + np.float32(0.5)))

    def relative_error(self, rebuilt: np.ndarray) -> float:
        """``tr(E H Eᵀ) / tr(W H Wᵀ)`` of ``E = W − Ŵ``."""
        energy = [ops.quadratic_form(A.astype(np.float64), self.H).sum() for A in (self.W - rebuilt, self.W)]
        return float(energy[0] / energy[1])

    def sweep(self, factor: np.ndarray, dtype: Any, seed: int | None = None) -> np.ndarray:
        weight = (self.W / self.scale[:, None]).astype(dtype, copy=False)
        steps = np.ones(len(factor))
        low, high = -(2 ** (peers.BITS - 1)), 2 ** (peers.BITS - 1) - 1
        return ops.sic_sweep(weight, factor, steps, offset=0.5, integer_min=low, integer_max=high, seed=seed, residual=False)[0]


def _product(n: int) -> Callable[[], Any]:
    """A float32 product of n³ multiplications and additions together, as many as a sweep of n × n needs: (n, n/2) by (n/2, n)."""
    A, B, C = torch.rand(n, n // 2), torch.rand(n // 2, n), torch.empty(n, n)
    return lambda: torch.mm(A, B, out=C)


def _reversed(layer: DrawnLayer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """W, H and the scales for who goes from the first column to the last: the same order of decisions as from the last to the first."""
    W, H = np.ascontiguousarray(layer.W[:, ::-1]), np.ascontiguousarray(layer.H[::-1, ::-1]).astype(np.float32)
    return torch.from_numpy(W), torch.from_numpy(H), torch.from_numpy(layer.scale)


def build_sweep(n: int) -> Iterator[Case]:
    layer = DrawnLayer.draw(n)
    L = cholesky(layer.H).lower
    W, H, scale = _reversed(layer)
    T = peers.gptq_factor(H)
    at_most = {1024: 2.5, 4096: 1.35}.get(n)
    contestants = [
        Contestant("rdtools", "float32", lambda: layer.sweep(L, np.float32), layer.loss, at_most),
        Contestant("rdtools", "float64", lambda: layer.sweep(L, np.float64), layer.loss),
        Contestant("rdtools, stochastic", "float32", lambda: layer.sweep(L, np.float32, seed=0), layer.loss),
        Contestant("GPTQ loop in torch", "float32", lambda: peers.gptq_loop(W, T, scale).flip(1).numpy(), layer.loss),
    ]
    yield Case(n, n, "float32 matmul of n³ flops", _product(n), contestants)


def build_gptq(n: int) -> Iterator[Case]:
    layer = DrawnLayer.draw(n)
    W, H, scale = _reversed(layer)
    forward = torch.from_numpy(layer.W)

    def ldlq() -> np.ndarray:
        return peers.ldlq_loop(forward, torch.from_numpy(cholesky(layer.H).lower).float(), scale).numpy()

    contestants = [
        Contestant("rdtools", "float64 factor, float32", lambda: layer.sweep(cholesky(layer.H).lower, np.float32), layer.loss),
        Contestant("rdtools", "float64", lambda: layer.sweep(cholesky(layer.H).lower, np.float64), layer.loss),
        Contestant("GPTQ loop in torch", "float32", lambda: peers.gptq_loop(W, peers.gptq_factor(H), scale).flip(1).numpy(), layer.loss),
        Contestant("LDLQ by columns in torch", "float64 factor, float32", ldlq, layer.loss),
    ]
    yield Case(n, n, "float32 matmul of n³ flops", _product(n), contestants)


def build_hadamard(n: int) -> Iterator[Case]:
    for dtype in (np.float32, np.float64):
        x = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
        y, core, tensor = np.zeros_like(x), np.ones((1, 1)), torch.from_numpy(x)
        contestants = [
            Contestant(
                "rdtools, in place", x.dtype.name, lambda x=x, core=core: ops.hadamard_inplace(x, core), at_most=4.0 if n == 4096 else None
            ),
            Contestant("butterfly in torch", x.dtype.name, lambda tensor=tensor: peers.hadamard_loop(tensor)),
        ]
        yield Case(n, n, f"{x.dtype.name} copy", lambda x=x, y=y: np.copyto(y, x), contestants)


def build_rank_update(n: int) -> Iterator[Case]:
    """16n tokens: 65,536 for 4096 columns."""
    x = np.random.default_rng(0).standard_normal((16 * n, n), dtype=np.float32)
    X, part = torch.from_numpy(x), torch.empty(n, n)
    half = X[: len(X) // 2]

    def accumulate(dtype: Any) -> None:
        total = np.zeros((n, n))
        for start in range(0, len(x), peers.SEQUENCE):
            ops.rank_update(total, x[start : start + peers.SEQUENCE].astype(dtype, copy=False))

    contestants = [
        Contestant("rdtools", "float32, sums float64", lambda: accumulate(np.float32), at_most=1.4 if n == 4096 else None),
        Contestant("rdtools", "float64", lambda: accumulate(np.float64)),
        Contestant("sums of products in torch", "float32", lambda: peers.moment_loop(X)),
    ]
    yield Case(len(x), n, "float32 matmul of 16n³ flops", lambda: torch.mm(half.T, half, out=part), contestants)


def build_quadratic_form(n: int) -> Iterator[Case]:
    layer = DrawnLayer.draw(n)
    E = layer.W.astype(np.float64)
    A, B, C = (torch.rand(*shape, dtype=torch.float64) for shape in ((n, n // 2), (n // 2, n), (n, n)))
    contestants = [
        Contestant("rdtools", "float64", lambda: ops.quadratic_form(E, layer.H)),
        Contestant("product and einsum", "float64", lambda: np.einsum("ij,ij->i", E @ layer.H, E)),
    ]
    yield Case(n, n, "float64 matmul of n³ flops", lambda: torch.mm(A, B, out=C), contestants)


def build_column_histogram(n: int) -> Iterator[Case]:
    integers = np.rint(np.random.default_rng(0).standard_normal((n, n)) * 2).astype(np.int32)
    low, width, copy = int(integers.min()), int(np.ptp(integers)) + 1, np.zeros_like(integers)

    def keys() -> np.ndarray:
        shifted = integers.astype(np.int64) - low + np.arange(n, dtype=np.int64) * width
        return np.bincount(shifted.ravel(), minlength=n * width)

    contestants = [
        Contestant("rdtools", "int32", lambda: ops.column_histogram(integers, low=low, width=width)),
        Contestant("bincount of keys", "int32", keys),
    ]
    yield Case(n, n, "int32 copy", lambda: np.copyto(copy, integers), contestants)


def build_e8p(n: int) -> Iterator[Case]:
    x = np.random.default_rng(0).standard_normal((n * n // 8, 8), dtype=np.float32) * np.float32(1.03)
    X, copy = torch.from_numpy(x), np.zeros_like(x)
    contestants = [
        Contestant("rdtools", "float32", lambda: ops.e8p_nearest(x)[1], lambda words: float(((x - words) ** 2).mean() / (x**2).mean())),
        Contestant(
            "candidates in torch",
            "float32",
            lambda: peers.e8p_candidates(X),
            lambda words: float(((X - words) ** 2).mean() / (X**2).mean()),
        ),
    ]
    yield Case(n, n, "float32 copy", lambda: np.copyto(copy, x), contestants)


def build_nearest_centroid(n: int) -> Iterator[Case]:
    """n centroids of 8 coordinates, and as many vectors as make n³ differences, products and sums."""
    rng = np.random.default_rng(0)
    x, C = rng.standard_normal((n * n // 24, 8), dtype=np.float32), rng.standard_normal((n, 8), dtype=np.float32)
    w = rng.uniform(0.5, 1.0, x.shape).astype(np.float32)
    X, T = torch.from_numpy(x), torch.from_numpy(C)

    def loss(index: Any) -> float:
        return float(((x - C[np.asarray(index)]) ** 2).mean())

    contestants = [
        Contestant("rdtools", "float32", lambda: ops.nearest_centroid(x, C)[0], loss),
        Contestant("rdtools, weights of each vector", "float32", lambda: ops.nearest_centroid(x, C, w)[0], loss),
        Contestant("products in torch", "float32", lambda: peers.centroid_products(X, T), loss),
    ]
    yield Case(len(x), n, "float32 matmul of n³ flops", _product(n), contestants)


def drawn_integers(n: int) -> QuantizedWeight:
    """Rounded normal integers of about three bits on average, whose standard deviations differ by three octaves between columns."""
    rng = np.random.default_rng(0)
    exponents = rng.integers(0, 25, n).astype(np.uint8)
    grid = UniformGrid(0.1875, exponents)
    integers = np.rint(rng.standard_normal((n, n), dtype=np.float32) / grid.column_steps(n).astype(np.float32)).astype(np.int32)
    symbols = coding.fit_column_gaussians(ScalarSymbols(integers, grid, GaussianModel()))
    return QuantizedWeight(Basis(n, np.ones(n, dtype=bool)), symbols)


def build_coding(n: int) -> Iterator[Case]:
    """Encode and decode; the loss is the share of integers that come back wrong."""
    weight = drawn_integers(n)
    symbols = weight.symbols
    integers = symbols.integers
    shared, probabilities = peers.shared_symbols(integers)

    def round_trip(kind: CodeModelKind) -> Callable[[], Any]:
        weight_of_kind = (
            weight if kind == "column" else dataclasses.replace(weight, symbols=dataclasses.replace(symbols, model=ENTROPY_MODELS[kind]()))
        )
        return lambda: coding.decode(coding.encode(weight_of_kind).data).symbols.integers

    def wrong(decoded: Any) -> float:
        return float(np.mean(np.asarray(decoded).reshape(integers.shape) != integers))

    contestants = [
        Contestant("rdtools, Gaussian per column", "int32", round_trip("column"), wrong, 2.5 if n == 4096 else None),
        Contestant("rdtools, histogram per column", "int32", round_trip("histogram"), wrong),
        Contestant("rdtools, pooled histogram", "int32", round_trip("shared"), wrong),
        Contestant("constriction, ANS, histogram per column", "int32", lambda: peers.ans_by_columns(integers), wrong),
    ]
    yield Case(n, n, "constriction, range coder, pooled histogram", lambda: peers.range_coder(shared, probabilities), contestants)


def build_trellis_sic(n: int) -> Iterator[Case]:
    """Walks of every column against a scalar sweep, and decoding their file against a range coder with pooled histogram."""
    drawn = DrawnLayer.draw(n)
    W, L = drawn.W.astype(np.float64), cholesky(drawn.H).lower
    grid = UniformGrid(float(np.float32(0.25)), coding.octave_exponents(1.0 / np.diagonal(L)))
    steps = grid.column_steps(n)

    def walks(states: int) -> np.ndarray:
        return ops.coset_trellis_sweep(W, L, steps, states, segment=SEGMENT, residual=False)[0]

    searches = [
        Contestant(f"rdtools, {states} states", "float64", functools.partial(walks, states), at_most=most if n == 4096 else None)
        for states, most in ((8, 6.0), (256, 60.0))
    ]
    yield Case(n, n, "one float64 sweep", functools.partial(ops.sic_sweep, W, L, steps, residual=False), searches)
    integers = walks(8)
    symbols, _ = coding.fit_coset_gaussians(CosetSymbols(integers, grid, GaussianModel(), 8, SEGMENT), None)
    data = coding.encode(QuantizedWeight(Basis(n, np.ones(n, dtype=bool)), symbols)).data
    shared, probabilities = peers.shared_symbols(integers)
    coded = peers.range_encoded(shared, probabilities)

    def wrong(decoded: Any) -> float:
        return float(np.mean(decoded != integers))

    decoders = [
        Contestant("rdtools, decoding 8 states", "int32", lambda: coding.decode(data).symbols.integers, wrong, 3.0 if n == 4096 else None),
        Contestant("constriction, ANS, histogram per column, both ways", "int32", lambda: peers.ans_by_columns(integers), wrong),
    ]
    floor = functools.partial(peers.range_decoded, coded, probabilities, len(shared))
    yield Case(n, n, "constriction, range decoder, pooled histogram", floor, decoders)


def build_quantize(n: int) -> Iterator[Case]:
    """A whole quantization: factorization, sweeps of the rate search, models; against one sweep in the same precision."""
    drawn = DrawnLayer.draw(n)
    layer = Layer.of(drawn.W, drawn.H)
    W, H, scale = _reversed(drawn)

    def loss(quantized: Any) -> float:
        return drawn.relative_error(coding.reconstruct(quantized.weight))

    peer = Contestant(
        "GPTQ loop in torch, 4 bits, no search",
        "float32",
        lambda: peers.gptq_loop(W, peers.gptq_factor(H), scale).flip(1).numpy(),
        drawn.loss,
    )
    precisions: tuple[Precision, ...] = ("float64", "float32")
    for precision in precisions:
        quantizer = WaterSIC(rate_bits=3.0, precision=precision)
        problem = quantizer.prepare(layer)
        steps = 1.0 / np.diagonal(problem.factor)
        sweep = functools.partial(ops.sic_sweep, drawn.W.astype(precision, copy=False), problem.factor, steps, residual=False)
        whole, search = functools.partial(quantizer.quantize, layer), functools.partial(quantizer.quantize, layer, problem=problem)
        contestants = [
            Contestant("rdtools, WaterSIC at 3 bits", precision, whole, loss, at_most=4.0 if n == 4096 else None),
            Contestant("rdtools, WaterSIC at 3 bits, factored before", precision, search, loss),
        ]
        yield Case(n, n, f"one {precision} sweep", sweep, contestants + [peer] * (precision == "float32"))
