from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records.map_cases import chains, tolerance
from tolerances import EPS, rounding

from rdtools.coding import round_to_bfloat16
from rdtools.errors import NotFiniteInput, ScaleOutOfRange, ShapeMismatch, UsageError
from rdtools.records import ActivationGrid, EffectiveLayer, InputMap, LowRank
from rdtools.testing import generators
from rdtools.theory.low_rank import correction_bits
from rdtools.transforms.links import Scale, Split


@given(chains(), st.integers(0, 3))
def test_without_quantized_activations_one_matrix_does_it_all(case, rank):
    chain, generator = case
    m, n = 4, chain.inputs
    low = LowRank.rounded(generator.standard_normal((m, rank)), generator.standard_normal((n, rank)))
    layer = EffectiveLayer(generator.standard_normal((m, chain.outputs)), chain, low_rank=low)
    x = generator.standard_normal((5, n))
    error = 2 * tolerance(chain, layer.weight, x.T) + rounding(n + rank) * np.linalg.norm(x) * (
        np.linalg.norm(low.left) * np.linalg.norm(low.right)
    )
    assert layer.shape == layer.matrix.shape == (m, n)
    assert layer.apply(x) == pytest.approx(x @ layer.matrix.T, abs=error)
    if rank == 0:
        assert np.array_equal(layer.matrix, EffectiveLayer(layer.weight, chain).matrix)


def test_with_quantized_activations_there_is_no_one_matrix():
    layer = EffectiveLayer(np.eye(2), InputMap(columns=2), ActivationGrid(4))
    with pytest.raises(UsageError, match=r"activations are quantized by ActivationGrid\(bits=4.*no single matrix"):
        _ = layer.matrix


def test_all_stored_parts_are_counted():
    chain = InputMap([Scale(np.ones(4)), Split(np.array([1, 2, 1, 1]))], columns=4)
    low = LowRank(np.ones((3, 2)), np.ones((4, 2)))
    layer = EffectiveLayer(np.ones((3, 5)), chain, ActivationGrid(4), low)
    assert layer.side_bits == 4 * 16 + (2 + 1) + 16 * 2 * (3 + 4)
    assert layer.total_bpw(60.0) == (60 + layer.side_bits) / 12
    assert EffectiveLayer(np.ones((3, 5)), chain).side_bits == chain.bits
    assert low.bits / 12 == pytest.approx(correction_bits(3, 4, 2), rel=rounding(3))
    assert LowRank(np.ones((3, 2)), np.ones((4, 2)), "float32").bits == 2 * low.bits
    with pytest.raises(UsageError, match=r"-1\.0 bits of weights"):
        layer.total_bpw(-1.0)


def test_parts_that_do_not_fit_are_refused_by_name():
    chain = InputMap([Split(np.array([1, 2]))], columns=2)
    with pytest.raises(ShapeMismatch, match=r"weight \(3, 2\) behind InputMap\(2: Split\(2 → 3\)\), expected \(m, 3\)"):
        EffectiveLayer(np.ones((3, 2)), chain)
    with pytest.raises(ShapeMismatch, match=r"low-rank term of shape \(3, 3\), expected \(3, 2\)"):
        EffectiveLayer(np.ones((3, 3)), chain, low_rank=LowRank(np.ones((3, 1)), np.ones((3, 1))))
    with pytest.raises(NotFiniteInput, match="effective layer"):
        EffectiveLayer(np.full((3, 3), np.nan), chain)


def test_the_weight_does_not_follow_later_changes():
    W = np.ones((1, 2))
    layer = EffectiveLayer(W, InputMap(columns=2))
    W[0, 0] = 5
    assert layer.weight.tolist() == [[1.0, 1.0]]
    assert repr(layer) == "EffectiveLayer(1 × 2, InputMap(2: identity))"


@given(generators(), st.sampled_from(("bfloat16", "float16", "float32", "float64")))
def test_factors_are_held_as_stored(generator, dtype):
    """Rounded to a relative 2^−(significant bits), and equal to torch's rounding; what is not rounded is refused."""
    import torch

    U, V = generator.standard_normal((5, 2)), generator.standard_normal((4, 2))
    low = LowRank.rounded(U, V, dtype)
    assert np.array_equal(low.left, torch.from_numpy(U).to(getattr(torch, dtype)).double().numpy())
    digits = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}[dtype]
    assert np.abs(low.left - U).max() <= 2.0**-digits * np.abs(U).max()
    x = generator.standard_normal((3, 4))
    assert low.apply(x) == pytest.approx(x @ low.matrix.T, abs=rounding(8) * np.linalg.norm(x) * np.linalg.norm(U) * np.linalg.norm(V))
    if dtype != "float64":
        with pytest.raises(UsageError, match=rf"factor U: entry .*expected values of {dtype}"):
            LowRank(U, V, dtype)


def test_positive_bfloat16_values_are_those_of_the_container(rng):
    """Two roundings to the same format may not differ: this one has signs, that one does not."""
    values = np.append(np.exp(3 * rng.standard_normal(1000)), (1 + 2.0**-8, 1 + 3 * 2.0**-8))
    low = LowRank.rounded(values[:, None], -values[:, None], "bfloat16")
    assert np.array_equal(low.left[:, 0], round_to_bfloat16(values))
    assert np.array_equal(low.right, -low.left)
    assert low.left[-2:, 0].tolist() == [1.0, 1 + 2.0**-6], "ties go to even"


