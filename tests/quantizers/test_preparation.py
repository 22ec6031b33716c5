from __future__ import annotations

import gc
import weakref
import zlib
from dataclasses import replace

import numpy as np
import pytest
from tolerances import rounding

import rdtools as rd
from rdtools.coding import encode
from rdtools.compare import layer_facts
from rdtools.errors import UsageError
from rdtools.linalg import cholesky
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import Preparation, Problem, draw_basis, prepare, prepared_input
from rdtools.records import InputMoments
from rdtools.seeds import rotation_seed
from rdtools.sweep.task import quantize_layer, quantize_layers
from rdtools.theory.mismatch import damped_noise_gains
from rdtools.transforms import rotate_moment


@pytest.fixture
def layers() -> list[Layer]:
    """Three layers of one input: they share the Hessian record, as those of a run do."""
    rng = np.random.default_rng(0)
    first = Layer.of(rng.standard_normal((32, 24)), haar_moment(power_law(24, 1.0), rng), name="a.q_proj")
    others = [replace(first, key=replace(first.key, name=f"a.{t}_proj"), weight=rng.standard_normal((16, 24))) for t in "kv"]
    return [first, *others]


@pytest.fixture
def factored(monkeypatch) -> list[str]:
    """Names under which a Hessian was factored while preparing."""
    names = []

    def counted(moment, **settings):
        names.append(settings["name"])
        return cholesky(moment, **settings)

    monkeypatch.setattr(prepared_input, "cholesky", counted)
    return names


def test_preparations_are_equal_by_their_settings_and_a_drift_by_identity(layers):
    assert Preparation(damping=0.01) == Preparation(damping=0.01, order="natural", ridge=0.0)
    H = layers[0].hessian.matrix
    drift = InputMoments.plain(H)
    assert Preparation(drift=drift) == Preparation(drift=drift) != Preparation(drift=InputMoments.plain(H))
    assert len({Preparation(), Preparation(), Preparation(factor=False)}) == 2


@pytest.mark.parametrize(
    ("quantizer", "same"),
    [
        (rd.HPTQ(rate_bits=3), rd.WaterSIC(rate_bits=2)),
        (rd.HRTN(rate_bits=3, damping=0.1), rd.RTN(rate_bits=2)),
        (rd.QuIPSharp(rate_bits=2), rd.QTIP(rate_bits=3)),
        (rd.QuIP(rate_bits=2, adaptive="ldlq"), rd.QTIP(rate_bits=3)),
    ],
)
def test_methods_that_are_prepared_alike_say_so(quantizer, same):
    assert quantizer.preparation == same.preparation


