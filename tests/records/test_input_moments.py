from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from records.map_cases import chains, dense, tolerance
from tolerances import rounding

from rdtools.errors import NotFiniteInput, NotPositiveSemidefinite, NotSymmetric, ShapeMismatch, UnsupportedDtype, UsageError
from rdtools.records import InputMap, InputMoments
from rdtools.transforms.links import Merge, Scale


def sample(n=6, m=4, count=50, seed=0):
    """Inputs before and after, the missing part of the residual stream."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, n))
    return x, 0.9 * x + 0.3 * rng.standard_normal((count, n)), 0.2 * rng.standard_normal((count, m))


def drifted(x, y, missing=None, **facts):
    residual = None if missing is None else missing.T @ y / len(x)
    return InputMoments.drifted(x.T @ x / len(x), y.T @ y / len(x), x.T @ y / len(x), residual, tokens=len(x), **facts)


def test_plain_moments_are_one_array():
    H = np.eye(3)
    moments = InputMoments.plain(H, tokens=7, dropped_tokens=1, weight_sum=6.5, mean=np.zeros(3), name="x")
    assert moments.is_plain
    assert moments.reference is moments.actual is moments.cross
    assert (moments.tokens, moments.dropped_tokens, moments.weight_sum, moments.name) == (7, 1, 6.5, "x")
    assert (moments.inputs, moments.actual_inputs) == (3, 3)


def test_writable_arrays_are_copied_and_read_only_ones_are_not():
    x, y, missing = sample()
    reference = x.T @ x / len(x)
    moments = InputMoments.plain(reference)
    reference[0, 0] = np.nan
    assert np.isfinite(moments.reference).all()
    assert InputMoments.plain(moments.reference).reference is moments.reference
    cross = x.T @ y / len(x)
    other = InputMoments(moments.reference, y.T @ y / len(x), cross, missing.T @ y / len(x))
    assert other.reference is moments.reference
    for held in (other.actual, other.cross, other.residual):
        with pytest.raises(ValueError, match="read-only"):
            held[0, 0] = 0


def test_half_precision_tensors_become_float64():
    import torch

    moments = InputMoments.drifted(torch.eye(2, dtype=torch.bfloat16), torch.eye(2), 0.5 * torch.eye(2, dtype=torch.float32))
    assert moments.reference.dtype == moments.actual.dtype == moments.cross.dtype == np.float64
    assert moments.cross[0, 0] == 0.5
    assert InputMoments.plain(torch.eye(2, dtype=torch.bfloat16)).is_plain


def test_only_moments_of_one_input_are_plain():
    x, y, missing = sample()
    H = x.T @ x / len(x)
    assert not InputMoments.drifted(H, H.copy(), H.copy()).is_plain
    assert not InputMoments(H, H, H, np.zeros((2, 6))).is_plain
    assert not drifted(x, y, missing).is_plain


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("reference", np.eye(6)[:, :5], ShapeMismatch, "q_proj: moment of the reference input x"),
        ("reference", -np.eye(6), NotPositiveSemidefinite, "q_proj: moment of the reference input x"),
        ("actual", np.eye(6)[:, :5], ShapeMismatch, "q_proj: moment of the actual input x̂"),
        ("actual", np.eye(6) + np.tri(6, k=-1) * 0.1, NotSymmetric, "q_proj: moment of the actual input x̂"),
        ("actual", -np.eye(6), NotPositiveSemidefinite, "q_proj: moment of the actual input x̂"),
        ("cross", np.eye(5), ShapeMismatch, r"q_proj: cross moment \(5, 5\) beside moments \(6, 6\) of x and \(6, 6\) of x̂"),
        ("cross", np.full((6, 6), np.nan), NotFiniteInput, "q_proj: cross moment"),
        ("cross", np.eye(6, dtype=np.int64), UnsupportedDtype, "q_proj: cross moment"),
        ("cross", 1.01 * np.eye(6), NotPositiveSemidefinite, r"q_proj: cross moment \(0, 0\) is 1\.01 beside .* 1 of x and 1 of x̂"),
        ("residual", np.zeros((4, 5)), ShapeMismatch, r"q_proj: residual moment \(4, 5\), expected \(m, 6\)"),
        ("residual", np.full((4, 6), np.inf), NotFiniteInput, "q_proj: residual moment"),
        ("mean", np.zeros(5), ShapeMismatch, r"q_proj: mean of shape \(5,\), expected \(6,\)"),
        ("mean", np.full(6, 1.01), NotPositiveSemidefinite, "q_proj: mean 1.01 of input 0 beside a mean square 1"),
        ("tokens", -1, UsageError, "q_proj: -1 tokens"),
        ("dropped_tokens", -1, UsageError, "q_proj: .* -1 dropped"),
        ("weight_sum", 0.0, UsageError, "q_proj: .* sum of weights 0.0"),
    ],
)
def test_an_impossible_part_is_refused_with_the_input_named(field, value, error, message):
    parts = {"reference": np.eye(6), "actual": np.eye(6), "cross": 0.5 * np.eye(6), "residual": np.zeros((4, 6)), "mean": np.ones(6)}
    InputMoments(**parts, name="q_proj")
    with pytest.raises(error, match=message):
        InputMoments(**parts | {field: value}, name="q_proj")


@pytest.mark.parametrize("field", ["cross", "residual"])
def test_an_input_that_is_always_zero_has_nothing_in_common_with_anything(field):
    parts = {"cross": np.zeros((3, 3)), "residual": np.zeros((2, 3))}
    parts[field][1, 1] = 0.1
    with pytest.raises(NotPositiveSemidefinite, match=f"o_proj: the actual input 1 is always zero.*{field} moment"):
        InputMoments(np.eye(3), np.diag([1.0, 0.0, 1.0]), **parts, name="o_proj")


def test_moments_of_another_layer_are_refused_with_the_layer_named():
    x, y, missing = sample()
    drifted(x, y, missing).check((4, 6))
    with pytest.raises(ShapeMismatch, match=r"block\.o: moments of 6 inputs for a weight \(4, 5\), expected 5"):
        drifted(x, y).check((4, 5), name="block.o")
    with pytest.raises(ShapeMismatch, match=r"block\.o: residual moment \(4, 6\) for a weight \(3, 6\), expected \(3, 6\)"):
        drifted(x, y, missing, name="block.o").check((3, 6))
    with pytest.raises(ShapeMismatch, match=r"k: drifted input with a moment \(5, 5\) beside \(6, 6\)"):
        InputMoments.drifted(np.eye(6), np.eye(5), np.eye(6)[:, :5], name="k")


def test_quantized_inputs_may_be_another_number():
    moments = InputMoments.quantized(np.eye(2), np.eye(3), np.ones((2, 3)) / 2, tokens=5, name="x")
    assert (moments.inputs, moments.actual_inputs) == (2, 3)
    assert repr(moments) == "InputMoments(x: x of 2, x̂ of 3, 5 tokens)"


def test_the_representation_holds_shapes_and_no_arrays():
    assert repr(drifted(*sample(), name="o")) == "InputMoments(o: x of 6, x̂ of 6, residual (4, 6), 50 tokens)"


@given(chains())
def test_mapped_moments_are_those_of_the_mapped_tokens(case):
    """E[T x̂ (T x̂)ᵀ], E[x (T x̂)ᵀ] and E[(r − r̂)(T x̂)ᵀ] of the same tokens, with a drift before the map."""
    chain, generator = case
    x, y, missing = sample(n=chain.inputs, seed=int(generator.integers(2**32)))
    mapped, T, tokens = drifted(x, y, missing, mean=x.mean(axis=0), name="o").mapped(chain), dense(chain), len(x)
    z = y @ T.T
    error = tolerance(chain, np.eye(len(T)), y.T)
    assert mapped.actual == pytest.approx(z.T @ z / tokens, abs=4 * error * np.linalg.norm(z) + rounding(tokens) * np.linalg.norm(z) ** 2)
    for left, found in ((x, mapped.cross), (missing, mapped.residual)):
        size = np.linalg.norm(left)
        assert found == pytest.approx(
            left.T @ z / tokens, abs=error * size + rounding(tokens) * size * np.linalg.norm(y) * np.linalg.norm(T)
        )
    assert np.array_equal(mapped.reference, x.T @ x / tokens)
    assert (mapped.tokens, mapped.name, mapped.inputs, mapped.actual_inputs) == (tokens, "o", chain.inputs, chain.outputs)
    assert not mapped.actual.flags.writeable


def test_plain_moments_mapped_are_those_of_x_beside_the_mapped_x():
    H = np.array([[2.0, 1.0], [1.0, 3.0]])
    mapped = InputMoments.plain(H).mapped(InputMap([Scale(np.array([2.0, 1.0]))], columns=2))
    assert mapped.actual.tolist() == [[8.0, 2.0], [2.0, 3.0]]
    assert mapped.cross.tolist() == [[4.0, 1.0], [2.0, 3.0]]
    assert not mapped.is_plain


def test_the_identity_maps_moments_to_themselves():
    moments = InputMoments.plain(np.eye(3))
    assert moments.mapped(InputMap(columns=3)) is moments
    with pytest.raises(ShapeMismatch, match=r"InputMap\(4: identity\): moment H of shape \(3, 3\)"):
        moments.mapped(InputMap(columns=4))


def test_merged_channels_that_cancel_have_moments():
    """x and −x but for rounding: the power of their mean is zero, or rounding below it."""
    x = np.random.default_rng(3).standard_normal((100, 1)) * np.array([1.0, -1.0 + 2.0**-52])
    mapped = InputMoments.plain(x.T @ x / 100).mapped(InputMap([Merge([(0, 1)], 2)], columns=2))
    assert abs(mapped.actual[0, 0]) <= rounding(4)
