from __future__ import annotations

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.errors import NotPositiveSemidefinite
from rdtools.moments import spectrum as module
from rdtools.moments.spectrum import Eigen, active_channels, compute_spectrum, eigendecomposition, spectrum_of, spectrum_with_vectors
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.records import Hessian
from rdtools.testing import generators, second_moments, spectra


def _decomposition_budget(n):
    """LAPACK's syevr tells eigenvalues apart from a relative gap of 1e-3 on: nearer ones have vectors orthogonal to eps over that gap."""
    return rounding(n + 1, condition=1e3)


@st.composite
def moments_with_dead_columns(draw):
    """A moment with some rows and columns zero, perhaps singular on the rest."""
    n = draw(st.integers(1, 16))
    generator = draw(generators())
    X = generator.standard_normal((draw(st.integers(1, 2 * n)), n))
    X[:, generator.random(n) < draw(st.sampled_from((0.0, 0.3, 1.0)))] = 0
    return X.T @ X


def _same(a, b):
    for field in dataclasses.fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        same = (
            np.array_equal(left, right, equal_nan=True)
            if isinstance(left, np.ndarray)
            else left == right or (left != left and right != right)
        )
        assert same, field.name


@given(moments_with_dead_columns() | second_moments())
def test_a_decomposition_given_or_not_gives_the_same_spectrum(H):
    """To the bit, apart from the eigenvalues, found by another method and so to rounding, and what eigenvectors are for."""
    without, given_ = compute_spectrum(H), compute_spectrum(H, eigen=eigendecomposition(H))
    largest = given_.eigenvalues.max(initial=0.0)
    np.testing.assert_allclose(without.eigenvalues, given_.eigenvalues, rtol=0, atol=_decomposition_budget(len(H)) * largest)
    near = dataclasses.replace(
        without, eigenvalues=given_.eigenvalues, eigenvector_max=given_.eigenvector_max, rank=given_.rank, simple=given_.simple
    )
    _same(near, given_)
    assert np.isnan(without.eigenvector_max) or without.active == 0


def test_eigenvectors_are_computed_only_where_they_are_asked_for(rng, monkeypatch):
    record = Hessian(haar_moment(power_law(5, 1.0), rng), 0)
    with monkeypatch.context() as patch:
        patch.setattr(module, "eigendecomposition", lambda *_args, **_kwargs: pytest.fail("eigenvectors"))
        plain = spectrum_of(record)
        compute_spectrum(record.matrix)
    assert np.isnan(plain.eigenvector_max)
    full = spectrum_with_vectors(record)
    assert full.eigenvector_max == np.abs(eigendecomposition(record.matrix).vectors).max()
    assert spectrum_with_vectors(record) is full


def _nearly_equal(seed):
    X = np.random.default_rng(seed).standard_normal((20, 20))
    return np.eye(20) + 1e-9 * (X + X.T)


@given(moments_with_dead_columns() | second_moments())
@example(_nearly_equal(0))
@example(_nearly_equal(1))
def test_decomposition_multiplies_back(H):
    """Q diag(λ) Qᵀ = H and QᵀQ = 1 on the active columns; λ descending, ≥ 0, summing to tr H."""
    active = active_channels(H)
    r = int(active.sum())
    eigen = eigendecomposition(H)
    assert eigen.values.shape == (r,)
    assert eigen.vectors.shape == (r, r)
    assert (np.diff(eigen.values) <= 0).all()
    assert (eigen.values >= 0).all()
    budget = _decomposition_budget(r) * float(np.trace(H))
    np.testing.assert_allclose((eigen.vectors * eigen.values) @ eigen.vectors.T, H[np.ix_(active, active)], rtol=0, atol=budget)
    np.testing.assert_allclose(eigen.vectors.T @ eigen.vectors, np.eye(r), rtol=0, atol=_decomposition_budget(r))
    assert eigen.values.sum() == pytest.approx(float(np.trace(H)), abs=budget)
    assert eigen.vectors.flags.c_contiguous


@given(moments_with_dead_columns() | second_moments())
def test_root_squares_to_the_moment(H):
    """S S = H, S symmetric and positive semidefinite, its eigenvalues √λ."""
    active = active_channels(H)
    r = int(active.sum())
    eigen = eigendecomposition(H)
    S = eigen.root()
    scale = float(np.trace(H))
    np.testing.assert_allclose(S @ S, H[np.ix_(active, active)], rtol=0, atol=2 * _decomposition_budget(r) * scale)
    np.testing.assert_allclose(S, S.T, rtol=0, atol=rounding(r + 1) * np.sqrt(scale))
    np.testing.assert_allclose(np.linalg.eigvalsh(S)[::-1], np.sqrt(eigen.values), rtol=0, atol=_decomposition_budget(r) * np.sqrt(scale))


