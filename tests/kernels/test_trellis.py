from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from rdtools.kernels import trellis_numba, trellis_reference
from tolerances import STANDARD_ERRORS

from rdtools import ops
from rdtools.errors import (
    BackendUnavailable,
    NotFiniteInput,
    ScaleOutOfRange,
    ShapeMismatch,
    UnsupportedDtype,
    UsageError,
)
from rdtools.ops.trellis import (
    TRELLIS_CODES,
    trellis_decode,
    trellis_pack,
    trellis_quantize,
    trellis_unpack,
    trellis_values,
)

#: L, k, V
TRELLISES = [(1, 1, 1), (4, 1, 1), (4, 3, 1), (5, 2, 1), (6, 1, 2), (6, 3, 2), (4, 4, 1), (8, 2, 4), (9, 2, 1)]


def _normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def _table(state_bits, V, seed=1):
    """A random table that float32 holds exactly."""
    return _normal((2**state_bits, V), seed, np.float32).astype(np.float64)


def _successors(state, state_bits, step_bits):
    return [((state << step_bits) & (2**state_bits - 1)) | new for new in range(2**step_bits)]


def _all_paths(steps, state_bits, step_bits):
    """Every path of so many states, (…, steps), by walking the graph."""
    paths = [[s] for s in range(2**state_bits)]
    for _ in range(steps - 1):
        paths = [[*path, following] for path in paths for following in _successors(path[-1], state_bits, step_bits)]
    return np.array(paths)


def _costs(x, states, values):
    """Squared error of each path, in extended precision."""
    return ((x.astype(np.longdouble) - values[states].reshape(x.shape)) ** 2).sum(axis=1)


def _budget(x, costs):
    """Twice what rounding may do to a cost: T additions of squares with six roundings each, none of which cancels."""
    return 2 * (x.shape[1] + 6) * np.finfo(x.dtype).eps * costs


# Tables


def _halves(x):
    """3INST of one word, by bytes and Python's own float16."""
    total = 0.0
    for half in (x >> 16, x & 0xFFFF):
        bits = (half & 0x8FFF) ^ 0x3B60
        total += struct.unpack("<e", bits.to_bytes(2, "little"))[0]
    return struct.unpack("<e", struct.pack("<e", total))[0]


