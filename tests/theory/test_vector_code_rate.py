from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.theory.vector_code_rate import vector_code_rate

fractions = st.floats(0, 1)


def llama(hidden, inner, kv):
    return [(hidden, hidden)] * 2 + [(kv, hidden)] * 2 + [(inner, hidden)] * 2 + [(hidden, inner)]


# One transformer block of each; all blocks are alike.
MODELS = {
    "Llama-2-7B": llama(4096, 11008, 4096),
    "Llama-2-13B": llama(5120, 13824, 5120),
    "Llama-3-8B": llama(4096, 14336, 1024),
    "TinyLlama-1.1B": llama(2048, 5632, 256),
    "OPT-125M": [(768, 768)] * 4 + [(3072, 768), (768, 3072)],
}


# codes, codebooks, scales, without the order of channels, with it, one codebook alone; codebooks of 8 bits, λ = 2 %
TABLE = {
    "Llama-2-7B": (1.0587, 0.0045, 0.0034, 1.0665, 1.0688, 1.0045),
    "Llama-2-13B": (1.0569, 0.0029, 0.0027, 1.0624, 1.0643, 1.0034),
    "Llama-3-8B": (1.0586, 0.0042, 0.0032, 1.0660, 1.0682, 1.0042),
    "TinyLlama-1.1B": (1.0589, 0.0208, 0.0065, 1.0862, 1.0909, 1.0117),
    "OPT-125M": (1.0391, 0.1111, 0.0156, 1.1658, 1.1764, 1.0434),
}


@pytest.mark.parametrize("model", MODELS)
def test_rates_of_whole_models(model):
    shapes = MODELS[model]
    sizes = [m * n for m, n in shapes]

    def mean(part, **settings):
        return np.average([part(vector_code_rate(m, n, **settings)) for m, n in shapes], weights=sizes)

    kinds = {"fraction": 0.02}
    parts = [mean(lambda r, name=name: getattr(r, name), **kinds) for name in ("codes", "codebooks", "scales", "total")]
    order = mean(lambda r: r.permutation, **kinds)
    alone = mean(lambda r: r.total, fraction=0.0, codebook_bits=(8,), full_order=False)
    found = (*parts[:3], parts[3] - order, parts[3], alone)
    assert tuple(round(float(value), 4) for value in found) == TABLE[model]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1000), st.lists(st.integers(0, 6), min_size=1, max_size=4), st.booleans())
def test_rate_is_that_of_the_arrays_stored(rows, octets, thousandths, bits, full_order):
    """Second route: count what a decoder reads, group by group, over mn weights; the set as its exact number of subsets."""
    n, weights = 8 * octets, 8 * octets * rows
    rate = vector_code_rate(rows, n, thousandths / 1000, codebook_bits=bits, full_order=full_order)
    groups = int(Fraction(thousandths, 1000) * n / 8)
    stored = 0
    for g in range(octets):
        stored += rows * sum(bits if g < groups else bits[:1])
    assert rate.codes == pytest.approx(stored / weights, rel=rounding(10))
    books = [np.empty((2**e, 8)) for e in (bits if groups else bits[:1])]
    assert rate.codebooks == pytest.approx(16 * sum(book.size for book in books) / weights, rel=rounding(10))
    assert rate.scales == pytest.approx(16 * rows / weights, rel=rounding(10))
    if full_order:
        assert rate.channel_set == 0
        assert rate.permutation == pytest.approx(n * math.ceil(math.log2(n)) / weights, rel=rounding(10))
    else:
        assert rate.permutation == 0
        # differences of log-gammas of size ln n!
        slack = rounding(10) * math.lgamma(n + 1) / weights
        assert rate.channel_set == pytest.approx(math.log2(math.comb(n, 8 * groups)) / weights, abs=slack)
    assert rate.total == pytest.approx(rate.codes + rate.codebooks + rate.scales + rate.channel_set + rate.permutation, rel=rounding(10))


@given(st.integers(1, 100), st.integers(1, 30), fractions, fractions)
def test_rate_rises_with_the_fraction_and_falls_with_the_rows(rows, octets, a, b):
    low, high = (vector_code_rate(rows, 8 * octets, f) for f in sorted((a, b)))
    assert low.codes <= high.codes
    assert low.total <= high.total * (1 + rounding(10))
    taller = vector_code_rate(2 * rows, 8 * octets, b)
    assert taller.codes == vector_code_rate(rows, 8 * octets, b).codes
    assert taller.total <= vector_code_rate(rows, 8 * octets, b).total


def test_too_few_channels_for_a_group_leave_one_codebook():
    """λ n < 8: no critical group, no second codebook, no set to name."""
    small = vector_code_rate(100, 64, 0.12, full_order=False)
    assert small == vector_code_rate(100, 64, 0.0, codebook_bits=(8,), full_order=False)
    assert small.codes == 1
    assert small.channel_set == 0
    everything = vector_code_rate(100, 64, 1.0, full_order=False)
    assert (everything.codes, everything.channel_set) == (4, 0)
