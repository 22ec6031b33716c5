"""Lattice-coded successive cancellation: nearest points, every rate and shape, and the distortion that the lattice promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rdtools.coding import codewords, decode, encode, fit_lattice_gaussians
from rdtools.errors import CodingError, RateUnreachable, UsageError
from rdtools.measure import measure
from rdtools.measure.point import same_weight
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.planning import LatticeWaterSIC
from rdtools.quantizers import LatticeSIC, WaterSIC
from rdtools.quantizers.rounding.lattice_points import equal_rate_step, nearest_points
from rdtools.records import GaussianModel, LatticePoints, UniformGrid
from rdtools.theory.lattice import NORMALIZED_SECOND_MOMENTS

LATTICES = ("D4", "E8")
names = pytest.mark.parametrize("lattice", LATTICES)


def gaussian_layer(m=256, n=24, seed=0):
    rng = np.random.default_rng(seed)
    return Layer.of(rng.standard_normal((m, n)), haar_moment(power_law(n, 1.0), rng), name="x")


@names
def test_words_are_a_linear_code_of_the_distance_that_makes_the_lattice(lattice):
    """[4, 3, 2] and [8, 4, 4]: shortest vectors of squared length min(4, d), so 24 of D4 and, times √2, 240 of E8."""
    words = codewords(lattice).astype(int)
    sums = (words[:, None] + words) % 2
    assert {tuple(word) for word in sums.reshape(-1, words.shape[1])} == {tuple(word) for word in words}
    weights = words.sum(axis=1)
    distance = {"D4": 2, "E8": 4}[lattice]
    assert weights[weights > 0].min() == distance
    shortest = sum(2 ** int(w) for w in weights if w == distance) + 2 * words.shape[1] * (distance == 4)
    assert shortest == {"D4": 24, "E8": 240}[lattice]
    assert equal_rate_step(lattice) == pytest.approx(0.5 * (2 ** words.shape[1] / len(words)) ** (1 / words.shape[1]))


@names
def test_the_nearest_point_is_that_of_all_points_around(lattice, rng):
    """By trial of all points within a cube; what makes no whole vector is rounded to even integers."""
    words = codewords(lattice).astype(int)
    size = words.shape[1]
    x = rng.uniform(-1.5, 1.5, size + 2)
    steps = np.array(list(itertools.product((-1, 0, 1), repeat=size)))
    near = np.rint(x[:size]).astype(int) + steps
    points = near[(near % 2 == words[:, None]).all(axis=2).any(axis=0)]
    best = points[np.argmin(((points - x[:size]) ** 2).sum(axis=1))]
    found = nearest_points(x, lattice, 2**30)
    assert ((found[:size] - x[:size]) ** 2).sum() == pytest.approx(((best - x[:size]) ** 2).sum())
    np.testing.assert_array_equal(found[size:], 2 * np.rint(x[size:] / 2))
    assert np.abs(nearest_points(np.array([1e12, -1e12] * size), lattice, 9)).max() <= 9


@names
@pytest.mark.parametrize("rate", [0.3, 2.5, 8.0])
def test_every_rate_is_met_and_decoded_from_the_bytes_alone(lattice, rate):
    """259 rows make no whole vectors, and are of unequal size."""
    layer = gaussian_layer(259)
    layer = Layer.of(layer.weight * np.where(np.arange(259) % 2, 1.0, 5.0)[:, None], layer.hessian.matrix)
    q = LatticeSIC(rate_bits=rate, lattice=lattice, ridge=0.01, order="reversed-act-order").quantize(layer)
    assert abs(q.symbol_rate_bits - rate) <= 0.01
    assert q.weight.symbols.model.row_exponents is not None
    container = encode(q.weight)
    assert same_weight(decode(container.data), q.weight)
    # a word, and 0.001 bit for what tables round; escaped integers are side information
    if rate > 1:
        assert abs(8 * container.payload_bytes - q.symbol_rate_bits * layer.weight.size) <= 32 + 0.001 * layer.weight.size


@names
def test_its_distortion_is_watersics_less_the_granular_gain(lattice):
    """At 4 bits: 12 G of the lattice, with G its normalized second moment; both distortions are off by √(2/mn) each."""
    layer = gaussian_layer(1024, 32)
    scalar, shaped = (
        measure(layer, kind(rate_bits=4).quantize(layer)) for kind in (WaterSIC, lambda **k: LatticeSIC(lattice=lattice, **k))
    )
    gain = -10 * np.log10(12 * NORMALIZED_SECOND_MOMENTS[lattice])
    band = 4 * 10 / np.log(10) * np.sqrt(4 / layer.weight.size) + 6 * 0.02
    assert 10 * np.log10(scalar.distortion / shaped.distortion) == pytest.approx(gain, abs=band)


@names
def test_the_plan_predicts_rate_and_distortion(lattice):
    """0.03 bit: four standard errors, 0.007 over 40 seeds, of 8192 errors of weights of known variance."""
    layer = gaussian_layer(1024, 8)
    W = layer.weight / np.sqrt(np.mean(layer.weight**2))
    layer = Layer.of(W, layer.hessian.matrix)
    quantizer = LatticeWaterSIC(rate_bits=2.0, lattice=lattice)
    plan, point = quantizer.plan(layer), measure(layer, quantizer.quantize(layer))
    assert point.symbol_bpw == pytest.approx(2.0, abs=0.01)
    assert 0.5 * np.log2(point.distortion / plan.point.distortion) + point.symbol_bpw - 2.0 == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("shape", [(3, 300), (1, 400)])
def test_fewer_rows_than_a_vector(shape):
    q = LatticeSIC(rate_bits=3).quantize(Layer.of(np.random.default_rng(0).standard_normal(shape), np.eye(shape[1])))
    assert abs(q.symbol_rate_bits - 3) <= 0.01
    assert same_weight(decode(encode(q.weight).data), q.weight)


def test_five_vectors_do_not_have_every_rate():
    layer = Layer.of(np.random.default_rng(0).standard_normal((40, 1)), np.eye(1))
    with pytest.raises(RateUnreachable, match=r"jumps from 2\.98\d+ to 3\.0\d+ .*ask for one of these"):
        LatticeSIC(rate_bits=3).quantize(layer)


@names
def test_wider_steps_are_never_longer(lattice):
    """Model of codewords and integers is one: that of integers alone jumps where all but a few are −1, 0 and 1."""
    weight = np.random.default_rng(0).standard_normal((2048, 4))

    def bits(step):
        points = np.stack([nearest_points(column / (0.5 * step), lattice, 2**30) for column in weight.T], axis=1)
        return fit_lattice_gaussians(LatticePoints(points, UniformGrid(step), GaussianModel(), lattice), None)[1]

    lengths = [bits(step) for step in np.arange(3.0, 8.25, 0.25)]
    assert (np.diff(lengths) < 0).all()
    assert lengths[0] / weight.size > 1.0
    assert lengths[-1] / weight.size < 0.15


def test_nothing_to_code_and_outliers():
    far = np.random.default_rng(1).standard_normal((64, 16))
    far[5, 3] = 1e6
    for layer in (Layer.of(np.zeros((8, 3)), np.eye(3)), Layer.of(np.ones((8, 3)), np.zeros((3, 3))), Layer.of(far, np.eye(16) + 0.5)):
        q = LatticeSIC(rate_bits=3).quantize(layer)
        assert same_weight(decode(encode(q.weight).data), q.weight)
        assert measure(layer, q).relative_distortion < 1e-3 or not layer.weight.any() or not layer.hessian.matrix.any()


def test_settings_and_integers_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="lattice 'A2': expected one of D4, E8"):
        LatticeWaterSIC(rate_bits=2, lattice="A2")
    with pytest.raises(UsageError, match="symbol models of lattice points are not learnt"):
        LatticeWaterSIC(rate_bits=2, adaptive_columns=512)
    with pytest.raises(ValueError, match="lattice 'A2', expected one of D4, E8"):
        LatticePoints(np.zeros((1, 1), np.int32), UniformGrid(1.0), GaussianModel(1.0), "A2")
    weight = LatticeSIC(rate_bits=2).quantize(gaussian_layer(64, 8)).weight
    weight.symbols.integers[0, 0] += 1
    with pytest.raises(CodingError, match="columns 0 to 7: integers that are no points of E8"):
        encode(weight)