@pytest.mark.parametrize("state_bits", [1, 5, 12, 16])
def test_tables_are_their_hashes_one_state_at_a_time(state_bits):
    """Python's integers and struct against NumPy's words, for up to 997 states and the last one."""
    pairs = trellis_reference.hyb_pairs()
    tables = {code: trellis_values(code, state_bits) for code in TRELLIS_CODES}
    assert {code: table.shape for code, table in tables.items()} == {
        code: (2**state_bits, 2 if code == "hyb" else 1) for code in TRELLIS_CODES
    }
    last = 2**state_bits - 1
    for s in {*range(0, last, last // 997 + 1), last}:
        mad = (34038481 * s + 76625530) % 2**32
        assert tables["1mad"][s, 0] == float(np.float32(sum(mad.to_bytes(4, "little")) - 510) / np.float32(147.800537109375))
        assert tables["3inst"][s, 0] == _halves((89226354 * s + 64248484) % 2**32)
        x = (s * s + s) % 2**32
        first, second = pairs[(x >> 6) % 512]
        assert tables["hyb"][s].tolist() == [-first if (x >> 15) % 2 else first, second]


@pytest.mark.parametrize(("code", "digest"), [("1mad", "ad576609c75b73bd"), ("3inst", "0540d77c8b460a6a"), ("hyb", "b385e9b928120fb7")])
def test_tables_never_change(code, digest):
    """Files are decoded with them: one bit that differs is another format."""
    assert hashlib.sha256(trellis_values(code, 16).astype("<f4").tobytes()).hexdigest().startswith(digest)


@pytest.mark.parametrize(("code", "dtype", "rms"), [("1mad", np.float32, 1.0), ("3inst", np.float16, 1.244), ("hyb", np.float16, 0.968)])
def test_tables_are_exact_in_small_formats_and_have_their_rms(code, dtype, rms):
    """1MAD: the variance of four bytes is 4 (2^16 − 1)/12 = 147.8². Values of states that follow each other are nearly uncorrelated."""
    values = trellis_values(code, 16)
    assert (values.astype(dtype) == values).all()
    assert abs(np.sqrt((values**2).mean()) - rms) < 0.001
    # all 2^16 hashes are no sample, but their mean has no reason to be farther off than that of one
    assert (np.abs(values.mean(axis=0)) < STANDARD_ERRORS * rms / 2**8).all()
    step_bits = 2 * values.shape[1]
    following = np.array([_successors(s, 16, step_bits) for s in range(0, 2**16, 16)])
    before = np.repeat(values[::16, 0], 2**step_bits)
    for column in values.T:
        # 2^12 independent values of those before have 1/2^6 as the standard error of a correlation
        assert abs(np.corrcoef(before, column[following].ravel())[0, 1]) < STANDARD_ERRORS / 2**6


def _lloyd(table, points, weights, iterations):
    for _ in range(iterations):
        index, _ = ops.nearest_centroid(points, table)
        table = ops.centroid_update(points, index, table, weights)
    return table


def test_the_hyb_table_is_where_lloyds_iteration_ends():
    """The iteration run again, on a coarser grid and not to its end: the table is as good to rounding and 2 %, and stays where it is.

    Rounding to 1/32 adds 2 (1/32)²/12 to the error of a pair, and moves a pair by the root of that; an iteration moves it back at most so
    far. A normal sample of 512 in its place is moved by more than five times as much.
    """
    pairs = trellis_reference.hyb_pairs()
    assert len(np.unique(pairs, axis=0)) == 512
    assert abs((pairs**2).mean() - 15 / 16) < 0.001
    axis = np.linspace(-5.2, 5.2, 161)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(-(points**2).sum(axis=1) / 2)
    points, density = points[density > 1e-6], density[density > 1e-6]
    weights = np.repeat(density[:, None], 2, axis=1)
    i = np.arange(512)
    radius, angle = 1.3 * np.sqrt(-2 * np.log(1 - (i + 0.5) / 512)), i * np.pi * (5**0.5 - 1)
    centroids = _lloyd(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), points, weights, 60)
    scale = np.sqrt((centroids**2).mean() / (15 / 16))

    def error(table):
        return float((ops.nearest_centroid(points, table)[1] * density).sum() / density.sum())

    rounding = 2 * (scale / 32) ** 2 / 12
    assert abs(error(pairs * scale) - rounding - error(centroids)) < 0.02 * error(centroids)

    def moved(table):
        return float(np.sqrt(((_lloyd(table, points, weights, 1) - table) ** 2).sum(axis=1).mean()))

    assert moved(pairs * scale) < rounding**0.5 < moved(_normal((512, 2)) * scale) / 5


# Search


@pytest.mark.parametrize(
    ("state_bits", "k", "V", "T"), [(3, 1, 1, 8), (4, 2, 1, 5), (4, 1, 2, 8), (6, 2, 2, 6), (4, 4, 1, 3), (2, 2, 1, 1)]
)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_free_path_is_the_nearest_of_all(state_bits, k, V, T, backend):
    """Against every path there is."""
    x, values = _normal((5, T)), _table(state_bits, V)
    paths = _all_paths(T // V, state_bits, k * V)
    assert len(paths) == 2 ** (state_bits + (T // V - 1) * k * V)
    states, reconstruction = trellis_quantize(x, values, k, tail_biting=False, backend=backend)
    for row, found, word in zip(x, states, reconstruction, strict=True):
        costs = ((row - values[paths].reshape(len(paths), T)) ** 2).sum(axis=1)
        assert found.tolist() == paths[np.argmin(costs)].tolist()
        assert (word == values[found].reshape(T)).all()


@pytest.mark.parametrize(
    ("state_bits", "k", "V", "T"), [(3, 1, 1, 8), (4, 2, 1, 6), (4, 1, 2, 8), (6, 2, 2, 6), (4, 4, 1, 2), (5, 1, 1, 5)]
)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_tail_biting_path_is_the_nearest_with_its_overlap(state_bits, k, V, T, backend):
    """The overlap is that in the middle of the free path of the rotated sequence; every circle is a string of kT bits."""
    x, values = _normal((7, T), 2), _table(state_bits, V)
    kV, n = k * V, T // V
    paths = _all_paths(n, state_bits, kV)
    circles = paths[(paths[:, 0] >> kV) == (paths[:, -1] & (2 ** (state_bits - kV) - 1))]
    assert len(circles) == 2 ** (k * T)
    states, _ = trellis_quantize(x, values, k, backend=backend)
    rotated = np.roll(x.reshape(7, n, V), n // 2, axis=1).reshape(7, T)
    free = trellis_quantize(rotated, values, k, tail_biting=False, backend=backend)[0]
    for row, found, middle in zip(x, states, free[:, n // 2], strict=True):
        allowed = circles[circles[:, 0] >> kV == middle >> kV]
        costs = ((row - values[allowed].reshape(len(allowed), T)) ** 2).sum(axis=1)
        assert found.tolist() == allowed[np.argmin(costs)].tolist()


@pytest.mark.parametrize(("state_bits", "k", "V"), TRELLISES)
@pytest.mark.parametrize("S", [1, 3, 17])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numba_takes_the_path_of_the_reference(state_bits, k, V, S, dtype, monkeypatch):
    """Or one as near to rounding: a sum that is rounded never falls when a term rises, so the search finds the least rounded cost."""
    T, values = 36, _table(state_bits, V)
    x = _normal((S, T), S, dtype)
    n = T // V
    rotated = np.roll(x.reshape(S, n, V), n // 2, axis=1).reshape(S, T)
    trellis_quantize(x[:1], values, k, backend="numba")
    slow, slow_free = (
        trellis_quantize(y, values, k, tail_biting=tail, backend="reference")[0] for y, tail in ((x, True), (rotated, False))
    )
    real = np.empty

    def poisoned(*args, **kwargs):
        array = real(*args, **kwargs)
        array.fill(np.nan if array.dtype.kind == "f" else 255)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    (fast, word), (fast_free, free_word) = (
        trellis_quantize(y, values, k, tail_biting=tail, backend="numba") for y, tail in ((x, True), (rotated, False))
    )
    assert (fast.dtype, fast.shape, word.dtype, word.shape) == (np.int32, (S, n), np.float64, (S, T))
    assert (word == values[fast].reshape(S, T)).all()
    assert (free_word == values[fast_free].reshape(S, T)).all()
    least = _costs(rotated, slow_free, values)
    assert (np.abs(_costs(rotated, fast_free, values) - least) <= _budget(x, least)).all()
    same_overlap = fast[:, 0] >> (k * V) == slow[:, 0] >> (k * V)
    assert (same_overlap | (fast_free != slow_free).any(axis=1)).all()
    least = _costs(x, slow, values)
    assert (np.abs(_costs(x, fast, values) - least) <= _budget(x, least))[same_overlap].all()
    if dtype == np.float64:
        assert (fast == slow).all()


@pytest.mark.parametrize(("state_bits", "k", "V"), TRELLISES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_of_equal_paths_both_take_the_same(state_bits, k, V, dtype):
    """Multiples of ½ that are small: no cost is rounded, and many are equal."""
    rng = np.random.default_rng(3)
    values = rng.integers(-3, 4, (2**state_bits, V)) / 2
    x = (rng.integers(-6, 7, (9, 24)) / 2).astype(dtype)
    for tail_biting in (True, False):
        slow, fast = (trellis_quantize(x, values, k, tail_biting=tail_biting, backend=backend)[0] for backend in ("reference", "numba"))
        assert (slow == fast).all()
    x[:] = 0
    assert (trellis_quantize(x, values * 0 + 1, k)[0] == 0).all()


@pytest.mark.parametrize(("block", "threads"), [(4, 1), (1, 3), (5, 2)])
def test_neither_blocks_threads_nor_layout_change_a_state(block, threads, monkeypatch):
    x, values = _normal((17, 40)), _table(7, 1)
    before = x.copy()
    expected = trellis_quantize(x, values, 2, backend="reference")[0]
    monkeypatch.setattr(trellis_numba, "BLOCK", block)
    monkeypatch.setattr(trellis_numba, "thread_count", lambda: threads)
    x.flags.writeable = False
    for same in (x, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        assert (trellis_quantize(same, np.asfortranarray(values), 2, backend="numba")[0] == expected).all()
    assert (x == before).all()
    assert trellis_quantize(x[:0], values, 2)[0].shape == (0, 40)


# Bits


@pytest.mark.parametrize(("code", "state_bits", "k"), [("1mad", 9, 1), ("3inst", 12, 2), ("hyb", 10, 2), ("hyb", 8, 4), ("3inst", 8, 3)])
@pytest.mark.parametrize("S", [1, 3, 17])
def test_bits_alone_give_the_reconstruction(code, state_bits, k, S):
    """Exactly kT bits a sequence, and state t is L of them from t kV on, around the circle."""
    T, values = 48, trellis_values(code, state_bits)
    kV = k * values.shape[1]
    states, reconstruction = trellis_quantize(_normal((S, T), S), values, k)
    assert (states[:, :1] >> kV == states[:, -1:] & (2 ** (state_bits - kV) - 1)).all()
    codes = trellis_pack(states, values, k)
    assert (codes.dtype, codes.shape) == (np.uint8, (S, k * T // 8))
    assert (trellis_unpack(codes, values, k, T) == states).all()
    decoded = trellis_decode(codes, values, k, T)
    assert (decoded == reconstruction).all()
    assert (np.signbit(decoded) == np.signbit(reconstruction)).all()
    for row, string in zip(states, codes, strict=True):
        bits = "".join(f"{byte:08b}" for byte in string.tolist()) * 2
        assert row.tolist() == [int(bits[t * kV : t * kV + state_bits], 2) for t in range(T // values.shape[1])]


def test_every_string_is_a_path():
    """16 bits, all 2^16 of them, in a trellis whose state is 11 bits, and in one whose state is the whole circle."""
    codes = np.array(list(product(range(256), repeat=2)), dtype=np.uint8)
    for state_bits, k, length in ((11, 2, 8), (16, 2, 8), (16, 4, 4)):
        values = np.zeros((2**state_bits, 1))
        states = trellis_unpack(codes, values, k, length)
        assert (trellis_pack(states, values, k) == codes).all()
        assert len(np.unique(states, axis=0)) == 2**16


def test_states_that_are_no_circle_are_not_packed():
    values = _table(6, 1)
    states, _ = trellis_quantize(_normal((4, 16)), values, 2)
    broken = states.copy()
    broken[2, 5] ^= 1
    with pytest.raises(UsageError, match=r"1 of 4 sequences, the first of them 2"):
        trellis_pack(broken, values, 2)
    free, _ = trellis_quantize(_normal((40, 16)), values, 2, tail_biting=False)
    with pytest.raises(UsageError, match="tail_biting=True"):
        trellis_pack(free, values, 2)
    with pytest.raises(UsageError, match="no tail-biting path"):
        trellis_pack(states + np.int32(64), values, 2)


# Refusals


def test_wrong_input_is_refused():
    x, values = np.zeros((2, 16)), _table(6, 2)
    with pytest.raises(UsageError, match="code 'lut'"):
        trellis_values("lut", 8)
    with pytest.raises(UsageError, match="21 state bits"):
        trellis_values("1mad", 21)
    with pytest.raises(ShapeMismatch, match=r"\(2\^L, V\)"):
        trellis_quantize(x, np.zeros((6, 1)), 2)
    with pytest.raises(UnsupportedDtype, match="float32"):
        trellis_quantize(x, values.astype(np.float32), 2)
    with pytest.raises(ShapeMismatch, match="multiple of V = 2"):
        trellis_quantize(x[:, :15], values, 2)
    with pytest.raises(ShapeMismatch, match="T > 0"):
        trellis_quantize(x[:, :0], values, 2)
    with pytest.raises(UnsupportedDtype, match="float16"):
        trellis_quantize(x.astype(np.float16), values, 2)
    for k in (0, 4, -1):
        with pytest.raises(UsageError, match="kV"):
            trellis_quantize(x, values, k)
    with pytest.raises(UsageError, match="kV = 9 x 1"):
        trellis_quantize(x, np.zeros((2**10, 1)), 9)
    with pytest.raises(UsageError, match="L = 21"):
        trellis_quantize(x, np.zeros((2**21, 1)), 1)
    with pytest.raises(UsageError, match="shorter than a state"):
        trellis_quantize(x[:, :2], values, 2)
    for bad in (np.nan, np.inf):
        x[1, 3] = bad
        with pytest.raises(NotFiniteInput):
            trellis_quantize(x, values, 2)
    with pytest.raises(ScaleOutOfRange, match=r"1e\+16"):
        trellis_quantize(np.full((1, 16), 1e16), values, 2)
    with pytest.raises(BackendUnavailable):
        trellis_quantize(np.zeros((2, 16)), values, 2, backend="cuda")


def test_wrong_bits_are_refused():
    values = _table(6, 2)
    with pytest.raises(ShapeMismatch, match=r"expected \(S, 4\)"):
        trellis_decode(np.zeros((2, 5), dtype=np.uint8), values, 2, 16)
    with pytest.raises(ShapeMismatch, match="whole bytes"):
        trellis_decode(np.zeros((2, 4), dtype=np.uint8), values, 2, 18)
    with pytest.raises(ShapeMismatch, match="multiple of V = 2"):
        trellis_unpack(np.zeros((2, 4), dtype=np.uint8), values, 1, 33)
    with pytest.raises(UnsupportedDtype, match="int64"):
        trellis_unpack(np.zeros((2, 4), dtype=np.int64), values, 2, 16)
    with pytest.raises(UsageError, match="shorter than a state"):
        trellis_unpack(np.zeros((2, 1), dtype=np.uint8), np.zeros((2**9, 1)), 2, 4)
    with pytest.raises(ShapeMismatch, match="whole bytes"):
        trellis_pack(np.zeros((1, 3), dtype=np.int32), np.zeros((4, 1)), 1)
    with pytest.raises(ShapeMismatch, match="T > 0"):
        trellis_pack(np.zeros((1, 0), dtype=np.int32), values, 2)
    with pytest.raises(UnsupportedDtype, match="int64"):
        trellis_pack(np.zeros((1, 8), dtype=np.int64), values, 2)


# Tensors


def test_tensors_in_main_memory_give_tensors():
    x, values = _normal((3, 16)), _table(6, 2)
    expected = trellis_quantize(x, values, 2)
    found = trellis_quantize(torch.from_numpy(x), torch.from_numpy(values), 2)
    for tensor, array in zip(found, expected, strict=True):
        assert (tensor.numpy() == array).all()
    with pytest.raises(NotFiniteInput):
        trellis_quantize(torch.full((1, 16), float("nan")), torch.from_numpy(values), 2)


def _run_triton_cases(**environment):
    """In a process of its own: whether kernels are interpreted is decided when Triton is first imported."""
    cases = Path(__file__).parent / "trellis_triton_cases.py"
    command = [sys.executable, "-P", "-m", "pytest", "-n", "0", "-q", str(cases)]
    done = subprocess.run(command, cwd=cases.parents[2], env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_triton_under_the_interpreter():
    _run_triton_cases(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.mark.gpu
@pytest.mark.skipif(find_spec("triton") is None or not torch.cuda.is_available(), reason="torch finds no GPU with its driver")
def test_triton_on_a_gpu():
    _run_triton_cases(TRITON_INTERPRET="0")
