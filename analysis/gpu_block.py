"""Steps of `rdtools.analysis.gpu` that time the Triton kernels on one block of Llama-3-8B's shapes."""

# ruff: noqa: N806 (mathematical capitals)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rdtools.analysis.gpu_steps import INTERPRET, attempt, device, milliseconds

from rdtools import ops
from rdtools.ops.trellis import trellis_quantize, trellis_values
from rdtools.transforms.hadamard import _core, core_order

#: Matrices of a block that share a sweep: rows, columns, and how many matrices they stand for.
BLOCK = {"q, k, v": (6144, 4096), "o": (4096, 4096), "gate, up": (28672, 4096), "down": (4096, 14336)}
#: Shapes whose time on an H100 was foretold from compiled code, with that time in ms.
FORETOLD_MS = {
    ("sweep", 4096, 4096, "float32"): 4.0, ("sweep", 4096, 4096, "float64"): 5.2, ("sweep", 4096, 14336, "float32"): 26.0,
    ("sweep", 4096, 14336, "float64"): 28.5, ("hadamard", 4096, 4096, "float32"): 0.1, ("hadamard", 4096, 4096, "float64"): 0.15,
    ("hadamard", 4096, 14336, "float32"): 0.7, ("walks", 4096, 4096, "float32"): 1000.0,
}  # fmt: skip
_SHRINK = 128
_CODE_RANGE = {"integer_min": -128, "integer_max": 127}


