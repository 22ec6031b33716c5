from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from activations import quantize
from threadpoolctl import threadpool_info, threadpool_limits
from tolerances import rounding

import rdtools as rd
from rdtools.coding import decode, encode, reconstruct
from rdtools.compare.predictions import FORMULAS
from rdtools.errors import BackendUnavailable, InvalidRate, UsageError, WrongType
from rdtools.methods import METHODS, format_method, infeasible_reason, make_quantizers, parse_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import Quantizer, QuIP, WaterSIC
from rdtools.quantizers.rounding import groups
from rdtools.quantizers.rounding import sic as sweep
from rdtools.records.error_models import NoErrorModel


@pytest.fixture(scope="module")
def layer() -> Layer:
    rng = np.random.default_rng(0)
    return Layer.of(rng.standard_normal((64, 32)), haar_moment(power_law(32, 0.5), rng), name="a.q_proj")


KINDS = [rd.RTN, rd.GPTQ, rd.WaterfilledGPTQ, rd.WaterSIC, rd.MmseWaterSIC, rd.QuIP, rd.QuIPSharp, rd.QTIP]


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_types_are_named_at_the_door(kind, layer):
    with pytest.raises(WrongType, match=r"got ndarray of shape \(64, 32\), expected a Layer; .*Layer\.of\(weight, hessian\)"):
        kind(rate_bits=3).quantize(layer.weight)
    with pytest.raises(TypeError, match="expected a Layer"):
        kind(rate_bits=3).prepare("layer")
    with pytest.raises(TypeError, match="rate_bits '3': a str, expected a number of bits per weight, such as rate_bits=3"):
        kind(rate_bits="3")
    with pytest.raises(TypeError, match="damping '1%': a str, expected None or a number"):
        kind(rate_bits=3, damping="1%")
    for rate in (0.0, -1.0, math.nan, 13.0):
        with pytest.raises(InvalidRate):
            kind(rate_bits=rate)
    assert isinstance(kind(rate_bits=np.float64(3)), Quantizer)


def test_measure_names_what_it_was_given(layer):
    answer = rd.HRTN(rate_bits=3).quantize(layer)
    with pytest.raises(WrongType, match="got QuantizedLayer and Layer, expected a Layer and what a quantizer answered"):
        rd.measure(answer, layer)


def test_measure_refuses_what_became_of_another_layer(layer):
    """Two matrices of one shape: the numbers would look right. Another name or Hessian of the same weights is the same layer."""
    other = Layer.of(layer.weight[::-1], layer.hessian, name="a.o_proj")
    answer = rd.HRTN(rate_bits=3).quantize(layer)
    said = r"the layer 'a.o_proj' of \(64, 32\) and what became of 'a.q_proj' of \(64, 32\), whose weights are others"
    with pytest.raises(UsageError, match=said):
        rd.measure(other, answer)
    E = other.weight - reconstruct(answer.weight)
    by_hand = rd.measure.weighted_error(other.weight, reconstruct(answer.weight), other.hessian.matrix).mean  # as the message says
    assert by_hand == pytest.approx(np.trace(E @ layer.hessian.matrix @ E.T) / E.size, rel=rounding(E.size))
    renamed = Layer.of(layer.weight, layer.hessian, name="a.k_proj")
    assert rd.measure(renamed, answer).distortion == rd.measure(layer, answer).distortion


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_backend_is_refused_by_every_method(kind, layer):
    with pytest.raises(BackendUnavailable, match="'cuda'"):
        kind(rate_bits=3, backend="cuda").quantize(layer)


@pytest.mark.parametrize(
    ("quantizer", "backend"),
    [
        (rd.HRTN(rate_bits=3, backend="reference"), "numpy"),
        (rd.HPTQ(rate_bits=3, backend="reference"), "reference"),
        (rd.GPTQ(rate_bits=3, group_size=8, backend="reference", grid="midrise"), "reference"),
        (rd.GPTQ(rate_bits=3, group_size=8, order="act-order", backend="reference", grid="midrise"), "numpy"),
        (rd.WaterfilledGPTQ(rate_bits=3, backend="reference"), "numpy"),
        (rd.WaterfilledGPTQ(rate_bits=3, coding="column", backend="reference"), "reference"),
    ],
    ids=lambda value: getattr(value, "method", value),
)
def test_the_backend_of_an_answer_is_what_ran(quantizer, backend, layer, monkeypatch):
    calls = []
    for module in (sweep, groups):

        def counted(*arguments, real=module.sic_sweep, **settings):
            calls.append(settings["backend"])
            return real(*arguments, **settings)

        monkeypatch.setattr(module, "sic_sweep", counted)
    assert quantizer.quantize(layer).backend == backend
    assert set(calls) == ({backend} - {"numpy"})


