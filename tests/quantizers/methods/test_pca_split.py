"""The PCA split on a layer of 64 inputs with three massive channels, beside LRC of the same rank, and the search of a clipping ratio."""

from __future__ import annotations

import numpy as np
import pytest
from quantizers.methods.test_lrc import inputs, weights

from rdtools.coding import decode, encode
from rdtools.coding.reconstruct import effective_layer
from rdtools.compare import ActivationInputs, result_row
from rdtools.errors import NotFiniteInput, RateUnreachable, UsageError
from rdtools.measure import measure
from rdtools.methods import format_method, parse_method
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.quantizers import LRC, PCASplit, WeightActivation

N = 64


def case(method, *, x=None, rows=48):
    x = inputs(0, 16 * N, N) if x is None else x
    n = x.shape[1]
    layer = Layer.from_activations(weights(0.5, n, n)[:rows], x, name="q_proj")
    chain = method.choose_map([layer], x, seed=0)
    sums = ActivationAccumulator(chain, method.choose_grid([layer], x, chain))
    sums.add(x)
    return layer, sums.finish(x.T @ x / len(x), name="input"), x


def lost(method, **settings):
    layer, moments, _ = case(method, **settings)
    return measure(layer, method.quantize(layer, activations=moments), moments=moments.moments)


def test_the_file_holds_the_axes_and_decodes_to_the_layer_that_was_measured():
    """An eighth of 64 channels: k (k − 1)/2 of the k n numbers need no bits, and eight bits in place of four in k columns."""
    method = PCASplit(rate_bits=4.0)
    layer, moments, x = case(method)
    quantized = method.quantize(layer, activations=moments)
    point = measure(layer, quantized, moments=moments.moments)
    effective = effective_layer(decode(encode(quantized.weight).data))
    ran = np.mean((x @ layer.weight.T - effective.apply(x)) ** 2) / N
    assert point.distortion == pytest.approx(ran, rel=1e-6)
    assert point.symbol_bpw == 4 + 4 * 8 / N == quantized.symbol_rate_bits
    m = len(layer.weight)
    axes = 16 * (8 * N - 36) + 16
    assert effective.input_map.bits == axes + 64  # the seed of the rotation before it
    assert point.overhead_bpw * m * N >= axes + 16 * m
    assert point.overhead_bpw * m * N - axes - 16 * m < 8 * (N + 80)  # exponents of columns, head and checksums
    row = result_row(layer, method, quantized, activations=ActivationInputs(moments)).to_row()
    assert (row["activation_bits"], row["activation_fine_channels"], row["activation_fine_bits"], row["rotation"]) == (4, 8, 8, "hadamard")
    assert (row["method"], row["low_rank"]) == ("pca-split-w4a4-r0.125", 0)


def test_it_is_below_a_low_rank_term_of_the_same_rank_in_fewer_bits():
    """It takes the massive channels out of what four bits have to hold; the term of LRC leaves them in."""
    term, split, base = (
        lost(m(rate_bits=4.0)) for m in (LRC, lambda rate_bits: PCASplit(rate_bits=rate_bits, share=0.1), WeightActivation)
    )
    assert split.distortion < 0.5 * term.distortion
    assert term.distortion < base.distortion
    assert split.total_bpw < term.total_bpw


@pytest.mark.parametrize(("channels", "fine"), [(1, 0), (2, 1), (3, 1)])
def test_layers_of_few_inputs_keep_a_channel_of_each_kind(channels, fine):
    x = inputs(0, 40, channels, massive=False)
    _, moments, _ = case(PCASplit(rate_bits=4.0, share=0.01), x=x, rows=1)
    assert moments.grid.fine_channels == fine
    assert np.isfinite(lost(PCASplit(rate_bits=4.0, share=0.99), x=x, rows=1).distortion)