@pytest.mark.parametrize(
    ("quantizer", "other"),
    [
        (rd.HPTQ(rate_bits=3), rd.HRTN(rate_bits=3)),
        (rd.HPTQ(rate_bits=3), rd.HPTQ(rate_bits=3, order="act-order")),
        (rd.HPTQ(rate_bits=3), rd.HPTQ(rate_bits=3, damping=0.0)),
        (rd.WaterSIC(rate_bits=3), rd.WaterSIC(rate_bits=3, ridge=0.1)),
        (rd.WaterSIC(rate_bits=3), rd.WaterSIC(rate_bits=3, dead_threshold=1e-3)),
        (rd.HPTQ(rate_bits=3, rotation="haar"), rd.QTIP(rate_bits=3, rotation="haar")),
        (rd.QuIP(rate_bits=3, rescale=True), rd.QuIP(rate_bits=3)),
    ],
)
def test_methods_that_are_prepared_differently_do_not_share(quantizer, other):
    assert quantizer.preparation != other.preparation


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotation": "hadmard"}, "rotation 'hadmard'"),
        ({"row_rotation": "none"}, "rotation 'none'"),
        ({"damping": -1.0}, "damping -1.0"),
        ({"order": "random"}, "order 'random': expected one of natural"),
        ({"ridge": np.nan}, "ridge nan"),
        ({"dead_threshold": 2.0}, "dead_threshold 2.0"),
        ({"dead_threshold": 0.1, "factor": False}, "expected a method that uses it"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Preparation(**settings)


def test_layers_of_one_input_are_factored_once(layers, factored):
    quantizers = (rd.HPTQ(rate_bits=3), rd.HRTN(rate_bits=3), rd.WaterSIC(rate_bits=2), rd.GPTQ(rate_bits=2, grid="midrise"))
    rows = list(quantize_layers([(layer, quantizers) for layer in layers], seed=0))
    assert len(rows) == 12
    assert {row["status"] for *_, row in rows} == {"ok"}
    assert factored == ["a.q_proj"]


def test_what_differs_between_layers_is_not_shared(layers, factored):
    """Scales are those of a layer's weights."""
    problems = [prepare(layer, Preparation(rescale=True)) for layer in layers]
    assert factored == ["a.q_proj", "a.k_proj", "a.v_proj"]
    assert len({id(problem.shared) for problem in problems}) == 3


def test_an_inner_rotation_is_that_of_inputs_that_read_no_residual_stream(layers):
    """Drawn as any other, so that output and down projections have the basis that "auto" gives them, and others their own."""
    for name, rotated in (("b.o_proj", True), ("b.down_proj", True), ("b.q_proj", False), ("b.gate_proj", False)):
        layer = Layer.of(layers[0].weight, layers[0].hessian, name=name)
        basis = draw_basis(layer, Preparation(rotation="inner"), seed=3)
        assert basis.rotation == (draw_basis(layer, Preparation(rotation="auto"), seed=3).rotation if rotated else None)
    with pytest.raises(UsageError, match="row_rotation 'inner': expected None, 'auto', 'haar', 'hadamard' or 'kronecker'"):
        Preparation(row_rotation="inner")


@pytest.mark.parametrize("rotation", ["haar", "hadamard", "kronecker"])
def test_layers_of_one_input_share_its_rotation_and_factor_and_turn_their_rows_apart(layers, factored, rotation, monkeypatch):
    turned = []

    def counted(moment, drawn):
        turned.append(drawn)
        return rotate_moment(moment, drawn)

    monkeypatch.setattr(prepared_input, "rotate_moment", counted)
    problems = [prepare(layer, Preparation(rotation=rotation, row_rotation="haar"), seed=5) for layer in layers]
    assert factored == ["a.q_proj"]
    assert turned == [problems[0].basis.rotation]
    assert len({problem.basis.rotation for problem in problems}) == 1
    assert len({problem.basis.row_rotation.seed for problem in problems}) == 3


def test_rotations_depend_on_seed_and_input_alone(layers):
    """Not on the order of layers, their weights or the method; inputs whose names have one CRC-32 have rotations of their own."""
    preparation = Preparation(rotation="haar", row_rotation="haar")
    alone = draw_basis(layers[2], preparation, seed=1)
    assert draw_basis(layers[2], Preparation(rotation="haar", damping=0.1), seed=1).rotation == alone.rotation
    assert draw_basis(layers[0], preparation, seed=1).rotation == alone.rotation
    assert draw_basis(layers[2], preparation, seed=2).rotation != alone.rotation
    assert alone.rotation.seed == rotation_seed(1, "rotation", layers[2].hessian.name)
    assert alone.row_rotation.seed == rotation_seed(1, "rows", "a.v_proj")
    names = ("plumless", "buckeroo")
    assert zlib.crc32(names[0].encode()) == zlib.crc32(names[1].encode())
    twins = [replace(layers[0], hessian=replace(layers[0].hessian, name=name)) for name in names]
    assert len({draw_basis(layer, preparation, seed=1).rotation for layer in twins}) == 2


def test_layers_from_arrays_draw_by_their_name_or_that_of_the_hessian_they_are_given(rng):
    H = haar_moment(power_law(8, 1.0), rng)
    a, b = (Layer.of(rng.standard_normal((4, 8)), H, name=name) for name in "ab")
    preparation = Preparation(rotation="haar")
    assert draw_basis(a, preparation).rotation != draw_basis(b, preparation).rotation
    q, k = (Layer.of(rng.standard_normal((4, 8)), a.hessian, name=name) for name in "qk")
    assert draw_basis(q, preparation).rotation == draw_basis(k, preparation).rotation == draw_basis(a, preparation).rotation


def test_rows_come_back_in_their_order_and_are_those_of_each_method_alone(layers):
    quantizers = (rd.HPTQ(rate_bits=3), rd.WaterSIC(rate_bits=3, ridge=0.1), rd.HRTN(rate_bits=2), rd.HPTQ(rate_bits=2, rotation="haar"))
    quantizers += (rd.HPTQ(rate_bits=4), rd.MmseWaterSIC(rate_bits=2), rd.QuIP(rate_bits=3), rd.GPTQ(rate_bits=2.5, grid="midrise"))
    for layer in layers:
        together = list(quantize_layer(layer, quantizers, seed=1))
        alone = [row for q in quantizers for row in quantize_layer(layer, (q,), seed=1)]
        for row in together + alone:
            del row["wall_s"]
        np.testing.assert_equal(together, alone)
        assert [row["target_bpw"] for row in together] == [q.rate_bits for q in quantizers]


def test_no_second_factor_is_alive(layers, monkeypatch):
    alive = []
    made = []

    def watched(*arguments, **settings):
        gc.collect()
        alive.append(sum(reference() is not None for reference in made))
        answer = real(*arguments, **settings)
        made.append(weakref.ref(answer))
        return answer

    real = prepared_input.prepare_input
    monkeypatch.setattr(prepared_input, "prepare_input", watched)
    quantizers = [rd.HPTQ(rate_bits=rate, order=order) for rate in (2, 3) for order in ("natural", "act-order", "reversed")]
    quantizers += [rd.QuIP(rate_bits=rate) for rate in (2, 3)]
    rows = list(quantize_layers([(layer, quantizers) for layer in layers], seed=0, facts=[layer_facts(layer) for layer in layers]))
    assert len(rows) == 24
    assert len(made) == 3 + 1  # one for each order, and one for the rotation
    assert alive == [0] * 4


def test_a_basis_is_drawn_as_it_is_prepared(layers):
    preparation = Preparation(rotation="haar", row_rotation="hadamard")
    basis = draw_basis(layers[0], preparation, seed=5)
    prepared = prepare(layers[0], preparation, seed=5).basis
    assert (basis.rotation, basis.row_rotation) == (prepared.rotation, prepared.row_rotation)


@pytest.mark.parametrize("order", ["natural", "act-order"])
@pytest.mark.parametrize(("damping", "ridge"), [(None, 0.0), (0.05, 0.0), (0.05, 0.3)])
def test_the_factor_is_that_of_the_moment_with_what_was_added(layers, order, damping, ridge):
    shared = prepare(layers[0], Preparation(order=order, damping=damping, ridge=ridge)).shared
    H = layers[0].hessian.matrix
    mean = np.mean(np.diagonal(H))
    assert shared.added == pytest.approx(mean * ((1 + (damping or 0)) * (1 + ridge) - 1), rel=rounding(100), abs=0)
    product = shared.factor @ shared.factor.T
    np.testing.assert_allclose(
        product, H[np.ix_(shared.order, shared.order)] + shared.added * np.eye(24), atol=rounding(100) * mean, rtol=0
    )
    np.testing.assert_allclose(shared.damped_moment, product, atol=rounding(100) * mean, rtol=0)
    np.testing.assert_array_equal(shared.energies, np.diagonal(H))
    np.testing.assert_array_equal(shared.noise_weights[shared.order], damped_noise_gains(shared.factor, shared.added))
    np.testing.assert_array_equal(shared.noise_gains[shared.order], np.diagonal(shared.factor) ** 2)


def test_a_problem_without_a_factor_says_so(layers):
    problem = rd.HRTN(rate_bits=3).prepare(layers[0])
    assert problem.shared is None
    with pytest.raises(UsageError, match=r"a\.q_proj: prepared without a factor"):
        _ = problem.factor


def test_array_records_compare_and_hash_by_identity(layers):
    """Equality of arrays has no single truth value: == raised a ValueError, and hash a TypeError."""
    problem = rd.HPTQ(rate_bits=3).prepare(layers[0])
    assert isinstance(problem, Problem)
    for record in (problem, problem.shared, layers[0].spectrum, layer_facts(layers[0]), cholesky(np.eye(2))):
        assert record == record
        assert record != replace(record)
        assert len({record, replace(record)}) == 2


@pytest.mark.parametrize("kind", [rd.GPTQ, rd.WaterSIC, rd.QuIP, rd.QuIPSharp])
def test_an_input_that_has_not_drifted_changes_nothing(layers, kind):
    H = layers[0].hessian.matrix
    plain, same = (kind(rate_bits=3).quantize(layers[0], seed=3, drift=drift) for drift in (None, InputMoments.plain(H)))
    assert encode(plain.weight).data == encode(same.weight).data


def test_rounding_to_nearest_has_no_use_for_a_drift(layers):
    H = layers[0].hessian.matrix
    with pytest.raises(UsageError, match="expected a method that uses it"):
        rd.HRTN(rate_bits=3).quantize(layers[0], drift=InputMoments.plain(H))
