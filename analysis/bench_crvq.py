"""CRVQ against the published algorithm in plain torch, over the products that its searches need."""

# ruff: noqa: N806 (mathematical capitals)

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from rdtools.analysis import crvq_peer
from rdtools.analysis.bench_measure import Case, Contestant
from rdtools.analysis.bench_ops import DrawnLayer

from rdtools import coding
from rdtools.moments.layer import Layer
from rdtools.quantizers import CRVQ


def build_crvq(n: int) -> Iterator[Case]:
    """A whole CRVQ of 10 epochs: four codebooks of 256 words, 2 % critical channels (or the groups that 256 words need), sorted.

    The floor is what its searches multiply: each weight by 256 words and by n columns of H, an epoch.
    """
    drawn, epochs = DrawnLayer.draw(n), 10
    layer = Layer.of(drawn.W, drawn.H)
    critical = max(n // 400, -(-256 // n))
    settings: dict[str, Any] = {
        "rate_bits": 1 + 24 * critical / n, "channel_order": "sorted", "importance": "magnitude", "epochs": epochs, "tolerance": 0.0,
    }  # fmt: skip
    W, H = torch.from_numpy(drawn.W), torch.from_numpy(drawn.H.astype(np.float32))
    order = torch.argsort(-W.abs().mean(dim=0), stable=True)

    def peer() -> np.ndarray:
        return crvq_peer.quantize(W, H, order=order, critical=critical, books=4, epochs=epochs, tolerance=0.0).numpy()

    def loss(quantized: Any) -> float:
        return drawn.relative_error(coding.reconstruct(quantized.weight))

    ours, published = CRVQ(**settings), CRVQ.published(**settings)
    left, right = torch.rand(n, n), torch.rand(n, n + 256)
    product = torch.empty(n, n + 256)

    def floor() -> None:
        for _ in range(epochs):
            torch.mm(left, right, out=product)

    contestants = [
        Contestant("rdtools, least squares", "float32", functools.partial(ours.quantize, layer), loss),
        Contestant("rdtools, Adam as published", "float32", functools.partial(published.quantize, layer), loss),
        Contestant("published algorithm in plain torch", "float32", peer, drawn.relative_error),
    ]
    yield Case(n, n, "10 float32 matmuls of n²(n + 256) products", floor, contestants)
