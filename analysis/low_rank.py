"""The error of four-bit weights and activations beside a low-rank term on unquantized activations, by its rank and its bits.

A layer of 256 × 256 whose inputs have a covariance of eigenvalues i^−0.7 in a random basis and three massive channels, rotated by a
Hadamard matrix; weights with singular values i^−β in random bases, independent normal ones for β = 0. Distortion is drawn over held-out
tokens, the bound is of the calibration tokens, of which D is in the rows too. Beside it GPTQ and WaterSIC with the bits of the factors in
the weights, which leave the noise of the activations: at 16 bits it is all that is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from rdtools.arrays import Float64Array
from rdtools.coding.reconstruct import effective_layer
from rdtools.measure import error, measure
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.quantizers import LRC, WaterSIC, WeightActivation
from rdtools.records import ActivationMoments, LayerParts, QuantizedLayer
from rdtools.report.figures.low_rank import LOOKS as LOOKS
from rdtools.report.figures.low_rank import draw as draw
from rdtools.theory.low_rank import reduced_rank_bound, tail_energy

SIZE = 256
TOKENS = (16384, 8192)
BETAS = (0.0, 0.5)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)


def inputs(tokens: int, generator: np.random.Generator, basis: Float64Array) -> Float64Array:
    """Tokens (t, n) with massive channels."""
    powers = np.arange(1, SIZE + 1) ** -0.7
    x = (generator.standard_normal((tokens, SIZE)) * np.sqrt(powers / powers.mean())) @ basis.T
    x[:, :3] *= [20, 30, 60]
    return np.asarray(x)


def weights(beta: float, generator: np.random.Generator) -> Float64Array:
    """(n, n) with singular values i^−β, or independent normal."""
    if beta == 0:
        return np.asarray(generator.standard_normal((SIZE, SIZE)) / np.sqrt(SIZE))
    left, right = (np.linalg.qr(generator.standard_normal((SIZE, SIZE)))[0] for _ in range(2))
    return np.asarray((left * np.arange(1, SIZE + 1) ** -beta) @ right.T)


#: Bits of weights without a term: about as many as the factors of each rank make, and 16, which stand for weights as they are.
BITS = (4, 5, 7, 10, 14, 16)


@dataclass(frozen=True, kw_only=True)
class CodedBeside(WeightActivation):
    """WaterSIC's weights, entropy-coded, at `rate_bits` in all, beside the activations of `WeightActivation`."""

    def check_reachable(self, name: str) -> None:
        """Any rate that WaterSIC has."""

    def quantize(self, layer: Layer, *, seed: int = 0, activations: ActivationMoments | None = None) -> QuantizedLayer:
        """WaterSIC's answer in the same basis, with the grid of the activations beside it."""
        assert activations is not None
        answer = WaterSIC(rate_bits=self.rate_bits, rotation=self.rotation).quantize(layer, seed=seed)
        return replace(answer, weight=replace(answer.weight, parts=LayerParts(activations.grid)))


def methods(shares: tuple[float, ...]) -> Iterator[tuple[str, float, WeightActivation]]:
    """Correction, share of the rank and method; GPTQ and WaterSIC with as many bits as the factors of each rank make."""
    for bits in BITS:
        yield "none", 0.0, WeightActivation(rate_bits=bits, weight_bits=bits, rotation="auto")
    for bits in BITS[:-2]:
        yield "none, entropy-coded", 0.0, CodedBeside(rate_bits=bits, rotation="auto")
    for correction in ("joint", "svd", "weights"):
        for share in shares:
            yield correction, share, LRC(rate_bits=4, rank=share, correction=correction)


def run(betas: tuple[float, ...] = BETAS, shares: tuple[float, ...] = SHARES) -> pd.DataFrame:
    """A row for each β, correction and rank."""
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((SIZE, SIZE)))[0]
    x, held = (inputs(tokens, generator, basis) for tokens in TOKENS)
    rows = []
    for beta in betas:
        weight = weights(beta, generator)
        layer, other = Layer.from_activations(weight, x), Layer.from_activations(weight, held)
        known: dict[str, tuple[ActivationMoments, ...]] = {}
        for correction, share, method in methods(shares):
            key = f"{method.map_key(seed=0)} {method.activation}"
            if key not in known:
                known[key] = tuple(_summed(method, layer, of) for of in (x, held))
            moments, unseen = known[key]
            answer = method.quantize(layer, activations=moments)
            point = measure(layer, answer, moments=moments.moments)
            rows.append({
                "beta": beta,
                "correction": correction,
                "rank_share": share,
                "rank": point.low_rank,
                "total_bpw": point.total_bpw,
                "factors_bpw": point.low_rank_bpw,
                "distortion": point.distortion,
                "heldout_distortion": error(other, effective_layer(answer.weight), unseen.moments).mean,
                "reduced_rank_bound_distortion": reduced_rank_bound(weight, moments.moments, point.low_rank),
                "tail_energy": tail_energy(np.linalg.svd(weight, compute_uv=False), point.low_rank),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _summed(method: WeightActivation, layer: Layer, x: Float64Array) -> ActivationMoments:
    chain = method.choose_map([layer], None, seed=0)
    sums = ActivationAccumulator(chain, method.choose_grid([layer], None, chain))
    sums.add(x)
    return sums.finish(x.T @ x / len(x), name="synthetic input")
