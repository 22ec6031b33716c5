"""Time of the kernels against the least that the machine could take, and against how others do the same.

python -m rdtools.analysis.bench [--op NAME] [--out rows.csv]

Every repetition times the floor and then the contestant, so that a ratio compares two neighbouring moments; rows give medians and 20 %
and 80 % quantiles over repetitions. An op whose tests fail is not reported. Rows are of the CPU; of a GPU there are none.
"""

# ruff: noqa: N803, N806 (mathematical capitals)

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib
import numba
import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rdtools.kernels import e8p_reference
from threadpoolctl import threadpool_limits

from rdtools import ops
from rdtools.linalg import cholesky
from rdtools.report.figures import save_figure
from rdtools.report.style import RC

ROOT = Path(__file__).resolve().parents[1]

#: Bits of the grid that sweeps round to, and columns of a block of the GPTQ loop, as in the paper's code.
BITS, GPTQ_BLOCK = 4, 128
#: Tokens that arrive at a time, and vectors whose products with a table are in memory at a time.
SEQUENCE, CANDIDATE_ROWS = 4096, 1024
#: Idle time before each measurement: threads of the one before spin for a few milliseconds.
SETTLE_SECONDS = 0.02


@dataclass(frozen=True)
class Contestant:
    """Something that does an op; `loss` judges what `run` returned."""

    name: str
    dtype: str
    run: Callable[[], Any]
    loss: Callable[[Any], float] | None = None
    at_most: float | None = None  # the ratio to the floor that is aimed at


@dataclass(frozen=True)
class Case:
    """An op at one size: what it is measured against, and who takes part."""

    rows: int
    columns: int
    floor_name: str
    floor: Callable[[], Any]
    contestants: list[Contestant]


@dataclass(frozen=True)
class Op:
    """What can be asked for by name."""

    build: Callable[[int], Iterator[Case]]
    sizes: tuple[int, ...]
    tests: tuple[str, ...]


# -- peers, written from the descriptions of their algorithms ------------------------------------------------------------------------


