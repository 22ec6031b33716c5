"""Step of `rdtools.analysis.gpu` that times how others do the same: GPTQ's loop in torch, llm-compressor, GPTQModel, a CUDA Hadamard."""

# ruff: noqa: N806 (mathematical capitals)

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from rdtools.analysis.bench_peers import BITS, gptq_factor, gptq_loop, hadamard_loop
from rdtools.analysis.gpu_block import Drawn
from rdtools.analysis.gpu_steps import INTERPRET, attempt, device, emit, milliseconds

from rdtools import ops


class _Layer:
    """One layer at four bits for everybody: a mid-rise grid from the largest magnitude of each row, no damping."""

    def __init__(self, n: int) -> None:
        drawn = Drawn.draw(n, n, torch.float32)
        self.W, self.H = drawn.W, drawn.L @ drawn.L.T
        self.scale = 2 * self.W.abs().amax(dim=1) / 2**BITS

    def loss(self, values: torch.Tensor) -> float:
        """``tr(E H Eᵀ)/tr(W H Wᵀ)``."""
        E, W = self.W.double() - values.double(), self.W.double()
        return float(((E @ self.H) * E).sum() / ((W @ self.H) * W).sum())

    def grid_loss(self, integers: torch.Tensor) -> float:
        """Loss of integers on the mid-rise grid."""
        return self.loss(self.scale[:, None] * (integers + 0.5))

    def ours(self) -> torch.Tensor:
        """GPTQ by the sweep, with its factor in float64."""
        L = torch.linalg.cholesky(self.H)
        low, high = -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1
        ones = torch.ones(len(L), device=L.device, dtype=torch.float64)
        integers, _ = ops.sic_sweep(
            self.W / self.scale[:, None], L, ones, offset=0.5, integer_min=low, integer_max=high, residual=False, backend="triton"
        )
        return integers

    def loop(self) -> torch.Tensor:
        """GPTQ's own loop from the first column to the last, on the mirrored problem: the same order of decisions."""
        T = gptq_factor(self.H.flip(0, 1).float())
        return gptq_loop(self.W.flip(1), T, self.scale).flip(1)

    def llm_compressor(self) -> torch.Tensor:
        """llm-compressor's GPTQ, a symmetric grid with one scale per row."""
        from compressed_tensors.quantization import QuantizationArgs
        from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

        scale = (2 * self.W.abs().amax(dim=1, keepdim=True) / (2**BITS - 1))[None]
        given = QuantizationArgs(num_bits=BITS, symmetric=True, strategy="channel")
        zero = torch.zeros_like(scale)
        return quantize_weight(self.W[None].clone(), self.H.float()[None].clone(), scale, zero, None, given, percdamp=1e-6)[0][0]

    def gptq_model(self) -> torch.Tensor:
        """GPTQModel's GPTQ, a symmetric grid with one scale per row, given tokens whose moment is H."""
        from gptqmodel.quantization import QuantizeConfig
        from gptqmodel.quantization.gptq import GPTQ

        linear = torch.nn.Linear(*self.W.shape[::-1], bias=False, device=self.W.device)
        linear.weight.data.copy_(self.W)
        task = GPTQ(linear, QuantizeConfig(bits=BITS, group_size=-1, desc_act=False, sym=True))
        n = len(self.H)
        # n tokens √n Lᵀ have the second moment L Lᵀ
        tokens = (n**0.5 * torch.linalg.cholesky(self.H).T).float()
        task.add_batch(tokens[None], linear(tokens[None]))
        return task.quantize()[0]


def _row(work: Callable[[], torch.Tensor], loss: Callable[[torch.Tensor], float], n: int) -> dict[str, Any]:
    times = milliseconds(work, budget_s=6.0, most=5)
    return {"n": n, **times, "relative_loss": loss(work())}


def peers() -> None:
    """GPTQ end to end on one square layer, factorization included, and the Hadamard transform; what is not installed is named."""
    n = 32 if INTERPRET else 4096
    layer = _Layer(n)
    attempt("rdtools, float64 factor, float32", lambda: _row(layer.ours, layer.grid_loss, n))
    attempt("GPTQ loop in torch, float32", lambda: _row(layer.loop, layer.grid_loss, n))
    for package, name, work in (("llmcompressor", "llm-compressor", layer.llm_compressor), ("gptqmodel", "GPTQModel", layer.gptq_model)):
        if find_spec(package) is None:
            emit(name, status="missing", message=f"the package {package} is not installed; nothing else needs it")
        else:
            attempt(name, lambda work=work: _row(work, layer.loss, n), version=version(package))
    x = torch.randn(n, n, device=device())
    attempt("Hadamard butterfly in torch", lambda: {"n": n, **milliseconds(lambda: hadamard_loop(x), budget_s=2.0)})
    if find_spec("fast_hadamard_transform") is None:
        emit("fast-hadamard-transform", status="missing", message="the package is not installed; nothing else needs it")
        return

    def fast() -> dict[str, Any]:
        from fast_hadamard_transform import hadamard_transform

        return {"n": n, **milliseconds(lambda: hadamard_transform(x, n**-0.5))}

    attempt("fast-hadamard-transform", fast, version=version("fast_hadamard_transform"))