#: Codebooks have other rates and need other layers: `tests/quantizers/methods/test_crvq.py`.
@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if entry.family not in ("aqlm", "crvq")])
def test_every_answer_names_an_error_model_that_has_a_formula(name, rng):
    inputs = rng.standard_normal((256, 32)) + 0.7
    given = rd.Layer.from_activations(rng.standard_normal((64, 32)), inputs, name="q_proj")
    rates = METHODS[name].rates
    (quantizer,) = make_quantizers([name], [rates["values"][0] if "values" in rates and 3 not in rates["values"] else 3.0])
    model = quantize(quantizer, given, inputs).error_model
    assert type(model) in FORMULAS
    none = name in ("quip", "quip-greedy", "quip-nearest", "quip-clamp-safe", "qtip-waterfilled")
    none |= name.startswith("pca-split") or METHODS[name].family in ("lrc", "qllm")
    assert isinstance(model, NoErrorModel) == none


@pytest.mark.parametrize("kind", [rd.QuIPSharp, rd.QTIP, rd.QuIP, rd.RTN])
def test_an_infeasible_rate_is_known_before_any_layer(kind, layer):
    assert infeasible_reason(kind(rate_bits=2.0)) is None
    reason = infeasible_reason(kind(rate_bits=2.3))
    assert "2.3 bits per weight cannot be reached" in reason
    assert infeasible_reason(rd.WaterSIC(rate_bits=2.3)) is None


def test_quantizing_and_measuring_use_one_thread_of_blas(layer, monkeypatch):
    """Many small products are up to 50 times slower with several; what the caller had is there again afterwards."""

    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    seen = []

    def spied(problem, real=rd.HPTQ.solve):
        seen.append(threads())
        return real(rd.HPTQ(rate_bits=3), problem)

    def measured(*arguments):
        seen.append(threads())
        return real_error(*arguments)

    from rdtools.measure import point

    real_error = point.errors_of
    monkeypatch.setattr(rd.HPTQ, "solve", lambda self, problem: spied(problem))
    monkeypatch.setattr(point, "errors_of", measured)
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        rd.measure(layer, rd.HPTQ(rate_bits=3).quantize(layer))
        assert threads() == before
    assert before != {1}
    assert len(seen) == 2
    assert all(found == {1} for found in seen)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (WaterSIC(rate_bits=np.float64(2.0), ridge=np.float64(0.1)), WaterSIC(rate_bits=2.0, ridge=0.1)),
        (WaterSIC(rate_bits=np.int64(2), rescale=np.bool_(True), lmmse=np.True_), WaterSIC(rate_bits=2, rescale=True, lmmse=True)),
        (QuIP(rate_bits=np.float32(2), slack=np.float64(1.5), passes=np.int64(3)), QuIP(rate_bits=2.0, slack=1.5, passes=3)),
    ],
)
def test_numpy_scalars_are_settings_like_any_number(given, plain):
    """`lmmse is True` was False of NumPy's True, and names had numpy.float64(1.5) in them."""
    assert given == plain
    assert [type(value) for value in vars(given).values()] == [type(value) for value in vars(plain).values()]
    assert format_method(given) == format_method(plain)
    assert parse_method(format_method(given), float(given.rate_bits)) == plain


class _Thing:
    pass


#: What no setting is, with whole numbers that no computation holds.
NO_SETTINGS = ("Nonsense", [], (1, 2), {}, 1j, _Thing(), np.array([1.0, 2.0]), 10**400, float("nan"))


@pytest.mark.parametrize("kind", sorted({type(parse_method(name, 3.0)) for name in METHODS}, key=lambda kind: kind.__name__))
def test_a_setting_of_another_type_is_refused_in_one_line_that_names_it(kind):
    """Every setting of every method, and none is taken silently but by its own type."""
    sample = next(q for name in METHODS if type(q := parse_method(name, 3.0)) is kind)
    for field in dataclasses.fields(sample):
        for value in NO_SETTINGS[field.name == "backend" :]:  # whether there is a backend of a name is seen when it is to run
            with pytest.raises(UsageError) as caught:
                dataclasses.replace(sample, **{field.name: value})
            message = str(caught.value)
            assert field.name.split("_")[0] in message, message
            assert "expected" in message, message
            assert "\n" not in message
            assert len(message) < 600


@pytest.mark.parametrize("name", ["problem", "drift", "activations"])
def test_what_stands_beside_a_layer_is_named_where_it_is_of_another_type(name, layer):
    with pytest.raises(WrongType, match=r"quantize: got int, expected (Problem|InputMoments|ActivationMoments), "):
        rd.HRTN(rate_bits=3).quantize(layer, **{name: 3})


def test_a_file_and_its_weights_are_asked_for_by_their_types(layer):
    answer = rd.HRTN(rate_bits=3).quantize(layer)
    for wrong in (5, "path", answer, [answer.weight, 3]):
        with pytest.raises(WrongType, match=r"encode: got .*, expected QuantizedWeight, such as `weight` of"):
            encode(wrong)
    with pytest.raises(WrongType, match=r"decode: got str, expected bytes, .* of a path: "):
        decode("k_proj.rdtq")
    with pytest.raises(WrongType, match=r"measure: got int, expected InputMoments, "):
        rd.measure(layer, answer, moments=3)
