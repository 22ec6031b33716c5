"""Scales that are powers of two change no integer: weights and Hessians have the units that their model has."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.measure.point import same_weight
from rdtools.methods import METHODS, parse_method
from rdtools.moments.layer import Layer

#: Powers of two of W and of H: odd ones of H are no powers of two of its Cholesky factor.
SCALES = ((-7, 9), (13, -24), (0, 301))
#: Symbols of each kind of integers.
SYMBOLS = ("integers", "words", "paths", "codes")
#: Rates of entries that do not have 3 bits on a layer of 32 columns; a codebook of 65536 words has too few vectors there.
RATES = {"aqlm-1x8": 1, "aqlm-2x8": 2, "crvq": 1.75, "crvq-natural-rest": 1.75, "crvq-published": 1.75}
NAMES = [*(name for name in METHODS if name != "aqlm-1x16"), "hptq(damping=0.01)+haar", "watersic+kronecker+act-order"]


def _layer(octaves: int, energy: int) -> Layer:
    """Columns whose energies differ a thousandfold, one of them small and one dead."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 32)) @ rng.standard_normal((32, 32)) * np.exp(0.5 * rng.standard_normal(32))
    X[:, 5], X[:, 9] = 1e-3 * X[:, 5], 0.0
    return Layer.of(np.ldexp(rng.standard_normal((256, 32)), octaves), np.ldexp(X.T @ X / 300, energy))


@pytest.mark.parametrize("name", NAMES)
def test_symbols_do_not_change_with_the_scales_of_weights_and_hessian(name):
    """To the bit, and the basis with them."""

    def symbols(octaves: int, energy: int):
        weight = parse_method(name, RATES.get(name, 3)).quantize(_layer(octaves, energy)).weight
        values = [getattr(weight.symbols, field) for field in SYMBOLS if hasattr(weight.symbols, field)]
        assert len(values) == 1
        return [*values[0]] if isinstance(values[0], tuple) else values, weight.basis

    base, basis = symbols(0, 0)
    for scales in SCALES:
        scaled, same_basis = symbols(*scales)
        assert all(map(np.array_equal, base, scaled))
        assert same_weight(basis, same_basis)
