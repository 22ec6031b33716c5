"""A block of Llama-3.2-1B's shapes through the whole job, stage by stage, beside a floor of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from rdtools.analysis import bench_peers as peers
from rdtools.analysis.bench_measure import Case, Contestant
from rdtools.analysis.capture_memory import _LLAMA_1B, write_checkpoint

from rdtools.compare import layer_facts
from rdtools.compare.bounds import BOUNDS
from rdtools.compare.predictions import predict
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.measure import measure
from rdtools.measure.point import coded
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.quantizers import prepare
from rdtools.runs.store import open_run

METHODS, RATE, SEQUENCES = ("hptq", "watersic"), 3.0, 24


def _products(shapes: list[tuple[int, int, int]], dtype: torch.dtype) -> Callable[[], None]:
    """Matrix products (m, k) (k, n) of these m, k, n, one after another."""

    def multiply() -> None:
        for m, k, n in shapes:
            torch.mm(torch.ones(m, k, dtype=dtype), torch.ones(k, n, dtype=dtype))

    return multiply


def _stage(rows: int, n: int, name: str, run: Callable[[], Any], floor_name: str, floor: Callable[[], Any], dtype: str = "float64") -> Case:
    return Case(rows, n, floor_name, floor, [Contestant(f"rdtools, {name}", dtype, run)], once=True)


def _write_inputs(folder: Path, n: int) -> None:
    """A checkpoint of one block of n columns, with everything in proportion, and SEQUENCES sequences of n/4 tokens."""
    config = _LLAMA_1B | {"num_hidden_layers": 1, "hidden_size": n, "intermediate_size": 4 * n, "head_dim": n // 32}
    config["vocab_size"] = vocabulary = 128256 * n // 2048
    write_checkpoint(folder / "model", config)
    np.save(folder / "tokens.npy", np.random.default_rng(0).integers(0, vocabulary, (SEQUENCES, max(n // 4, 16))))


def build_block(n: int) -> Iterator[Case]:
    """Capture, facts, and for each of METHODS at RATE bits factors, integers with their rate search, a file that is decoded, the distortion
    of what was decoded, and theory. Every stage runs once, as in a report: what a stage before has computed is there.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder, n)
        tokens = SEQUENCES * max(n // 4, 16)
        shapes = [(n, n), (n // 4, n), (n // 4, n), (n, n), (4 * n, n), (4 * n, n), (n, 4 * n)]
        rows, sums = sum(m for m, _ in shapes), [(width, tokens, width) for width in (n, n, n, 4 * n)]
        forward, gram = _products([(tokens, k, m) for m, k in shapes], torch.float32), _products(sums, torch.float64)

        def capture() -> None:
            collect(str(folder / "model"), CalibrationRequest(tokens=folder / "tokens.npy"), out=folder / "run")

        yield _stage(rows, n, "capture", capture, "products of the layers and sums of the inputs", lambda: (forward(), gram()), "float32")
        run = open_run(folder / "run", verified=True)
        layers = [run[layer] for layer in run]
        yield from _stages(layers, rows, n)


def _stages(layers: list[Layer], rows: int, n: int) -> Iterator[Case]:
    """The stages that follow the capture."""
    moments = list({id(layer.hessian): layer.hessian.matrix for layer in layers}.values())
    squares = [(layer.weight.shape[0], layer.weight.shape[1] // 2, layer.weight.shape[1]) for layer in layers]

    def eigenvectors() -> None:
        for moment in moments:
            scipy.linalg.eigh(moment, driver="evr", check_finite=False)

    def factors() -> None:
        for moment in moments:
            scipy.linalg.cholesky(moment + 1e-6 * np.trace(moment) / len(moment) * np.eye(len(moment)), check_finite=False)

    facts: list[Any] = []
    yield _stage(rows, n, "facts", lambda: facts.extend(map(layer_facts, layers)), "eigenvectors of each input by LAPACK", eigenvectors)
    for method in METHODS:
        quantizer = parse_method(method, RATE)
        settled = [quantizer.for_layer(layer, seed=0) for layer in layers]
        problems: list[Any] = []
        answers: list[Any] = []
        files: list[Any] = []

        def factor(settled: list[Any] = settled, problems: list[Any] = problems) -> None:
            problems += [prepare(layer, one.preparation, seed=0) for one, layer in zip(settled, layers, strict=True)]

        def decide(settled: list[Any] = settled, problems: list[Any] = problems, answers: list[Any] = answers) -> None:
            answers.extend(one.quantize(layer, seed=0, problem=p) for one, layer, p in zip(settled, layers, problems, strict=True))

        def code(answers: list[Any] = answers, files: list[Any] = files) -> None:
            files.extend(coded([answer.weight], [answer.key.name])[0] for answer in answers)

        def code_apart(answers: list[Any] = answers) -> None:
            for answer in answers:
                peers.range_coder(*peers.shared_symbols(answer.weight.symbols.integers))

        def distortion(answers: list[Any] = answers, files: list[Any] = files) -> None:
            for layer, answer, file in zip(layers, answers, files, strict=True):
                measure(layer, answer, file=file)

        def theory(answers: list[Any] = answers, problems: list[Any] = problems) -> None:
            for layer, fact, answer, problem in zip(layers, facts, answers, problems, strict=True):
                rate = answer.symbol_rate_bits
                predict(problem, fact.spectrum, answer.error_model, rate_bits=rate, tokens=layer.hessian.n_tokens)
                for bound in BOUNDS.values():
                    bound.distortion(fact, rate)

        stage = partial(_stage, rows, n)
        yield stage(f"{method}, factor", factor, "a Cholesky factor of each input by LAPACK", factors)
        yield stage(f"{method}, sweep", decide, "float32 matmul of m n² flops for each layer", _products(squares, torch.float32))
        yield stage(f"{method}, code", code, "a range coder under one table, there and back", code_apart)
        yield stage(f"{method}, measure", distortion, "float64 matmul of m n² flops for each layer", _products(squares, torch.float64))
        yield stage(f"{method}, predict", theory, "a Cholesky factor of each input by LAPACK", factors)
