"""Steps of `rdtools.analysis.gpu` that ask whether kernels work at all, and whether they agree with the CPU on small layers."""

# ruff: noqa: N806 (mathematical capitals)

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from rdtools.analysis.gpu_steps import INTERPRET, attempt, device

from rdtools import ops
from rdtools.linalg import cholesky
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.ops.trellis import trellis_quantize, trellis_values
from rdtools.transforms.hadamard import _core, core_order

#: Computes on the CPU, as slowly as it is written: whether a machine's Numba accepts its NumPy is not asked, and nothing is compiled.
CPU = "reference"
DTYPES = (np.float64, np.float32)


def on_device(*arrays: Any) -> tuple[torch.Tensor, ...]:
    """Copies of arrays on the device."""
    return tuple(torch.from_numpy(np.array(x)).to(device()) for x in arrays)


def small_problem(m: int, n: int, dtype: Any, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """W, L, steps and gains that are exact in the dtype."""
    rng = np.random.default_rng((seed, m, n))
    factor = cholesky(haar_moment(power_law(n, 1.0), rng)).lower
    arrays = rng.standard_normal((m, n)), factor, 0.3 * np.exp(rng.standard_normal(n)), rng.uniform(0.5, 1.0, n)
    W, L, steps, gains = (x.astype(dtype).astype(np.float64) for x in arrays)
    return W.astype(dtype), L, steps, gains


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.cpu() if isinstance(x, torch.Tensor) else x)


def _sweep(m: int, n: int, dtype: Any, backend: str, *, seed: int | None, fitted: bool) -> dict[str, Any]:
    """Share of integers on which device and CPU agree, and the ratio of their losses; they may differ at ties and, in that row, after."""
    W, L, steps, gains = small_problem(m, n, dtype)
    options = {"seed": seed, "integer_min": -6, "integer_max": 5}

    def both(backend: str, *arrays: Any) -> tuple[np.ndarray, np.ndarray]:
        if fitted:
            integers, used, _ = ops.sic_sweep_sample_gains(*arrays[:3], **options, backend=backend)
        else:
            integers, _ = ops.sic_sweep(*arrays, **options, backend=backend)
            used = arrays[3]
        return _array(integers), _array(used)

    ours, theirs = both("triton", *on_device(W, L, steps, gains)), both(backend, W, L, steps, gains)
    losses = [float((((W - used * steps * integers).astype(np.float64) @ L) ** 2).sum()) for integers, used in (ours, theirs)]
    agree, ratio = float((ours[0] == theirs[0]).mean()), losses[0] / losses[1]
    # rounding moves about n ε of all decisions, each of which may change those after it in its row
    good = agree > (0.999 if dtype is np.float64 else 0.9) and abs(ratio - 1) < 1e-2
    return {"m": m, "n": n, "cpu": backend, "agree": agree, "loss_ratio": ratio, **({} if good else _differing())}


def _differing() -> dict[str, Any]:
    return {"status": "failed", "message": "device and CPU differ by more than rounding"}


def _hadamard(m: int, n: int, dtype: Any, backend: str) -> dict[str, Any]:
    """Largest difference in units of ε times the largest entry; without a core the additions are the same ones."""
    x, core = np.random.default_rng(n).standard_normal((m, n)).astype(dtype), _core(core_order(n) or 1)
    expected, (y, dense) = x.copy(), on_device(x, core)
    ops.hadamard_inplace(expected, core, backend=backend)
    ops.hadamard_inplace(y, dense, backend="triton")
    difference = float(np.abs(y.cpu().numpy() - expected).max() / np.abs(expected).max() / np.finfo(dtype).eps)
    good = difference == 0 if len(core) == 1 else difference < 4 * len(core)
    return {"m": m, "n": n, "core": len(core), "difference_in_eps": difference, **({} if good else _differing())}


def _trellis(sequences: int, length: int, bits: int, dtype: Any, backend: str, *, tail_biting: bool) -> dict[str, Any]:
    """Ratio of the squared errors of device and CPU: of paths equally near either may be taken."""
    x = np.random.default_rng(bits).standard_normal((sequences, length)).astype(dtype)
    values = trellis_values("3inst", bits)
    device_values = trellis_quantize(*on_device(x, values), 2, backend="triton", tail_biting=tail_biting)[1].cpu().numpy()
    cpu_values = trellis_quantize(x, values, 2, backend=backend, tail_biting=tail_biting)[1]
    errors = [float(((x.astype(np.float64) - y) ** 2).sum()) for y in (device_values, cpu_values)]
    ratio = errors[0] / errors[1]
    good = abs(ratio - 1) < (1e-9 if dtype is np.float64 else 1e-4) * (1 if not tail_biting else 100)
    return {"sequences": sequences, "length": length, "state_bits": bits, "error_ratio": ratio, **({} if good else _differing())}