def test_root_by_hand():
    """[[2,1],[1,2]]: λ = 3, 1; S has (√3 + 1)/2 on its diagonal and (√3 − 1)/2 beside it."""
    S = eigendecomposition(np.array([[2.0, 1.0], [1.0, 2.0]])).root()
    a, b = (np.sqrt(3) + 1) / 2, (np.sqrt(3) - 1) / 2
    np.testing.assert_allclose(S, [[a, b], [b, a]], rtol=rounding(10))
    assert Eigen(np.array([9.0, 4.0]), np.eye(2)).root().tolist() == [[3, 0], [0, 2]]


@given(spectra(max_size=16, max_condition=1e6), generators())
def test_the_eigenvalues_are_those_put_in(eigenvalues, generator):
    found = eigendecomposition(haar_moment(eigenvalues, generator))
    np.testing.assert_allclose(found.values, eigenvalues, rtol=0, atol=rounding(8 * len(eigenvalues)) * eigenvalues[0])


def test_dead_columns_are_left_out_of_everything(rng):
    H = haar_moment(power_law(4, 1.0), rng)
    active = np.array([False, True, True, False, True, True, False])
    wide = np.zeros((7, 7))
    wide[np.ix_(active, active)] = H
    assert (active_channels(wide) == active).all()
    small, padded = eigendecomposition(H), eigendecomposition(wide)
    assert (small.values == padded.values).all()
    assert (small.vectors == padded.vectors).all()
    s = compute_spectrum(wide, eigen=padded)
    assert (s.columns, s.active, s.rank) == (7, 4, 4)
    _same(dataclasses.replace(compute_spectrum(H, eigen=small), columns=7), s)


def test_all_dead():
    nothing = np.zeros((3, 3))
    eigen = eigendecomposition(nothing)
    assert eigen.values.shape == (0,)
    assert eigen.vectors.shape == eigen.root().shape == (0, 0)
    _same(compute_spectrum(nothing), compute_spectrum(nothing, eigen=eigen))
    s = compute_spectrum(nothing, eigen=eigen)
    assert (s.columns, s.active, s.rank) == (3, 0, 0)
    assert not active_channels(nothing).any()
    _same(compute_spectrum(np.zeros((0, 0))), compute_spectrum(np.zeros((0, 0)), eigen=eigen))


def test_one_column():
    eigen = eigendecomposition(np.array([[4.0]]))
    assert eigen.values.tolist() == [4.0]
    assert np.abs(eigen.vectors).tolist() == [[1.0]]
    assert eigen.root().tolist() == [[2.0]]


def test_rank_one(rng):
    v = rng.standard_normal(6)
    eigen = eigendecomposition(np.outer(v, v))
    assert eigen.values[0] == pytest.approx(float(v @ v), rel=rounding(12))
    assert (eigen.values[1:] <= rounding(6) * eigen.values[0]).all()
    np.testing.assert_allclose(eigen.root(), np.outer(v, v) / np.linalg.norm(v), rtol=0, atol=6 * np.sqrt(rounding(6)) * np.linalg.norm(v))
    assert compute_spectrum(np.outer(v, v), eigen=eigen).rank == 1


def test_an_indefinite_matrix_is_refused_by_name():
    """Unit diagonal, correlations of −0.9 all round: an eigenvalue 1 − 2·0.9."""
    H = np.full((3, 3), -0.9) + 1.9 * np.eye(3)
    with pytest.raises(NotPositiveSemidefinite, match=r"^this one: smallest eigenvalue -0\.8"):
        eigendecomposition(H, name="this one")
    with pytest.raises(NotPositiveSemidefinite, match=r"^this one: "):
        compute_spectrum(H, name="this one")


def test_inputs_are_left_alone(rng):
    H = haar_moment(power_law(5, 1.0), rng)
    before = H.copy()
    eigen = eigendecomposition(H)
    values, vectors = eigen.values.copy(), eigen.vectors.copy()
    eigen.root()
    compute_spectrum(H, eigen=eigen)
    assert (before == H).all()
    assert (eigen.values == values).all()
    assert (eigen.vectors == vectors).all()


def test_a_record_is_decomposed_once_and_forgotten_with_it(rng):
    record = Hessian(haar_moment(power_law(5, 1.0), rng), 0, name="kept")
    first = spectrum_of(record)
    assert spectrum_of(record) is first
    other = Hessian(record.matrix, 0, name="kept")
    assert spectrum_of(other) is not first
    forgotten = weakref.ref(spectrum_of(other))
    _same(forgotten(), first)
    del other
    gc.collect()
    assert forgotten() is None
    assert spectrum_of(record) is first
