from __future__ import annotations

import numpy as np
import pytest

from rdtools.errors import NotFiniteInput, NotPositiveSemidefinite, NotSymmetric, ShapeMismatch, UnsupportedDtype
from rdtools.moments.drift import Drift
from rdtools.moments.layer import Layer


def tokens(n=6, m=4, count=50, seed=0):
    """Inputs before and after, the missing part of the residual stream, and weights."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, n))
    return x, 0.9 * x + 0.3 * rng.standard_normal((count, n)), 0.2 * rng.standard_normal((count, m)), rng.standard_normal((m, n))


def moments(x, drifted, missing=None, *, name="block.o"):
    residual = None if missing is None else missing.T @ drifted / len(x)
    return Drift(drifted.T @ drifted / len(x), x.T @ drifted / len(x), residual, name)


def test_moments_of_the_same_tokens_pass_and_are_copied():
    x, drifted, missing, W = tokens()
    moment = drifted.T @ drifted / len(x)
    drift = Drift(moment, x.T @ drifted / len(x), missing.T @ drifted / len(x))
    drift.check(Layer.of(W, x.T @ x / len(x)))
    moment[0, 0] = np.nan
    assert np.isfinite(drift.moment).all()


def test_half_precision_tensors_become_float64():
    import torch

    drift = Drift(torch.eye(2, dtype=torch.bfloat16), 0.5 * torch.eye(2, dtype=torch.float32))
    assert drift.moment.dtype == drift.cross.dtype == np.float64
    assert drift.cross[0, 0] == 0.5


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("moment", np.eye(6)[:, :5], ShapeMismatch, "q_proj: moment of the drifted input"),
        ("moment", np.eye(6) + np.tri(6, k=-1) * 0.1, NotSymmetric, "q_proj: moment of the drifted input"),
        ("moment", -np.eye(6), NotPositiveSemidefinite, "q_proj: moment of the drifted input"),
        ("cross", np.eye(5), ShapeMismatch, r"q_proj: cross moment \(5, 5\) beside a moment \(6, 6\)"),
        ("cross", np.full((6, 6), np.nan), NotFiniteInput, "q_proj: cross moment"),
        ("cross", np.eye(6, dtype=np.int64), UnsupportedDtype, "q_proj: cross moment"),
        ("residual", np.zeros((4, 5)), ShapeMismatch, r"q_proj: residual moment \(4, 5\), expected \(m, 6\)"),
        ("residual", np.full((4, 6), np.inf), NotFiniteInput, "q_proj: residual moment"),
    ],
)
def test_what_is_wrong_in_itself_is_refused_with_the_layer_named(field, value, error, message):
    parts = {"moment": np.eye(6), "cross": 0.5 * np.eye(6), "residual": np.zeros((4, 6))} | {field: value}
    with pytest.raises(error, match=message):
        Drift(**parts, name="q_proj")


@pytest.mark.parametrize("field", ["cross", "residual"])
def test_an_input_that_is_always_zero_has_nothing_in_common_with_anything(field):
    moment = np.diag([1.0, 0.0, 1.0])
    parts = {"cross": np.zeros((3, 3)), "residual": np.zeros((2, 3))}
    parts[field][1, 1] = 0.1
    with pytest.raises(NotPositiveSemidefinite, match=f"o_proj: the drifted input 1 is always zero.*{field} moment"):
        Drift(moment, **parts, name="o_proj")


def test_a_drift_of_another_layer_is_refused_with_the_layer_named():
    x, drifted, missing, W = tokens()
    layer = Layer.of(W, x.T @ x / len(x), name="block.o")
    with pytest.raises(ShapeMismatch, match=r"block\.o: drift of 5 inputs for a weight \(4, 6\), expected 6"):
        moments(x[:, :5], drifted[:, :5]).check(layer)
    with pytest.raises(ShapeMismatch, match=r"block\.o: residual moment \(3, 6\) for a weight \(4, 6\)"):
        moments(x, drifted, missing[:, :3]).check(layer)


def test_a_cross_moment_beyond_what_the_two_inputs_allow_is_refused():
    """E[x_i x̂_j]² ≤ E[x_i²] E[x̂_j²], with equality at x̂ = x, which passes."""
    x, _, _, W = tokens()
    layer = Layer.of(W, x.T @ x / len(x), name="block.o")
    moments(x, x).check(layer)
    apart = moments(x, x)
    swollen = Drift(apart.moment, 1.01 * apart.cross)
    with pytest.raises(NotPositiveSemidefinite, match=r"block\.o: cross moment \(\d, \d\) is .* expected at most their product"):
        swollen.check(layer)
