from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits
from tolerances import STANDARD_ERRORS, rounding

from rdtools.records import Rotation
from rdtools.transforms import (
    haar_matrix,
    hadamard_multiply,
    new_rotation,
    rotate,
    rotate_back,
    rotate_moment,
)


def test_multiplication_works_on_any_leading_shape(rng):
    x = rng.standard_normal((3, 5, 24))
    np.testing.assert_allclose(hadamard_multiply(x), x @ hadamard_multiply(np.eye(24)), rtol=0, atol=rounding(24) * 5)


@given(st.sampled_from(["haar", "hadamard", "auto"]), st.sampled_from([1, 2, 12, 20, 32]), st.integers(0, 2**64 - 1))
def test_rotation_and_back(choice, n, seed):
    generator = np.random.default_rng(seed)
    rotation = new_rotation(choice, n, seed)
    x = generator.standard_normal((4, n))
    y = rotate(x, rotation)
    np.testing.assert_allclose(rotate_back(y, rotation), x, rtol=0, atol=rounding(4 * n) * 10)
    np.testing.assert_allclose((y**2).sum(axis=1), (x**2).sum(axis=1), rtol=rounding(4 * n))
    H = x.T @ x
    np.testing.assert_allclose(rotate_moment(H, rotation), y.T @ y, rtol=0, atol=rounding(8 * n) * np.abs(H).max() * n)
    assert rotation == new_rotation(choice, n, seed)


def test_auto_falls_back_to_haar_and_says_so():
    assert new_rotation("auto", 188, 0).kind == "haar"
    assert new_rotation("auto", 768, 0).kind == "hadamard"


def test_hadamard_signs_are_the_same_for_ever():
    """A stored seed must mean the same rotation in every version: changing this is a breaking change of the container."""
    golden = [[-1, -1, -1, -1], [1, -1, 1, -1], [1, 1, -1, -1], [-1, 1, 1, -1]]
    assert (rotate(np.eye(4), Rotation("hadamard", 4, 12345)) * 2).tolist() == golden


def test_haar_entries_have_the_moments_of_the_law():
    """E Q_ij = 0 and E Q_ij² = 1/n, also on the diagonal, which plain QR gets wrong."""
    n, draws = 4, 4000
    Q = np.array([haar_matrix(n, seed) for seed in range(draws)])
    band = STANDARD_ERRORS * n**-0.5 / draws**0.5
    assert np.abs(Q.mean(axis=0)).max() < band
    assert np.abs((Q**2).mean(axis=0) - 1 / n).max() < band


@pytest.mark.parametrize("kind", ["haar", "kronecker", "hadamard"])
def test_a_decoder_gets_the_same_bits_on_any_number_of_threads(kind, rng):
    x, rotation = rng.standard_normal((150, 332)), Rotation(kind, 332, 7)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(rotate_back(x, rotation))
    assert (found[0] == found[1]).all()
