"""A layer's integers in files with models that the decoder learns, beside files without."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import NotApplicable
from rdtools.claims.evidence.case import MomentCase
from rdtools.coding import decode, encode, fit_adaptive
from rdtools.coding.entropy.coset import coset_code_length
from rdtools.errors import RateUnreachable
from rdtools.moments.layer import Layer
from rdtools.quantizers import TrellisSIC
from rdtools.records import CosetSymbols

#: Few enough for every layer; learning looks at the rows alone.
STATES, RATE = 8, 3.0
#: Rows and columns of the layer that are looked at, and columns of a group.
MOST_ROWS, MOST_COLUMNS, GROUP = 256, 512, 512


@dataclass(frozen=True, eq=False)
class LearntModels:
    """The same integers under models that are learnt and under plain ones.

    Attributes
    ----------
    learnt_bits, plain_bits : sizes of the files
    decoding_faults : integers that differ after writing and reading
    """

    learnt_bits: float
    plain_bits: float
    decoding_faults: int


def gather_learnt_models(case: MomentCase, weight: Float64Array) -> LearntModels:
    """Quantize the first rows and columns of a layer, and write them both ways."""
    part = weight[:MOST_ROWS, :MOST_COLUMNS]
    if not part.any():
        raise NotApplicable("all weights are zero")
    n = part.shape[1]
    layer = Layer.of(part, case.matrix[:n, :n], name=case.name)
    try:
        plain = TrellisSIC(rate_bits=RATE, states=STATES).quantize(layer, seed=case.seed).weight
    except RateUnreachable as error:
        raise NotApplicable(f"no step has {RATE:g} bits on these few weights") from error
    assert isinstance(plain.symbols, CosetSymbols)
    symbols, _ = fit_adaptive(plain.symbols, GROUP, coset_code_length(plain.symbols))
    data = encode(replace(plain, symbols=symbols)).data
    read = decode(data).symbols
    assert isinstance(read, CosetSymbols)
    unlike = int(np.count_nonzero(read.integers != plain.symbols.integers))
    return LearntModels(8.0 * len(data), 8.0 * len(encode(plain).data), unlike)
