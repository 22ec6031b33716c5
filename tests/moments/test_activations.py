from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records.map_cases import chains
from threadpoolctl import threadpool_info, threadpool_limits
from tolerances import rounding

from rdtools.errors import NotPositiveSemidefinite, ShapeMismatch, UsageError
from rdtools.measure import error
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.records import ActivationGrid, ActivationMoments, EffectiveLayer, InputMap, LowRank, Rotation
from rdtools.transforms.links import Rotate

GRIDS = st.builds(
    ActivationGrid,
    st.sampled_from((3, 4, 8)),
    symmetric=st.booleans(),
    clip=st.sampled_from((0.9, 1.0)),
    group_size=st.sampled_from((0, 3)),
)


def summed(x, chain, grid, name="x") -> ActivationMoments:
    sums = ActivationAccumulator(chain, grid)
    for part in np.array_split(x, 3):
        sums.add(part)
    return sums.finish(x.T @ x / len(x), name=name)


@given(chains(), GRIDS, st.integers(0, 2))
def test_the_distortion_from_moments_is_that_of_running_the_tokens(case, grid, rank):
    """1e-6 relative to the power of what is subtracted, as asked; both are sums of the same products, so that far less is measured."""
    chain, generator = case
    n, m, tokens = chain.inputs, 3, 40
    x = generator.standard_normal((tokens, n)) * np.exp(generator.standard_normal(n))
    W = generator.standard_normal((m, n))
    low = LowRank.rounded(generator.standard_normal((m, rank)), generator.standard_normal((n, rank))) if rank else None
    effective = EffectiveLayer(chain.weight(W) + 0.1 * generator.standard_normal((m, chain.outputs)), chain, grid, low)
    found = summed(x, chain, grid)
    expected = np.mean((x @ W.T - effective.apply(x)) ** 2) / n
    scale = (np.mean((x @ W.T) ** 2) + np.mean(effective.apply(x) ** 2)) / n
    assert found.tokens == tokens
    assert error(Layer.of(W, found.reference), effective, found.moments).mean == pytest.approx(expected, rel=1e-6, abs=1e-10 * scale)
    mapped = chain.apply(x)
    assert found.noise_power == pytest.approx(grid.noise_power(mapped).mean(axis=0), rel=rounding(tokens))


def test_small_errors_keep_their_digits_beside_a_reference_of_another_pass(rng):
    """Activations of a second pass that differ by 1e-7, as on another device: D changes by 1e-6 of itself at most, though D/D₀ is 1e-5."""
    x = rng.standard_normal((500, 16))
    chain, grid = InputMap([Rotate(Rotation("hadamard", 16, 3))], columns=16), ActivationGrid(8)
    found, W = summed(x, chain, grid), rng.standard_normal((4, 16))
    other = x * (1 + 1e-7 * rng.standard_normal(x.shape))
    again = ActivationMoments(
        other.T @ other / len(x), found.cross_error, found.error, found.noise_power, chain, grid, tokens=len(x), name="other"
    )
    effective = EffectiveLayer(chain.weight(W), chain, grid)
    D, D2 = (error(Layer.of(W, each.reference), effective, each.moments).mean for each in (found, again))
    assert 1e-4 * error(Layer.of(W, found.reference), EffectiveLayer(0 * W, InputMap(columns=16))).mean > D
    assert pytest.approx(D, rel=1e-6) == D2


@pytest.mark.parametrize(("bits", "clip"), [(4, 1.0), (4, 0.9), (8, 1.0)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_noise_is_that_of_the_uniform_model(bits, clip, symmetric, rng):
    """Normal channels, 2·10⁵ errors: the sum has a standard error below 0.5 %, and steps of a quarter deviation are uniform to 1e-3."""
    x, grid = rng.standard_normal((4000, 48)), ActivationGrid(bits, symmetric=symmetric, clip=clip)
    assert grid.noise_power(x).mean() == pytest.approx(np.mean((x - grid.quantize(x)) ** 2), rel=0.02)


def test_extremes_of_a_token_lie_on_their_grid_and_make_no_noise():
    assert ActivationGrid(4).noise_power(np.array([[7.0, 1.0]])).tolist() == [[0.0, 1 / 12]]
    assert ActivationGrid(4, symmetric=False).noise_power(np.array([[0.0, 1.0, 15.0]])).tolist() == [[0.0, 1 / 12, 0.0]]
    clipped = ActivationGrid(4, clip=0.5).noise_power(np.array([[14.0, 1.0]]))
    assert clipped == pytest.approx(np.array([[49.0, 1 / 12]]), rel=rounding(8))


def test_tokens_that_are_not_finite_are_left_out_and_counted(rng):
    x = rng.standard_normal((6, 4))
    spoiled = np.vstack([x, np.full((2, 4), np.nan), np.full((1, 4), np.inf)])
    sums, chain = ActivationAccumulator(InputMap(columns=4), ActivationGrid(4)), InputMap(columns=4)
    sums.add(spoiled)
    found, expected = sums.finish(x.T @ x / 6, name="x"), summed(x, chain, ActivationGrid(4))
    assert (found.tokens, found.dropped_tokens) == (6, 3)
    assert found.error == pytest.approx(expected.error, rel=rounding(6))


def test_one_massive_channel_silences_the_others_unless_rotated(rng):
    """10⁴ times the rest: all others round to zero, so that their moments are exactly zero; a rotation spreads it."""
    x = rng.standard_normal((200, 16))
    x[:, 5] = 1e4 * (1 + 0.1 * rng.standard_normal(200))
    plain = summed(x, InputMap(columns=16), ActivationGrid(4)).moments
    assert np.flatnonzero(np.diagonal(plain.actual)).tolist() == [5]
    assert not plain.cross[:, :5].any()
    rotated = summed(x, InputMap([Rotate(Rotation("hadamard", 16, 0))], columns=16), ActivationGrid(4)).moments
    assert (np.diagonal(rotated.actual) > 0).all()


def test_moments_that_cannot_be_are_refused_by_name():
    chain, grid, eye = InputMap(columns=2), ActivationGrid(4), np.eye(2)
    with pytest.raises(ShapeMismatch, match=r"input: cross_error of shape \(3, 2\) behind InputMap\(2: identity\), expected \(2, 2\)"):
        ActivationMoments(eye, np.zeros((3, 2)), eye, np.zeros(2), chain, grid)
    with pytest.raises(NotPositiveSemidefinite, match="moment of the error"):
        ActivationMoments(eye, eye, np.array([[1.0, 2.0], [2.0, 1.0]]), np.zeros(2), chain, grid)
    with pytest.raises(UsageError, match=r"least noise power -1\.0"):
        ActivationMoments(eye, eye, eye, np.array([-1.0, 0.0]), chain, grid)


def test_sums_use_one_thread_of_blas(monkeypatch):
    """Whatever the process allows: the number of threads would decide about the last bits of a row."""
    seen, quantize = [], ActivationGrid.quantize

    def watched(self, *arguments):
        seen.append(max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"))
        return quantize(self, *arguments)

    monkeypatch.setattr(ActivationGrid, "quantize", watched)
    with threadpool_limits(2, user_api="blas"):
        ActivationAccumulator(InputMap(columns=4), ActivationGrid(4)).add(np.ones((1025, 4)))
    assert seen == [1, 1]
