"""KL of the embedded model with its output head alone quantized, rows with equal steps or with steps by how much their class matters.

The method ``softwater``: WaterSIC on the head's rows divided by their steps β, which are stored; ε smooths the predictions that the steps
are made of, and ε = 1 is WaterSIC. Rates are of coded files, with β in them. H and the class variances behind β are of calibration tokens,
KL and the second-order proxy ½ Σ λ_k e_k H e_kᵀ of held-out ones; bars are 95 % bootstrap intervals over sequences.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from rdtools.coding import encode, reconstruct
from rdtools.evaluation.rows import model_scores
from rdtools.evaluation.scores import TokenScores, compare_logits
from rdtools.evaluation.windows import Windows, cut
from rdtools.methods import parse_method
from rdtools.model.checkpoint import EMBEDDED, find_model
from rdtools.model.pretrained import load_model
from rdtools.model.tokens import embedded_tokens
from rdtools.moments.layer import Layer
from rdtools.records import Hessian
from rdtools.report.figures.head import draw as draw
from rdtools.theory import output_head

RATES, SMOOTHING = (1.5, 2.0, 3.0), (1.0, 0.3, 0.1, 0.01)
#: Windows of calibration and of held-out tokens.
WINDOWS = 64


def _states(model: torch.nn.Module, windows: Windows) -> Iterator[tuple[torch.Tensor, NDArray[np.int64]]]:
    """Inputs of the head, (b, L, n), with the windows."""
    seen: list[torch.Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        for ids in windows.batches(2048):
            with torch.no_grad():
                model(input_ids=torch.from_numpy(ids), use_cache=False)
            yield seen.pop(), ids
    finally:
        hook.remove()


def _moments(states: list[tuple[torch.Tensor, NDArray[np.int64]]], weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """E[x xᵀ], and E[p] and E[p (1 − p)] of every class."""
    moment, mean, square, count = 0.0, 0.0, 0.0, 0
    for state, _ in states:
        x = state.reshape(-1, state.shape[-1])
        p = torch.softmax((x @ weight.T).double(), dim=-1)
        moment, mean, square = moment + x.double().T @ x.double(), mean + p.sum(0), square + (p * p).sum(0)
        count += len(x)
    parts = [np.asarray(part) / count for part in (moment, mean, square)]
    return parts[0], parts[1], parts[1] - parts[2], count


def run(rates: tuple[float, ...] = RATES, smoothing: tuple[float, ...] = SMOOTHING, windows: int = WINDOWS) -> pd.DataFrame:
    """A row for each rate and ε."""
    model = load_model(find_model(EMBEDDED))
    weight = model.get_output_embeddings().weight.detach()
    seen, held = (cut(embedded_tokens(part), 256, most=windows) for part in ("calibration", "evaluation"))
    moment, mean, variances, count = _moments(list(_states(model, seen)), weight)
    states = list(_states(model, held))
    tested, _, classes, _ = _moments(states, weight)
    full, (rows, columns) = weight.double().numpy(), weight.shape
    head = Hessian(moment, count, name="head", output_variances=np.asarray(variances), output_means=np.asarray(mean))
    layer = Layer.of(full, head, name="head")
    found = []
    for bits in rates:
        for epsilon in smoothing:
            lam = output_head.smoothed_variances(mean, variances, epsilon)
            steps = output_head.row_steps(lam)
            name = "watersic" if epsilon == 1 else f"softwater(smoothing={epsilon})"
            quantized = parse_method(name, bits).quantize(layer).weight
            decoded = reconstruct(quantized)
            error = full - decoded
            other = torch.from_numpy(decoded).float()
            scores = TokenScores.joined([compare_logits(x @ weight.T, x @ other.T, ids) for x, ids in states])
            kl = model_scores(scores, held, seed=0)
            found.append(
                {
                    "target_bpw": bits,
                    "smoothing": epsilon,
                    "total_bpw": 8 * len(encode(quantized).data) / (rows * columns),
                    "class_gain_bpw": output_head.class_gain_bits(lam),
                    "step_ratio": float(steps.max() / steps.min()),
                    "largest_step_ratio": output_head.largest_step_ratio(epsilon, rows),
                    "proxy_nats": output_head.kl_proxy_nats(np.einsum("ki,ij,kj->k", error, tested, error, optimize=True), classes),
                    "kl_nats": kl.kl_nats,
                    "kl_low": kl.kl_low,
                    "kl_high": kl.kl_high,
                    "perplexity": kl.perplexity,
                    "perplexity_original": kl.perplexity_original,
                }
            )
    return pd.DataFrame(found)