def test_impossible_factors_are_refused():
    with pytest.raises(ShapeMismatch, match=r"low rank: factors \(2, 1\) and \(2, 2\)"):
        LowRank(np.ones((2, 1)), np.ones((2, 2)))
    with pytest.raises(ScaleOutOfRange, match=r"factor V: 1e\+05 is beyond the range of float16"):
        LowRank.rounded(np.ones((2, 1)), np.full((2, 1), 1e5), "float16")
    with pytest.raises(UsageError, match="dtype 'int8', expected one of bfloat16, float16"):
        LowRank(np.ones((2, 1)), np.ones((2, 1)), "int8")


def symmetric_by_definition(x, bits, clip):
    """One token."""
    top = 2 ** (bits - 1) - 1
    step = clip * max(abs(v) for v in x) / top
    return [step * min(max(round(v / step), -top - 1), top) for v in x]


def asymmetric_by_definition(x, bits):
    step = (max(x) - min(x)) / (2**bits - 1)
    zero = -round(min(x) / step)
    return [step * (min(max(round(v / step) + zero, 0), 2**bits - 1) - zero) for v in x]


@given(generators(), st.integers(2, 8), st.floats(0.3, 1.0), st.integers(2, 12))
def test_the_grid_is_that_of_the_definition(generator, bits, clip, n):
    """Python's round is to even as well; its quotients are the same float64 operations."""
    x = generator.standard_normal((3, n))
    for token, found in zip(x.tolist(), ActivationGrid(bits, clip=clip).quantize(x), strict=True):
        assert found == pytest.approx(symmetric_by_definition(token, bits, clip), rel=rounding(2))
    for token, found in zip(x.tolist(), ActivationGrid(bits, symmetric=False).quantize(x), strict=True):
        assert found == pytest.approx(asymmetric_by_definition(token, bits), rel=rounding(2))


@given(generators(), st.integers(2, 8), st.booleans(), st.integers(1, 12), st.integers(0, 5))
def test_without_clipping_no_error_is_above_half_a_step(generator, bits, symmetric, n, group_size):
    """And a group has at most 2^b values. Asymmetric, the rounded zero point can clip an end by half a step, on top of half."""
    x = np.exp(2 * generator.standard_normal((4, n))) * generator.choice((-1.0, 1.0), (4, n))
    grid = ActivationGrid(bits, symmetric, group_size=group_size)
    found = grid.quantize(x)
    size = group_size or n
    for start in range(0, n, size):
        part, rounded = x[:, start : start + size], found[:, start : start + size]
        largest = np.abs(part).max(axis=1)
        step = largest / (2 ** (bits - 1) - 1) if symmetric else np.ptp(part, axis=1) / (2**bits - 1)
        limit = step / 2 if symmetric else step
        assert (np.abs(part - rounded).max(axis=1) <= limit + 8 * EPS * 2**bits * largest).all()
        assert np.array_equal(rounded, ActivationGrid(bits, symmetric).quantize(part))
        assert all(len(np.unique(row)) <= 2**bits for row in rounded)


def test_tokens_without_a_range_are_kept():
    for symmetric in (True, False):
        grid = ActivationGrid(4, symmetric)
        assert grid.quantize(np.zeros((2, 3))).tolist() == np.zeros((2, 3)).tolist()
        assert grid.quantize(np.full(3, -0.7)) == pytest.approx(np.full(3, -0.7), rel=rounding(2))
        assert grid.quantize(np.zeros((2, 0))).shape == (2, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 1}, "1 bits, expected a whole number from 2 to 16"),
        ({"bits": 4.5}, "4.5 bits"),
        ({"bits": 4, "clip": 0.0}, "clipping ratio 0.0"),
        ({"bits": 4, "clip": 1.1}, "clipping ratio 1.1"),
        ({"bits": 4, "group_size": -1}, "groups of -1 channels"),
        ({"bits": 4, "fine_channels": -1}, "-1 fine channels of 8 bits"),
        ({"bits": 4, "fine_channels": 1, "fine_bits": 17}, "1 fine channels of 17 bits"),
    ],
)
def test_an_impossible_grid_cannot_be_made(settings, message):
    with pytest.raises(UsageError, match=f"activation grid: {message}"):
        ActivationGrid(**settings)


@given(generators(), st.booleans(), st.sampled_from((0, 3)))
def test_fine_channels_are_rounded_apart_and_not_clipped(generator, symmetric, group_size):
    x = generator.standard_normal((4, 9))
    whole = ActivationGrid(4, symmetric, 0.8, group_size, fine_channels=3, fine_bits=8)
    parts = [(ActivationGrid(8, symmetric), x[:, :3]), (ActivationGrid(4, symmetric, 0.8, group_size), x[:, 3:])]
    assert np.array_equal(whole.quantize(x), np.concatenate([grid.quantize(part) for grid, part in parts], axis=1))
    assert np.array_equal(whole.noise_power(x), np.concatenate([grid.noise_power(part) for grid, part in parts], axis=1))
    with pytest.raises(UsageError, match="3 fine channels of 3, expected fewer than all"):
        whole.quantize(x[:, :3])
