from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from rdtools.kernels import householder_numba
from scipy import stats
from tolerances import STANDARD_ERRORS, rounding

from rdtools.ops import dispatch
from rdtools.ops.gaussian import portable_normal
from rdtools.records import Rotation
from rdtools.transforms import haar_matrix, rotate, rotate_back
from rdtools.transforms.haar import haar_multiply

#: First eight bytes of the SHA-256 of little-endian float64 entries by rows: several panels, and what a decoder makes of counting numbers.
GOLDEN = {"matrix": "d0c781f6e887da93", "decoded haar": "e2623e0ae44f2c1b", "decoded kronecker": "269e43711d5b0e1d"}
GOLDEN_3 = [
    ["0x1.053d4dcca37bep-1", "-0x1.0241b25f46a6fp-2", "-0x1.a4fac6ae979f7p-1"],
    ["-0x1.54d7947468e03p-1", "-0x1.7135863638c9fp-1", "-0x1.890bb99d77f86p-3"],
    ["0x1.16ca93922850dp-1", "-0x1.4a62abbe031bbp-1", "0x1.12582cdaeff1ep-1"],
]


def _digests():
    counting = np.arange(3 * 150.0).reshape(3, 150)
    arrays = {
        "matrix": haar_matrix(150, 2**64 - 1),
        "decoded haar": rotate_back(counting, Rotation("haar", 150, 12345)),
        "decoded kronecker": rotate_back(counting, Rotation("kronecker", 150, 12345)),
    }
    return {name: hashlib.sha256((array + 0.0).astype("<f8").tobytes()).hexdigest()[:16] for name, array in arrays.items()}


def test_matrix_of_a_seed_is_the_same_for_ever():
    """A stored seed must mean the same rotation in every version: changing a bit is a breaking change of the container."""
    assert [[float(q).hex() for q in row] for row in haar_matrix(3, 7)] == GOLDEN_3
    assert _digests() == GOLDEN


def test_without_numba_the_bits_are_the_same(monkeypatch):
    monkeypatch.setattr(dispatch, "available_backends", lambda: ("reference",))
    assert _digests() == GOLDEN


def test_a_machine_without_wide_registers_gets_the_same_bits(tmp_path):
    """Numba compiles for a plain processor of this family, which has neither AVX nor fused products and sums."""
    program = "from test_haar import GOLDEN, _digests; assert _digests() == GOLDEN"
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), *sys.path])
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": paths,
    }
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_it_is_the_product_of_the_papers_reflections(n):
    """Q = H_1 … H_{n−1} D with dense matrices, and Q is the factor of a QR with positive diagonal of a matrix with these vectors."""
    seed, factor = 11, 3
    leads = portable_normal(seed, 0, n, stream=2 * factor)
    Q, A, signs = np.eye(n), np.zeros((n, n)), np.ones(n)
    for k in range(n):
        length = n - k
        rest = portable_normal(seed, (length - 1) * (length - 2) // 2, length - 1, stream=2 * factor + 1)
        g = np.concatenate([leads[[length - 1]], rest])
        A[:, k] = Q @ np.concatenate([np.arange(k), g])
        if length == 1:
            signs[k] = np.sign(g[0])
            break
        u = g + np.copysign(np.linalg.norm(g), g[0]) * np.eye(length)[0]
        H = np.eye(n)
        H[k:, k:] -= 2 * np.outer(u, u) / (u @ u)
        signs[k] = np.sign((H[k:, k:] @ g)[0])
        Q = Q @ H
    found = haar_matrix(n, seed, factor=factor)
    np.testing.assert_allclose(found, Q * signs, rtol=0, atol=rounding(n * n))
    by_qr, R = scipy.linalg.qr(A)
    condition = np.linalg.cond(A)
    np.testing.assert_allclose(found, by_qr * np.sign(np.diagonal(R)), rtol=0, atol=rounding(n * n, condition=condition))


@given(st.sampled_from([1, 2, 5, 64, 65, 66, 130]), st.integers(0, 2**64 - 1), st.integers(0, 9))
def test_matrix_is_orthogonal_and_multiplies(n, seed, factor):
    Q = haar_matrix(n, seed, factor=factor)
    np.testing.assert_allclose(Q @ Q.T, np.eye(n), rtol=0, atol=rounding(n))
    assert (haar_multiply(np.eye(n), seed, factor=factor, transpose=True) == Q.T).all()
    x = np.random.default_rng(seed).standard_normal((2, 3, n))
    before = x.copy()
    for transpose in (False, True):
        product = haar_multiply(x, seed, factor=factor, transpose=transpose)
        np.testing.assert_allclose(product, x @ (Q.T if transpose else Q), rtol=0, atol=rounding(4 * n) * np.abs(x).max())
    assert (x == before).all()


def test_seeds_and_factors_give_different_matrices():
    matrices = [haar_matrix(12, seed, factor=factor) for seed in (0, 1, 2**32, 2**63) for factor in (0, 1)]
    assert all(np.abs(a - b).max() > 0.1 for i, a in enumerate(matrices) for b in matrices[:i])


def test_the_measure_is_haars():
    """Of 3000 matrices of order 5: det ±1 equally often, E tr Q = 0, E (tr Q)² = E tr Q² = 1; entries; Q_11 against Q_55."""
    n, draws = 5, 3000
    Q = np.array([haar_matrix(n, seed) for seed in range(draws)])
    traces = np.trace(Q, axis1=1, axis2=2)
    squares = np.trace(Q @ Q, axis1=1, axis2=2)
    for values, expected in ((np.linalg.det(Q), 0), (traces, 0), (traces**2, 1), (squares, 1), (Q[:, 0, 0] * Q[:, 4, 4], 0)):
        assert abs(values.mean() - expected) <= STANDARD_ERRORS * values.std() / draws**0.5
    entry = stats.beta(0.5, (n - 1) / 2)
    for i, j in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 3)):  # Kolmogorov–Smirnov at level 1e-4 each
        assert stats.kstest(Q[:, i, j] ** 2, entry.cdf).pvalue > 1e-4
        assert abs(Q[:, i, j].mean()) <= STANDARD_ERRORS / (n * draws) ** 0.5


@pytest.mark.parametrize("kind", ["haar", "kronecker"])
def test_rows_do_not_know_of_each_other_nor_of_threads(kind, rng, monkeypatch):
    x, rotation = rng.standard_normal((150, 132)), Rotation(kind, 132, 7)
    whole, back = rotate(x, rotation), rotate_back(x, rotation)
    monkeypatch.setattr(householder_numba, "THREADS_FROM", 0)
    monkeypatch.setattr(householder_numba, "thread_count", lambda: 3)
    for rows in (slice(None), slice(0, 1), slice(3, 70), slice(149, None, -2)):
        assert (rotate(x[rows], rotation) == whole[rows]).all()
        assert (rotate_back(x[rows], rotation) == back[rows]).all()


@pytest.mark.parametrize("n", [1, 7, 132, 600])
def test_back_is_the_inverse_at_rounding_level(n, rng):
    x, rotation = rng.standard_normal((10, n)), Rotation("haar", n, 3)
    returned = rotate_back(rotate(x, rotation), rotation)
    error = np.linalg.norm(returned - x, axis=1) / np.linalg.norm(x, axis=1)
    assert error.max() <= rounding(n) / 4  # 2(n − 1) reflections, whose errors add like those of a random walk
