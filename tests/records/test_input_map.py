from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records.map_cases import LOSSLESS, chains, dense, tolerance
from tolerances import rounding

from rdtools.coding import decode, encode, reconstruct, round_to_bfloat16
from rdtools.errors import ShapeMismatch
from rdtools.records import Basis, InputMap, QuantizedWeight, Rotation, ScalarSymbols, SharedHistogram, UniformGrid
from rdtools.testing import generators
from rdtools.transforms import rotate, rotate_back
from rdtools.transforms.basis_map import input_map_of_basis
from rdtools.transforms.links import Scale, Split


@given(chains(kinds=LOSSLESS))
def test_a_chain_of_four_lossless_links_preserves_the_output(case):
    chain, generator = case
    W, x = generator.standard_normal((3, chain.inputs)), generator.standard_normal((chain.inputs, 4))
    assert chain.lossless
    mapped = chain.weight(W)
    assert chain.apply(x.T) @ mapped.T == pytest.approx((W @ x).T, abs=tolerance(chain, mapped, x))
    assert chain.pull_back(mapped) == pytest.approx(W, abs=tolerance(chain, mapped, np.eye(chain.inputs)))


@given(chains())
def test_a_chain_of_four_links_of_any_kind_is_the_product_of_their_matrices(case):
    """V (T x) = pull_back(V) x; T x; and T H Tᵀ, exactly symmetric."""
    chain, generator = case
    T, n = dense(chain), chain.inputs
    x, V = generator.standard_normal((n, 4)), generator.standard_normal((3, chain.outputs))
    assert T.shape == (chain.outputs, n)
    assert chain.apply(x.T) == pytest.approx((T @ x).T, abs=tolerance(chain, np.eye(len(T)), x))
    pulled = chain.pull_back(V)
    assert pulled == pytest.approx(V @ T, abs=tolerance(chain, V, np.eye(n)))
    assert pulled @ x == pytest.approx(V @ chain.apply(x.T).T, abs=2 * tolerance(chain, V, x))
    H = x @ x.T
    H = 0.5 * (H + H.T)
    mapped = chain.moment(H)
    assert np.array_equal(mapped, mapped.T)
    # as the moment of T x, whose factor is mapped with the errors of one side
    sides = np.linalg.norm(T @ x) * tolerance(chain, np.eye(len(T)), x)
    assert mapped == pytest.approx(T @ H @ T.T, abs=2 * sides + rounding(len(T) + n) * np.linalg.norm(T) ** 2 * np.linalg.norm(H))
    assert chain.bits == sum(item.bits for item in chain.links)


@given(chains(links=2), chains(links=0))
def test_a_chain_is_a_link_of_a_longer_chain(case, empty):
    inner, generator = case
    identity = empty[0]
    chain = InputMap([InputMap(columns=inner.inputs), inner, InputMap(columns=inner.outputs)], columns=inner.inputs)
    x = generator.standard_normal((3, inner.inputs))
    assert np.array_equal(chain.apply(x), inner.apply(x))
    assert (identity.lossless, identity.bits, identity.outputs) == (True, 0, identity.inputs)
    square = generator.standard_normal((identity.inputs, identity.inputs))
    for same in (identity.apply, identity.weight, identity.moment, identity.pull_back):
        assert np.array_equal(same(square), square)


def test_links_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ShapeMismatch, match=r"link 0, Scale\(2 → 2\), takes 2 inputs, expected the 3 that the layer has"):
        InputMap([Scale(np.ones(2))], columns=3)
    with pytest.raises(ShapeMismatch, match=r"link 1, Scale\(2 → 2\), takes 2 inputs, expected the 3 that Split\(2 → 3\) before it gives"):
        InputMap([Split(np.array([1, 2])), Scale(np.ones(2))], columns=2)
    with pytest.raises(ShapeMismatch, match=r"InputMap\(3: identity\): weight V of shape \(1, 2\)"):
        InputMap(columns=3).pull_back(np.ones((1, 2)))


def quantized_values(rows, columns, generator):
    return ScalarSymbols(generator.integers(-4, 4, (rows, columns)).astype(np.int32), UniformGrid(0.3125, offset=0.5), SharedHistogram())


@given(st.sampled_from(("haar", "hadamard", "kronecker", None)), st.booleans(), st.booleans(), st.booleans(), generators())
def test_a_decoded_weight_is_that_of_the_container_to_the_bit(kind, dead, scaled, rows_rotated, generator):
    """Ŵ = pull_back(X) of the values whose rows are rotated back, for the basis as made and as read from a file."""
    m, n = 12, 16
    active = np.ones(n, dtype=bool)
    if dead:
        active[generator.choice(n, 4, replace=False)] = False
    r = int(active.sum())
    scales = round_to_bfloat16(np.exp(generator.standard_normal(r))) if scaled else None
    seeds = generator.integers(2**32, size=2)
    row_rotation = Rotation("hadamard", m, int(seeds[0])) if rows_rotated else None
    basis = Basis(m, active, None if kind is None else Rotation(kind, r, int(seeds[1])), row_rotation, scales)
    symbols = quantized_values(m, r, generator)
    weight = QuantizedWeight(basis, symbols)
    values = 0.3125 * (symbols.integers + 0.5)
    if row_rotation is not None:
        values = rotate_back(values.T, row_rotation).T
    columns = values if kind is None else rotate_back(values, basis.rotation)
    rebuilt = np.zeros((m, n))
    rebuilt[:, active] = columns if scales is None else columns * scales
    assert np.array_equal(reconstruct(weight), rebuilt)
    chain = input_map_of_basis(decode(encode(weight).data).basis)
    assert np.array_equal(chain.pull_back(values), reconstruct(weight))
    # what is quantized, written out
    W = generator.standard_normal((m, n))
    mapped = W[:, active] if scales is None else W[:, active] / scales
    assert np.array_equal(chain.weight(W), mapped if kind is None else rotate(mapped, basis.rotation))


def test_a_layer_without_active_inputs_has_a_map():
    basis = Basis(2, np.zeros(3, dtype=bool))
    assert input_map_of_basis(basis).pull_back(np.zeros((2, 0))).tolist() == np.zeros((2, 3)).tolist()
