"""Scales that are powers of two change no integer: weights and Hessians have the units that their model has."""

from __future__ import annotations

import numpy as np
import pytest
from activations import quantize

from rdtools.measure.point import same_weight
from rdtools.methods import METHODS, parse_method
from rdtools.moments.layer import Layer
from rdtools.quantizers import ActivationQuantizer

#: Powers of two of W and of H: odd ones of H are no powers of two of its Cholesky factor.
SCALES = ((-7, 9), (13, -24), (0, 301))
#: Symbols of each kind of integers.
SYMBOLS = ("integers", "words", "paths", "codes")
#: Rates of entries that do not have 3 bits on a layer of 32 columns; a codebook of 65536 words has too few vectors there.
RATES = {"aqlm-1x8": 1, "aqlm-2x8": 2, "crvq": 1.75, "crvq-natural-rest": 1.75, "crvq-published": 1.75, "rtn-w16a4": 16}
#: Weights beside quantized activations have four bits; activations have no odd power of two in their moments.
BESIDE = [name for name, entry in METHODS.items() if isinstance(entry.make(3.0), ActivationQuantizer)]
NAMES = [*(name for name in METHODS if name != "aqlm-1x16"), "hptq(damping=0.01)+haar", "watersic+kronecker+act-order"]


def _layer(octaves: int, energy: int) -> tuple[Layer, np.ndarray]:
    """Columns whose energies differ a thousandfold, one of them small and one dead; and the inputs, in whole octaves."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 32)) @ rng.standard_normal((32, 32)) * np.exp(0.5 * rng.standard_normal(32))
    X[:, 5], X[:, 9] = 1e-3 * X[:, 5], 0.0
    return Layer.of(np.ldexp(rng.standard_normal((256, 32)), octaves), np.ldexp(X.T @ X / 300, energy)), np.ldexp(X, energy // 2)


@pytest.mark.parametrize("name", NAMES)
def test_symbols_do_not_change_with_the_scales_of_weights_and_hessian(name):
    """To the bit, and the basis with them."""

    def symbols(octaves: int, energy: int):
        rate, even = (4, energy - energy % 2) if name in BESIDE else (3, energy)
        weight = quantize(parse_method(name, RATES.get(name, rate)), *_layer(octaves, even)).weight
        values = [getattr(weight.symbols, field) for field in SYMBOLS if hasattr(weight.symbols, field)]
        assert len(values) == 1
        return [*values[0]] if isinstance(values[0], tuple) else values, weight.basis

    base, basis = symbols(0, 0)
    for scales in SCALES:
        scaled, same_basis = symbols(*scales)
        assert all(map(np.array_equal, base, scaled))
        assert same_weight(basis, same_basis)
