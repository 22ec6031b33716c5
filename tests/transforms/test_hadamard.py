from __future__ import annotations

import zlib

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.errors import UnsupportedOrder
from rdtools.transforms import hadamard_multiply, is_hadamard_order
from rdtools.transforms.hadamard import _core, core_order

#: CRC-32 of the signs, row by row: a stored seed must mean the same matrix in every version.
GOLDEN = {
    1: 0x3FBA6CAD,
    2: 0x72080DF5,
    4: 0x4D3261DC,
    12: 0x59023F59,
    20: 0x8ADDD26A,
    24: 0xADE55EE3,
    28: 0x317A6F96,
    36: 0x5358A9C1,
    44: 0xEF5DCB94,
    48: 0x0DB2CCED,
    52: 0x192C0644,
    60: 0x2F5C31A4,
    76: 0x1B3D6748,
    92: 0xB64AF10E,
    96: 0xC551CAAE,
    100: 0x5258315C,
    104: 0x8BB7F3AC,
    108: 0x6EA96063,
    116: 0xF47AFD97,
    124: 0xC44E6962,
    140: 0x065699FA,
    148: 0x83440754,
    172: 0x53CB2101,
    184: 0x949474E8,
    192: 0x2645A548,
    232: 0x7900C9D3,
    244: 0x4037EA1D,
    340: 0x10C6B3F8,
    344: 0x2FEC685B,
    368: 0xAE4BCBFF,
    580: 0xCF42C070,
    680: 0xD10BE58B,
    688: 0x94E42195,
    724: 0x4E7B3D05,
    768: 0x0F349C4E,
}
#: Without Paley I and II over primes, Williamson and prime powers: known orders that this construction does not reach.
MISSING = [156, 188, 236, 260, 268, 292]


@pytest.mark.parametrize("n", GOLDEN)
def test_matrix_of_an_order_is_the_same_for_ever(n):
    H = hadamard_multiply(np.eye(n))
    assert zlib.crc32(np.packbits(H > 0).tobytes()) == GOLDEN[n]


@pytest.mark.parametrize("n", GOLDEN)
def test_matrix_is_hadamards(n):
    """Entries ±1 and H Hᵀ = n I, exactly."""
    H = np.rint(hadamard_multiply(np.eye(n)) * n**0.5).astype(int)
    assert (np.abs(H) == 1).all()
    assert (n * np.eye(n) == H @ H.T).all()
    np.testing.assert_allclose(hadamard_multiply(np.eye(n)), H / n**0.5, rtol=rounding(n))
    np.testing.assert_allclose(hadamard_multiply(np.eye(n), transpose=True), H.T / n**0.5, rtol=rounding(n))


@pytest.mark.parametrize("k", range(11))
def test_powers_of_two_are_sylvesters(k):
    assert (hadamard_multiply(np.eye(2**k)) == scipy.linalg.hadamard(2**k) / np.sqrt(2**k)).all()


def test_every_multiple_of_four_is_built_but_the_missing_ones():
    assert [n for n in range(4, 300, 4) if not is_hadamard_order(n)] == MISSING


def test_widths_of_known_models_are_built_without_a_large_core():
    for n in (3072, 3584, 4096, 5120, 8192, 8960, 13824, 14336, 18944, 28672, 9728, 4864, 2880, 11008, 53248):
        assert core_order(n) <= 180


@given(st.sampled_from([1, 2, 12, 52, 64, 92, 100, 344, 384]), st.integers(0, 5), st.booleans(), st.booleans())
def test_norm_is_kept_and_the_transpose_goes_back(n, rows, transpose, single):
    x = np.random.default_rng(rows).standard_normal((rows, n))
    x = x.astype(np.float32) if single else x
    before = x.copy()
    y = hadamard_multiply(x, transpose=transpose)
    assert y.dtype == x.dtype
    assert (x == before).all()
    budget = rounding(n) * np.finfo(x.dtype).eps / np.finfo(np.float64).eps
    np.testing.assert_allclose((y**2).sum(axis=1), (x**2).sum(axis=1), rtol=budget)
    np.testing.assert_allclose(hadamard_multiply(y, transpose=not transpose), x, rtol=0, atol=budget * np.abs(x).max(initial=0))


@pytest.mark.parametrize("n", [3, 6, 10, 156, 188, 86])
def test_other_orders_are_refused_with_their_neighbours_and_the_fallback(n):
    with pytest.raises(UnsupportedOrder, match=f"order {n} .*nearest orders are .* Haar"):
        hadamard_multiply(np.zeros((2, n)))


def test_the_fallback_by_blocks_is_orthogonal():
    with pytest.raises(UnsupportedOrder, match=r"blocks of 4 columns.*x\.reshape\(\.\.\., 47, 4\)"):
        hadamard_multiply(np.zeros((2, 188)))
    Q = hadamard_multiply(np.eye(188).reshape(188, 47, 4)).reshape(188, 188)
    np.testing.assert_allclose(Q @ Q.T, np.eye(188), rtol=0, atol=rounding(4))


def test_cores_are_kept_in_a_byte_an_entry():
    assert _core(172).dtype == np.int8
    assert not _core(172).flags.writeable