def _follow(integers: np.ndarray, states: int, segment: int) -> bool:
    """True if every integer is as odd as the state that those before it in its column lead to."""
    after, state = ops.coset_transitions(states), np.zeros(integers.shape[1], dtype=np.int64)
    for k, row in enumerate(integers):
        state = 0 * state if k % segment == 0 else state
        if ((row ^ state) & 1).any():
            return False
        state = after[state, (row >> 1) & 1]
    return True


def _walks(m: int, n: int, dtype: Any, backend: str, *, states: int, segment: int) -> dict[str, Any]:
    """Share of equal integers and the ratio of losses of device and CPU: of walks equally near to rounding either may be taken."""
    W, L, steps, _ = small_problem(m, n, dtype)
    search = {"states": states, "segment": segment, "residual": False}
    found = _array(ops.coset_trellis_sweep(*on_device(W, L, steps), **search, backend="triton")[0])
    expected = ops.coset_trellis_sweep(W, L, steps, **search, backend=backend)[0]
    losses = [float((((W - 0.5 * steps * integers).astype(np.float64) @ L) ** 2).sum()) for integers in (found, expected)]
    ratio, walks = losses[0] / losses[1], _follow(found, states, segment)
    good = walks and abs(ratio - 1) < (1e-2 if m * n > 2000 else 0.1)
    row = {
        "m": m,
        "n": n,
        "states": states,
        "cpu": backend,
        "agree": float((found == expected).mean()),
        "loss_ratio": ratio,
        "walks": walks,
    }
    return row | ({} if good else _differing())


def _each_dtype(name: str, work: Any, *arguments: Any, **settings: Any) -> None:
    for dtype in DTYPES:
        attempt(f"{name} {np.dtype(dtype)}", lambda dtype=dtype: work(*arguments, dtype, CPU, **settings))


def smoke_hadamard() -> None:
    """Smallest shapes, which compile and run."""
    for m, n in ((2, 8),) if INTERPRET else ((2, 8), (1, 4096), (3, 48)):
        _each_dtype("hadamard", _hadamard, m, n)


def smoke_sweep() -> None:
    """Edges of strips and panels, smallest first."""
    for m, n in ((1, 1), (3, 17)) if INTERPRET else ((1, 1), (5, 7), (3, 65), (17, 513), (9, 1025)):
        _each_dtype("sweep", _sweep, m, n, seed=None, fitted=False)
    _each_dtype("sweep, stochastic", _sweep, 5, 7, seed=2**64 - 3, fitted=False)
    _each_dtype("sweep, gains fitted", _sweep, 5, 7, seed=None, fitted=True)


def smoke_trellis() -> None:
    """Small trellises, free and tail-biting."""
    for bits in (3, 5) if INTERPRET else (3, 5, 12):
        for tail_biting in (False, True):
            _each_dtype(f"trellis{', tail-biting' * tail_biting}", _trellis, 3, 16, bits, tail_biting=tail_biting)


def smoke_walks() -> None:
    """Few rows, segments that do not divide them, and as many warps as there are."""
    for m, n, states, segment in ((5, 2, 4, 3),) if INTERPRET else ((1, 1, 4, 1), (7, 3, 8, 3), (70, 66, 256, 40), (40, 3, 1024, 40)):
        _each_dtype("walks", _walks, m, n, states=states, segment=segment)


def equal_hadamard() -> None:
    """Widths of models, with and without a core."""
    for n in (64, 96) if INTERPRET else (4096, 8192, 11008, 14336, 576, 1536):
        _each_dtype("hadamard", _hadamard, 8, n)


def equal_sweep() -> None:
    """A small layer in every mode."""
    m, n = (4, 33) if INTERPRET else (256, 640)
    for seed in (None, 7):
        for fitted in (False, True):
            name = f"sweep{', stochastic' * (seed is not None)}{', gains fitted' * fitted}"
            _each_dtype(name, _sweep, m, n, seed=seed, fitted=fitted)


def equal_trellis() -> None:
    """A block of columns of a small layer."""
    sequences, bits = (2, 4) if INTERPRET else (16, 12)
    for tail_biting in (False, True):
        _each_dtype(f"trellis{', tail-biting' * tail_biting}", _trellis, sequences, 32 if INTERPRET else 256, bits, tail_biting=tail_biting)


def equal_walks() -> None:
    """A small layer on walks of both counts of states that results are given for."""
    m, n = (6, 3) if INTERPRET else (256, 96)
    for states in (4,) if INTERPRET else (8, 256):
        _each_dtype("walks", _walks, m, n, states=states, segment=m)