def gptq_factor(H: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of H⁻¹, by way of H's own: three factorizations in H's dtype."""
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)


def gptq_loop(W: torch.Tensor, T: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """GPTQ's loop: columns from the first to the last, errors fed back within a block at once and to later blocks at its end."""
    W = W.clone()
    n = W.shape[1]
    codes = torch.empty_like(W)
    for start in range(0, n, GPTQ_BLOCK):
        stop = min(start + GPTQ_BLOCK, n)
        block, errors = W[:, start:stop].clone(), torch.empty_like(W[:, start:stop])
        for i in range(stop - start):
            row = T[start + i, start:stop]
            w = block[:, i]
            z = torch.clamp(torch.round(w / scale - 0.5), -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1)
            codes[:, start + i] = z
            error = (w - scale * (z + 0.5)) / row[i]
            block[:, i:] -= error[:, None] @ row[None, i:]
            errors[:, i] = error
        W[:, stop:] -= errors @ T[start:stop, stop:]
    return codes


def ldlq_loop(W: torch.Tensor, L: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """LDLQ column by column: each target is ``w_k + (W − Ŵ) u_k`` with the errors of all columns decided before."""
    rounded, codes = W.clone(), torch.empty_like(W)
    for k in range(W.shape[1] - 1, -1, -1):
        target = W[:, k] + (W[:, k + 1 :] - rounded[:, k + 1 :]) @ (L[k + 1 :, k] / L[k, k])
        z = torch.clamp(torch.round(target / scale - 0.5), -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1)
        codes[:, k] = z
        rounded[:, k] = scale * (z + 0.5)
    return codes


def hadamard_loop(x: torch.Tensor) -> torch.Tensor:
    """The butterfly, one level at a time over the whole matrix."""
    m, n = x.shape
    half = 1
    while half < n:
        x = x.view(m, n // (2 * half), 2, half)
        x = torch.stack([x[:, :, 0] + x[:, :, 1], x[:, :, 0] - x[:, :, 1]], dim=2)
        half *= 2
    return x.view(m, n) / n**0.5


def moment_loop(x: torch.Tensor) -> torch.Tensor:
    """GPTQ's accumulation: the whole product of a sequence at a time, in float32 throughout."""
    H = torch.zeros(x.shape[1], x.shape[1])
    for start in range(0, len(x), SEQUENCE):
        part = x[start : start + SEQUENCE]
        H += part.T @ part
    return H


def e8p_candidates(x: torch.Tensor) -> torch.Tensor:
    """The nearest E8P words by QuIP#'s table: with parity set right on the last coordinate, 1366 candidates are left for each shift."""
    S = e8p_reference.entries()
    table = []
    for s in S:
        for flipped in [None, *(j for j in range(7) if s[j] == 0.5)]:
            signs = np.ones(8)
            signs[[] if flipped is None else [flipped]] = -1
            signs[7] = -1 if (int(s.sum()) % 2 == 1) != (flipped is not None) else 1
            table.append(s * signs)
    T = torch.from_numpy(np.array(table)).to(x.dtype)
    half = 0.5 * (T * T).sum(1)
    words, distances = [], []
    for t in (0.25, -0.25):
        y = x - t
        signs = torch.where(y < 0, -1.0, 1.0).to(x.dtype)
        signs[:, 7] *= signs.prod(1)
        word = T[torch.cat([torch.addmm(half, part, T.T, beta=-1).argmax(1) for part in (y * signs).split(CANDIDATE_ROWS)])] * signs + t
        words.append(word)
        distances.append(((x - word) ** 2).sum(1))
    return torch.where((distances[0] <= distances[1])[:, None], *words)


def centroid_products(x: torch.Tensor, C: torch.Tensor) -> torch.Tensor:
    """The nearest centroids by one matrix product a block of vectors."""
    half = 0.5 * (C * C).sum(1)
    return torch.cat([torch.addmm(half, part, C.T, beta=-1).argmax(1) for part in x.split(CANDIDATE_ROWS)])


# -- ops -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """A normal weight and a Wishart moment of 4n tokens, with absmax row scales of a mid-rise grid of 2^BITS levels."""

    W: np.ndarray
    H: np.ndarray

    @classmethod
    def draw(cls, n: int) -> _Layer:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((4 * n, n), dtype=np.float32)
        return cls(rng.standard_normal((n, n), dtype=np.float32), (X.T @ X).astype(np.float64) / (4 * n))

    @property
    def scale(self) -> np.ndarray:
        return (2 * np.abs(self.W).max(axis=1) / 2**BITS).astype(np.float32)

    def loss(self, codes: Any) -> float:
        """``tr(E H Eᵀ) / tr(W H Wᵀ)``."""
        E = self.W - self.scale[:, None] * (np.asarray(codes, dtype=np.float32) + np.float32(0.5))
        energy = [float(np.einsum("ij,ij->", A @ self.H, A)) for A in (E.astype(np.float64), self.W.astype(np.float64))]
        return energy[0] / energy[1]

    def sweep(self, factor: np.ndarray, dtype: Any, seed: int | None = None) -> np.ndarray:
        weight = (self.W / self.scale[:, None]).astype(dtype, copy=False)
        steps = np.ones(len(factor))
        low, high = -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1
        return ops.sic_sweep(weight, factor, steps, offset=0.5, code_min=low, code_max=high, seed=seed, residual=False)[0]


def _product(n: int) -> Callable[[], Any]:
    """A float32 product of n³ multiplications and additions together, as many as a sweep of n × n needs: (n, n/2) by (n/2, n)."""
    A, B, C = torch.rand(n, n // 2), torch.rand(n // 2, n), torch.empty(n, n)
    return lambda: torch.mm(A, B, out=C)


def _reversed(layer: _Layer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """W, H and the scales for who goes from the first column to the last: the same order of decisions as from the last to the first."""
    W, H = np.ascontiguousarray(layer.W[:, ::-1]), np.ascontiguousarray(layer.H[::-1, ::-1]).astype(np.float32)
    return torch.from_numpy(W), torch.from_numpy(H), torch.from_numpy(layer.scale)


def build_sweep(n: int) -> Iterator[Case]:
    layer = _Layer.draw(n)
    L = cholesky(layer.H).lower
    W, H, scale = _reversed(layer)
    T = gptq_factor(H)
    at_most = {1024: 2.5, 4096: 1.35}.get(n)
    contestants = [
        Contestant("rdtools", "float32", lambda: layer.sweep(L, np.float32), layer.loss, at_most),
        Contestant("rdtools", "float64", lambda: layer.sweep(L, np.float64), layer.loss),
        Contestant("rdtools, stochastic", "float32", lambda: layer.sweep(L, np.float32, seed=0), layer.loss),
        Contestant("GPTQ loop in torch", "float32", lambda: gptq_loop(W, T, scale).flip(1).numpy(), layer.loss),
    ]
    yield Case(n, n, "float32 matmul of n³ flops", _product(n), contestants)


def build_gptq(n: int) -> Iterator[Case]:
    layer = _Layer.draw(n)
    W, H, scale = _reversed(layer)
    forward = torch.from_numpy(layer.W)

    def ldlq() -> np.ndarray:
        return ldlq_loop(forward, torch.from_numpy(cholesky(layer.H).lower).float(), scale).numpy()

    contestants = [
        Contestant("rdtools", "float64 factor, float32", lambda: layer.sweep(cholesky(layer.H).lower, np.float32), layer.loss),
        Contestant("rdtools", "float64", lambda: layer.sweep(cholesky(layer.H).lower, np.float64), layer.loss),
        Contestant("GPTQ loop in torch", "float32", lambda: gptq_loop(W, gptq_factor(H), scale).flip(1).numpy(), layer.loss),
        Contestant("LDLQ by columns in torch", "float64 factor, float32", ldlq, layer.loss),
    ]
    yield Case(n, n, "float32 matmul of n³ flops", _product(n), contestants)


def build_hadamard(n: int) -> Iterator[Case]:
    for dtype in (np.float32, np.float64):
        x = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
        y, core, tensor = np.zeros_like(x), np.ones((1, 1)), torch.from_numpy(x)
        contestants = [
            Contestant(
                "rdtools, in place", x.dtype.name, lambda x=x, core=core: ops.hadamard_multiply(x, core), at_most=4.0 if n == 4096 else None
            ),
            Contestant("butterfly in torch", x.dtype.name, lambda tensor=tensor: hadamard_loop(tensor)),
        ]
        yield Case(n, n, f"{x.dtype.name} copy", lambda x=x, y=y: np.copyto(y, x), contestants)


def build_rank_update(n: int) -> Iterator[Case]:
    """16n tokens: 65,536 for 4096 columns."""
    x = np.random.default_rng(0).standard_normal((16 * n, n), dtype=np.float32)
    X, part = torch.from_numpy(x), torch.empty(n, n)
    half = X[: len(X) // 2]

    def accumulate(dtype: Any) -> None:
        total = np.zeros((n, n))
        for start in range(0, len(x), SEQUENCE):
            ops.rank_update(total, x[start : start + SEQUENCE].astype(dtype, copy=False))

    contestants = [
        Contestant("rdtools", "float32, sums float64", lambda: accumulate(np.float32), at_most=1.4 if n == 4096 else None),
        Contestant("rdtools", "float64", lambda: accumulate(np.float64)),
        Contestant("sums of products in torch", "float32", lambda: moment_loop(X)),
    ]
    yield Case(len(x), n, "float32 matmul of 16n³ flops", lambda: torch.mm(half.T, half, out=part), contestants)


def build_quadratic_form(n: int) -> Iterator[Case]:
    layer = _Layer.draw(n)
    E = layer.W.astype(np.float64)
    A, B, C = (torch.rand(*shape, dtype=torch.float64) for shape in ((n, n // 2), (n // 2, n), (n, n)))
    contestants = [
        Contestant("rdtools", "float64", lambda: ops.quadratic_form(E, layer.H)),
        Contestant("product and einsum", "float64", lambda: np.einsum("ij,ij->i", E @ layer.H, E)),
    ]
    yield Case(n, n, "float64 matmul of n³ flops", lambda: torch.mm(A, B, out=C), contestants)


def build_column_histogram(n: int) -> Iterator[Case]:
    codes = np.rint(np.random.default_rng(0).standard_normal((n, n)) * 2).astype(np.int32)
    low, width, copy = int(codes.min()), int(np.ptp(codes)) + 1, np.zeros_like(codes)

    def keys() -> np.ndarray:
        shifted = codes.astype(np.int64) - low + np.arange(n, dtype=np.int64) * width
        return np.bincount(shifted.ravel(), minlength=n * width)

    contestants = [
        Contestant("rdtools", "int32", lambda: ops.column_histogram(codes, low=low, width=width)),
        Contestant("bincount of keys", "int32", keys),
    ]
    yield Case(n, n, "int32 copy", lambda: np.copyto(copy, codes), contestants)


def build_e8p(n: int) -> Iterator[Case]:
    x = np.random.default_rng(0).standard_normal((n * n // 8, 8), dtype=np.float32) * np.float32(1.03)
    X, copy = torch.from_numpy(x), np.zeros_like(x)
    contestants = [
        Contestant("rdtools", "float32", lambda: ops.e8p_nearest(x)[1], lambda words: float(((x - words) ** 2).mean() / (x**2).mean())),
        Contestant(
            "candidates in torch", "float32", lambda: e8p_candidates(X), lambda words: float(((X - words) ** 2).mean() / (X**2).mean())
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
        Contestant("products in torch", "float32", lambda: centroid_products(X, T), loss),
    ]
    yield Case(len(x), n, "float32 matmul of n³ flops", _product(n), contestants)


OPS = {
    "sic_sweep": Op(build_sweep, (1024, 4096), ("tests/kernels/test_sic_sweep.py", "tests/kernels/test_philox.py")),
    "gptq": Op(build_gptq, (1024, 4096), ("tests/kernels/test_sic_sweep.py",)),
    "hadamard": Op(build_hadamard, (4096,), ("tests/kernels/test_hadamard.py",)),
    "rank_update": Op(build_rank_update, (4096,), ("tests/kernels/test_rank_update.py",)),
    "quadratic_form": Op(build_quadratic_form, (4096,), ("tests/kernels/test_quadratic_form.py",)),
    "column_histogram": Op(build_column_histogram, (4096,), ("tests/kernels/test_column_histogram.py",)),
    "e8p": Op(build_e8p, (4096,), ("tests/kernels/test_e8p.py",)),
    "nearest_centroid": Op(build_nearest_centroid, (4096,), ("tests/kernels/test_nearest_centroid.py",)),
}


# -- measuring -----------------------------------------------------------------------------------------------------------------------


def passes(tests: tuple[str, ...], root: Path = ROOT) -> bool:
    """Run an op's test files in a process of their own; what is not there is not green."""
    if not all((root / test).is_file() for test in tests):
        return False
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *tests]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False).returncode == 0


def _time(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds of all threads, result."""
    time.sleep(SETTLE_SECONDS)
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def measure(case: Case, *, seconds: float, repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each contestant; all take turns until each has had its repetitions or its share of the time."""
    case.floor()
    taken: list[list[tuple[float, float, float]]] = [[] for _ in case.contestants]
    results: list[Any] = [None] * len(taken)
    for turn in range(repeats + 1):
        for k, contestant in enumerate(case.contestants):
            if sum(wall for _, wall, _ in taken[k]) > seconds:
                continue
            floor, _, _ = _time(case.floor)
            wall, cpu, results[k] = _time(contestant.run)
            if turn > 0 or wall > seconds:  # the first turn compiles and fills caches, which is nothing to who takes long
                taken[k].append((floor, wall, cpu))
    for contestant, times, result in zip(case.contestants, taken, results, strict=True):
        floor, wall, cpu = np.array(times).T
        row: dict[str, Any] = {"rows": case.rows, "columns": case.columns, "contestant": contestant.name, "dtype": contestant.dtype}
        row |= {"floor": case.floor_name, "repeats": len(times), "cpu_seconds": np.median(cpu)}
        for name, values in (("seconds", wall), ("floor_seconds", floor), ("ratio_to_floor", wall / floor)):
            low, middle, high = np.quantile(values, [0.2, 0.5, 0.8])
            row |= {name: middle, f"{name}_q20": low, f"{name}_q80": high}
        row |= {"at_most": contestant.at_most, "relative_loss": contestant.loss(result) if contestant.loss else None}
        yield row


def _circumstances(threads: int) -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    )
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    packages = {name: version(name) for name in ("numpy", "numba", "torch")}
    return {"device": names[0] if names else platform.machine(), "threads": threads, "commit": git.stdout.strip(), **packages}


def run(names: list[str], *, sizes: tuple[int, ...] | None, seconds: float, repeats: int, threads: int) -> tuple[pd.DataFrame, list[str]]:
    """Rows of the ops whose tests pass, and the names of the others."""
    green = {name: passes(OPS[name].tests) for name in names}
    rows = []
    before = torch.get_num_threads(), numba.get_num_threads()
    try:
        torch.set_num_threads(threads)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        with threadpool_limits(threads, user_api="blas"):
            for name in (name for name in names if green[name]):
                for size in sizes or OPS[name].sizes:
                    for case in OPS[name].build(size):
                        rows += [{"op": name, **row} for row in measure(case, seconds=seconds, repeats=repeats)]
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
    return pd.DataFrame(rows).assign(**_circumstances(threads)), [name for name in names if not green[name]]


def draw(rows: pd.DataFrame) -> Figure:
    """Ratio to the floor of every contestant, 20 % to 80 % of the repetitions as a bar, and the ratio aimed at."""
    figure = Figure(figsize=(6.4, 0.8 + 0.24 * max(len(rows), 1)))
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    y = np.arange(len(rows))[::-1]
    middle = rows["ratio_to_floor"]
    spread = [middle - rows["ratio_to_floor_q20"], rows["ratio_to_floor_q80"] - middle]
    ours = rows["contestant"].str.startswith("rdtools")
    for mask, color, marker, label in ((ours, "#D55E00", "D", "rdtools"), (~ours, "#7f7f7f", "s", "peers")):
        axis.errorbar(middle[mask], y[mask], xerr=[s[mask] for s in spread], color=color, marker=marker, linestyle="none", label=label)
    axis.plot(rows["at_most"], y, color="black", marker="|", markersize=10, linestyle="none", label="aimed at")
    axis.axvline(1.0, color="black", linewidth=0.8)
    axis.set_yticks(y, [f"{r.op} {r.rows}×{r.columns}: {r.contestant} ({r.dtype})" for r in rows.itertuples()])
    axis.set_xscale("log")
    axis.set_xlabel("time, in units of the floor")
    axis.legend()
    return figure


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op", action="append", choices=sorted(OPS), help="may be given again; all if left out")
    parser.add_argument("--out", type=Path, default=Path("bench.csv"), help="the figure goes beside it")
    parser.add_argument("--size", type=int, action="append", help="rows and columns, in place of the op's own")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each contestant, after which it is not run again")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    return parser


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    sizes = tuple(options.size) if options.size else None
    names = options.op or list(OPS)
    rows, red = run(names, sizes=sizes, seconds=options.seconds, repeats=options.repeats, threads=options.threads)
    for name in red:
        print(f"{name}: not reported, its tests fail or are missing: {' '.join(OPS[name].tests)}", file=sys.stderr)
    if not rows.empty:
        rows.to_csv(options.out, index=False, float_format="%.6g")
        with matplotlib.rc_context(RC):
            save_figure(draw(rows), options.out.with_suffix(""))
        shown = ["op", "rows", "contestant", "dtype", "seconds", "cpu_seconds", "ratio_to_floor", "at_most", "relative_loss"]
        print(rows[shown].to_string(index=False, float_format="%.4g"))
    return 1 if red else 0


if __name__ == "__main__":
    raise SystemExit(main())