def test_inputs_of_low_rank_and_dead_channels_are_quantized():
    """Fewer tokens than inputs, and a channel that is always zero: the factor is damped, and the error small."""
    x = inputs(0, 20, N)
    x[:, 7] = 0
    point = lost(PCASplit(rate_bits=4.0), x=x)
    assert 0 < point.relative_distortion < 0.02


def test_one_massive_channel_is_taken_out():
    """10⁴ times the rest: it is in the subspace, and the others are rounded as without it."""
    x = inputs(0, 16 * N, N, massive=False)
    plain = lost(PCASplit(rate_bits=4.0), x=x)
    x[:, 5] *= 1e4
    assert lost(PCASplit(rate_bits=4.0), x=x).relative_distortion < plain.relative_distortion


def test_the_searched_ratio_is_that_of_least_output_error():
    """Against every candidate on all tokens; the row has it, and names tell the search from a ratio that is set."""
    x = inputs(0, 16 * N, N)
    method = parse_method("rtn-w4a4(activation_clip=none)+hadamard", 4)
    assert format_method(method) == "rtn-w4a4(activation_clip=none)+hadamard"
    layer, moments, _ = case(method, x=x)
    assert method.needs_sample
    mapped, W = moments.input_map.apply(x[:512]), moments.input_map.weight(layer.weight)
    found = {}
    for clip in method.clips:
        grid = parse_method(f"rtn-w4a4(activation_clip={clip})+hadamard", 4).activation
        found[clip] = np.sum(((mapped - grid.quantize(mapped)) @ W.T) ** 2)
    assert moments.grid.clip == min(found, key=found.get)
    assert 0.5 < moments.grid.clip < 1
    quantized = method.quantize(layer, activations=moments)
    row = result_row(layer, method, quantized, activations=ActivationInputs(moments)).to_row()
    assert row["activation_clip"] == moments.grid.clip == decode(encode(quantized.weight).data).parts.activation.clip
    assert found[moments.grid.clip] < found[1.0]
    with pytest.raises(UsageError, match="q_proj: no sample of activations, which the clipping ratio is searched on"):
        method.choose_grid([layer], None, moments.input_map)
    x[3, 7] = np.nan
    with pytest.raises(NotFiniteInput, match="q_proj: sample of activations: 1 of"):
        method.choose_grid([layer], x, moments.input_map)
    with pytest.raises(UsageError, match=r"quantized by ActivationGrid\(bits=4.*expected ActivationGrid\(bits=4"):
        parse_method("rtn-w4a4(activation_clip=1.0)+hadamard", 4).quantize(layer, activations=moments)
    split = parse_method("pca-split-w4a4-r0.125(activation_clip=none)", 4)
    assert 0.5 < case(split)[1].grid.clip < 1


@pytest.mark.parametrize(("settings", "message"), [
    ({"share": 0.0}, "share 0.0 of the inputs"),
    ({"share": 1.0}, "share 1.0"),
    ({"fine_bits": 9}, "fine_bits 9, expected a whole number from 2 to 8"),
    ({"weight_bits": 0}, "weight_bits 0"),
    ({"activation_bits": None}, "activation_bits None"),
])  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(UsageError, match=f"PCASplit: {message}"):
        PCASplit(rate_bits=4.0, **settings)


def test_what_does_not_belong_to_it_is_refused():
    method = PCASplit(rate_bits=4.0)
    layer, moments, _ = case(method)
    with pytest.raises(UsageError, match="q_proj: no moments of activations"):
        method.quantize(layer)
    with pytest.raises(UsageError, match=r"expected a map that begins with .* likely of another seed"):
        method.quantize(layer, activations=moments, seed=1)
    with pytest.raises(UsageError, match="likely of another seed, rotation or input"):
        WeightActivation(rate_bits=4, rotation="auto").quantize(layer, activations=moments)
    with pytest.raises(RateUnreachable, match="most of its weights have 4; ask for that"):
        PCASplit(rate_bits=3.0).quantize(layer, activations=moments)
