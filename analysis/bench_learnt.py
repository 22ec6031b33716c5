"""Coding and decoding under models that the decoder learns, against the scalar sweep that decides as many integers."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from rdtools.analysis.bench_measure import Case, Contestant
from rdtools.analysis.bench_ops import DrawnLayer

from rdtools import coding, ops
from rdtools.linalg import cholesky
from rdtools.records import AdaptiveModel, Basis, GaussianModel, QuantizedWeight, ScalarSymbols, UniformGrid

#: Columns of a group, and the time aimed at in sweeps; one group of all columns is the other way.
GROUP, MOST, MOST_IN_ONE = 512, 6.0, 20.0


def build_learnt(n: int) -> Iterator[Case]:
    """Integers of a sweep in groups of GROUP columns, and in one group; the loss is what is longer than in one, or wrong."""
    drawn = DrawnLayer.draw(n)
    target, factor = drawn.W.astype(np.float64), cholesky(drawn.H).lower
    grid = UniformGrid(float(np.float32(0.25)), coding.octave_exponents(1.0 / np.diagonal(factor)))
    steps = grid.column_steps(n)
    sweep = functools.partial(ops.sic_sweep, target, factor, steps, residual=False)
    symbols = coding.fit_column_gaussians(ScalarSymbols(sweep()[0], grid, GaussianModel()))
    plain = symbols.model
    assert isinstance(plain, GaussianModel)

    def weight(columns: int) -> QuantizedWeight:
        model = AdaptiveModel(plain.weight_std, plain.noise_variance, plain.row_exponents, columns, 6)
        return QuantizedWeight(Basis(n, np.ones(n, dtype=bool)), ScalarSymbols(symbols.integers, grid, model))

    shortest = len(coding.encode(weight(n)).data)

    def longer(coded: Any) -> float:
        return len(coded.data) / shortest - 1

    def wrong(decoded: Any) -> float:
        return float(np.mean(decoded.symbols.integers != symbols.integers))

    contestants = []
    for columns, most in ((min(GROUP, n), MOST), (n, MOST_IN_ONE)):
        data, aim = coding.encode(weight(columns)).data, most if n == 4096 else None
        encode, decode = functools.partial(coding.encode, weight(columns)), functools.partial(coding.decode, data)
        ways = (("coding", encode, longer), ("decoding", decode, wrong))
        contestants += [Contestant(f"rdtools, {way} in groups of {columns}", "int32", run, loss, aim) for way, run, loss in ways]
    unlearnt = QuantizedWeight(Basis(n, np.ones(n, dtype=bool)), symbols)
    contestants.append(Contestant("models that are not learnt", "int32", functools.partial(coding.encode, unlearnt), longer))
    yield Case(n, n, "one float64 sweep", sweep, contestants)
