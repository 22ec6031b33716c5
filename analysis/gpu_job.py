"""Steps of `rdtools.analysis.gpu` that take layers through the whole job on the device: basis and factor, integers and rate search, a file,
and the distortion of what was decoded from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from rdtools.analysis.gpu_block import BLOCK, Drawn, shrunk
from rdtools.analysis.gpu_steps import INTERPRET, attempt, device, synchronize

from rdtools.measure import measure
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import Quantizer
from rdtools.records import Hessian, LayerKey

#: Methods of both steps, and the rate.
METHODS, RATE = ("hptq", "watersic", "gptq", "hptq+hadamard", "hptq(precision=float32)"), 3.0
#: Inputs of a block in the order in which they are tried: what is small first.
_ORDER = ("o", "q, k, v", "down", "gate, up")


def _quantizer(name: str) -> Quantizer:
    """The method; under the interpreter tensors are in main memory, where Triton has to be asked for."""
    method = parse_method(name, RATE)
    return replace(method, backend="triton") if INTERPRET else method


def _finished(work: Callable[[], Any]) -> tuple[Any, float]:
    """The answer of a stage, and its seconds until the device is done."""
    synchronize()
    started = time.perf_counter()
    answer = work()
    synchronize()
    return answer, time.perf_counter() - started


def _whole_job(layer: Layer, name: str) -> dict[str, Any]:
    """Seconds of each stage of a method on a layer on the device, and what came out.

    Methods of one preparation share its factor, as in a sweep: where the method before had it, `prepare_s` is what is left to do.
    """
    quantizer = _quantizer(name)
    problem, prepared = _finished(partial(quantizer.prepare, layer))
    answer, decided = _finished(partial(quantizer.quantize, layer, problem=problem))
    point, measured = _finished(partial(measure, layer, answer))
    where = {"device": answer.device, "backend": answer.backend, "dtype": answer.dtype}
    seconds = {"prepare_s": prepared, "decide_s": decided, "code_and_measure_s": measured, "whole_s": prepared + decided + measured}
    return where | seconds | {"total_bpw": point.total_bpw, "relative_distortion": point.relative_distortion}


def _drawn_layer(name: str) -> Layer:
    """A layer of an input of the block, its rows stacked, drawn on the device."""
    import torch

    m, n = shrunk(*BLOCK[name])
    drawn = Drawn.draw(m, n, torch.float64)
    moment = (drawn.L @ drawn.L.T).cpu().numpy()
    # drawn exactly symmetric and positive definite: checked by `Layer.of` for minutes, to no end
    host = Layer(LayerKey("", name, name, 0), drawn.W.cpu().numpy(), Hessian(0.5 * (moment + moment.T), 0, name=name))
    return host.on(device())


def job_block() -> None:
    """One block of Llama-3-8B's shapes through the whole job, a row for each input and method; facts of layers and figures apart."""
    for name in _ORDER[:1] if INTERPRET else _ORDER:
        layers: list[Layer] = []

        def draw(name: str = name, layers: list[Layer] = layers) -> dict[str, Any]:
            layer, seconds = _finished(partial(_drawn_layer, name))
            layers.append(layer)
            return {"m": layer.weight.shape[0], "n": layer.weight.shape[1], "seconds": seconds}

        if attempt(f"layer of {name}", draw):
            for method in ("gptq",) if INTERPRET else METHODS:
                attempt(f"{method} on {name}", partial(_whole_job, layers[0], method))


def job_equal() -> None:
    """Small layers on the device against NumPy in main memory: share of equal integers, and ratio of distortions."""
    rng = np.random.default_rng(0)
    m, n = (6, 16) if INTERPRET else (256, 192)
    layer = Layer.of(rng.standard_normal((m, n)), haar_moment(power_law(n, 1.0), rng), name="small")
    for name in ("gptq",) if INTERPRET else (*METHODS, "rtn", "watersic-mmse", "watersic-published", "hptq+haar", "gptq-g128", "quip"):

        def compare(name: str = name) -> dict[str, Any]:
            quantizer, there = _quantizer(name), layer.on(device())
            ours, theirs = quantizer.quantize(there), parse_method(name, RATE).quantize(layer)
            points = measure(there, ours), measure(layer, theirs)
            agree = float((ours.weight.symbols.integers == theirs.weight.symbols.integers).mean())  # type: ignore[attr-defined]
            ratio = points[0].distortion / points[1].distortion
            # what rounding moves is at ties, and after them in its row: both are as good as each other
            good = agree > (0.9 if "float32" in name else 0.999) and abs(ratio - 1) < (1e-2 if "float32" in name else 1e-3)
            row = {"agree": agree, "distortion_ratio": ratio, "device": ours.device, "backend": ours.backend, "cpu": theirs.backend}
            return row if good else row | {"status": "failed", "message": "device and CPU differ by more than rounding"}

        attempt(f"{name}, {m} × {n}", compare)