def shrunk(m: int, n: int) -> tuple[int, int]:
    """The shape, or a tiny one under the interpreter."""
    return (max(m // _SHRINK // 8, 2), n // _SHRINK) if INTERPRET else (m, n)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A normal weight, the factor of a moment whose eigenvalues fall over ten octaves, and steps of about three bits."""

    W: torch.Tensor
    L: torch.Tensor
    steps: torch.Tensor

    @classmethod
    def draw(cls, m: int, n: int, dtype: torch.dtype) -> Drawn:
        """On the device, from a seed; the moment is that of normal tokens with columns of different energy."""
        generator = torch.Generator(device()).manual_seed(m + n)
        normal = partial(torch.randn, generator=generator, device=device())
        x = normal(2 * n, n, dtype=torch.float64) * torch.logspace(0, -1.5, n, dtype=torch.float64, device=device())
        H = x.T @ x / (2 * n)
        L = torch.linalg.cholesky(H)
        step = 0.5
        return cls(normal(m, n, dtype=dtype), L, torch.full((n,), step, dtype=torch.float64, device=device()))

    def loss(self, integers: torch.Tensor, gains: torch.Tensor | None = None) -> float:
        """``tr(E H Eᵀ)/(m n)`` in float64, a thousand rows at a time."""
        scale = self.steps if gains is None else self.steps * gains
        parts = zip(self.W.split(1024), integers.split(1024), strict=True)
        total = sum(float((((w.double() - scale * z) @ self.L) ** 2).sum()) for w, z in parts)
        return total / self.W.numel()


def _foretold(kind: str, m: int, n: int, dtype: torch.dtype) -> dict[str, float]:
    known = FORETOLD_MS.get((kind, m, n, str(dtype).removeprefix("torch.")))
    return {} if known is None else {"foretold_ms": known}


def _floor_of_sweep(m: int, n: int, dtype: torch.dtype) -> float:
    """Milliseconds of one product with as many operations as a sweep has, m n² together, without TF32."""
    A, B = torch.randn(m, n // 2, device=device(), dtype=dtype), torch.randn(n // 2, n, device=device(), dtype=dtype)
    C = torch.empty(m, n, device=device(), dtype=dtype)
    return milliseconds(lambda: torch.mm(A, B, out=C), budget_s=1.0, most=8)["ms"]


def _timed_sweep(m: int, n: int, dtype: torch.dtype, **options: Any) -> dict[str, Any]:
    m, n = shrunk(m, n)
    drawn = Drawn.draw(m, n, dtype)
    sweep = partial(ops.sic_sweep, drawn.W, drawn.L, drawn.steps, **_CODE_RANGE, **options, backend="triton")
    times, floor = milliseconds(sweep), _floor_of_sweep(m, n, dtype)
    integers, _ = sweep()
    ratio = times["ms"] / floor
    return {"m": m, "n": n, **times, "floor_ms": floor, "ratio_to_floor": ratio, "loss": drawn.loss(integers)} | _foretold(
        "sweep", m, n, dtype
    )


def block_sweep() -> None:
    """One sweep for each input of a block, its rows stacked, in both precisions."""
    for name, (m, n) in BLOCK.items():
        for dtype in (torch.float32, torch.float64):
            attempt(f"sweep of {name}, {dtype}", partial(_timed_sweep, m, n, dtype, residual=False))
            if not INTERPRET:
                torch.cuda.empty_cache()


def block_modes() -> None:
    """Every mode of the sweep at o's shape, and float32 against float64 on the same numbers."""
    m, n = BLOCK["o"]
    apart = {"residual": False}
    modes: dict[str, dict[str, Any]] = {"residual kept": {}, "stochastic": {"seed": 7} | apart, "offset": {"offset": 0.5} | apart}
    for name, options in modes.items():
        for dtype in (torch.float32, torch.float64):
            attempt(f"sweep, {name}, {dtype}", partial(_timed_sweep, m, n, dtype, **options))
    attempt("sweep, float32 against float64", _precisions)
    attempt("sweep, the same integers again", _repeated)
    attempt("sweep, gains fitted, torch.float32", _fitted)


def _precisions() -> dict[str, Any]:
    """Share of equal integers and ratio of losses of the two precisions on one layer."""
    drawn = Drawn.draw(*shrunk(*BLOCK["o"]), torch.float32)
    integers = [
        ops.sic_sweep(drawn.W.to(dtype), drawn.L, drawn.steps, **_CODE_RANGE, residual=False, backend="triton")[0]
        for dtype in (torch.float32, torch.float64)
    ]
    ratio = drawn.loss(integers[0]) / drawn.loss(integers[1])
    row = {"agree": float((integers[0] == integers[1]).double().mean()), "loss_ratio": ratio}
    return row if abs(ratio - 1) < 1e-3 else row | {"status": "failed", "message": "losses differ by more than a thousandth"}


def _repeated() -> dict[str, Any]:
    """Twenty sweeps of one layer, which have the same bits if nothing races."""
    drawn = Drawn.draw(*shrunk(*BLOCK["o"]), torch.float32)
    times = 2 if INTERPRET else 20
    sweep = partial(ops.sic_sweep, drawn.W, drawn.L, drawn.steps, **_CODE_RANGE, residual=False, backend="triton")
    first, *others = (sweep()[0] for _ in range(times))
    wrong = sum(int((other != first).sum()) for other in others)
    return {"times": times, "different": wrong} | ({"status": "failed", "message": "a race, likely"} if wrong else {})


def _fitted() -> dict[str, Any]:
    m, n = shrunk(1024, 4096)
    drawn = Drawn.draw(m, n, torch.float32)
    sweep = partial(ops.sic_sweep_sample_gains, drawn.W, drawn.L, drawn.steps, **_CODE_RANGE, residual=False, backend="triton")
    times = milliseconds(sweep, budget_s=4.0, most=5)
    integers, gains, _ = sweep()
    return {"m": m, "n": n, **times, "loss": drawn.loss(integers, gains)}


def block_hadamard() -> None:
    """The block's widths in place, beside a copy of the same matrix."""
    for n in (4096, 14336):
        for dtype in (torch.float32, torch.float64):

            def work(n: int = n, dtype: torch.dtype = dtype) -> dict[str, Any]:
                m, width = shrunk(4096, n)
                x = torch.randn(m, width, device=device(), dtype=dtype)
                core, y = torch.from_numpy(_core(core_order(width) or 1).copy()).to(device()), torch.empty_like(x)
                floor = milliseconds(lambda: y.copy_(x), most=10)["ms"]
                times = milliseconds(lambda: ops.hadamard_inplace(x, core, backend="triton"))
                row = {"m": m, "n": width, **times, "floor_ms": floor, "ratio_to_floor": times["ms"] / floor}
                return row | _foretold("hadamard", m, width, dtype)

            attempt(f"hadamard of {n}, {dtype}", work)


def block_trellis() -> None:
    """QTIP's search for a column block of q (256 sequences of 256), for many at once, and with 2^16 states."""
    cases = {"a column block": (256, 12), "32 column blocks": (8192, 12), "64 sequences, 2^16 states": (64, 16)}
    for name, (sequences, bits) in cases.items():

        def work(sequences: int = sequences, bits: int = bits) -> dict[str, Any]:
            count, length, states = (2, 16, 5) if INTERPRET else (sequences, 256, bits)
            x = torch.randn(count, length, device=device(), dtype=torch.float32)
            values = torch.from_numpy(trellis_values("3inst", states)).to(device())
            search: Callable[[], Any] = partial(trellis_quantize, x, values, 2, backend="triton", tail_biting=True)
            times = milliseconds(search, budget_s=4.0, most=10)
            error = float(((x - search()[1]) ** 2).mean())
            # on normal numbers two bits leave at least 4^-2; with so many states they come within a quarter of it
            good = INTERPRET or 4.0**-2 <= error < 0.1
            return {"sequences": count, "state_bits": states, **times, "error": error} | (
                {} if good else {"status": "failed", "message": "expected an error between 0.0625 and 0.1"}
            )

        attempt(f"trellis, {name}", work)


def block_walks() -> None:
    """Walks of every column of o under 8 and 256 states, in segments as stored and in short ones, which keep more of the GPU busy."""
    m, n = BLOCK["o"]
    for states, segment in ((8, 2048), (256, 2048), (256, 256)):

        def work(states: int = states, segment: int = segment) -> dict[str, Any]:
            rows, columns = (3, 4) if INTERPRET else (m, n)
            drawn = Drawn.draw(rows, columns, torch.float32)
            run: Callable[[], Any] = partial(
                ops.coset_trellis_sweep, drawn.W, drawn.L, drawn.steps, states, segment=segment, residual=False, backend="triton"
            )
            times = milliseconds(run, budget_s=6.0, most=3)
            floor, loss = _floor_of_sweep(rows, columns, torch.float32), drawn.loss(0.5 * run()[0])
            row = {"m": rows, "n": columns, "states": states, "segment": segment, **times, "floor_ms": floor, "loss": loss}
            return row | (_foretold("walks", rows, columns, torch.float32) if (states, segment) == (256, 2048) else {})

        attempt(f"walks of o, {states} states, segments of {segment}", work)
