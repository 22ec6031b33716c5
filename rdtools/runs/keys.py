"""Keys of finished rows: hashes of everything that decides the numbers of a row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from rdtools.runs.numbers import NUMBERS_VERSION, VERDICTS_VERSION


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def layer_key(layer: str, *, weights: Mapping[str, str], hessian: str, heldout: str = "", tokens: Sequence[int | None]) -> str:
    """Key of a layer: its name, its weights and the second moment of its input.

    Parameters
    ----------
    layer : name
    weights : SHA-256 of the weight files of the model, by file name
    hessian : SHA-256 of the Hessian's file
    heldout : that of the held-out moment; "" without one
    tokens : numbers of tokens that rows state: counted, dropped and distinct
    """
    return _digest(layer, dict(weights), hessian, heldout, list(tokens))


def row_key(layer: str, *, settings: str, rate_bits: float, seed: int) -> str:
    """Key of a row.

    Parameters
    ----------
    layer : key of the layer, from `layer_key`
    settings : of the quantizer, all but its rate
    rate_bits : target rate
    seed : of the run

    Examples
    --------
    >>> first, second = (row_key("k", settings="RTN()", rate_bits=rate, seed=0) for rate in (2.0, 3.0))
    >>> first == second, first == row_key("k", settings="RTN()", rate_bits=2, seed=0)
    (False, True)
    """
    return _digest("row", NUMBERS_VERSION, layer, settings, float(rate_bits), seed)


def curves_key(layer: str, *, rates: Sequence[float]) -> str:
    """Key of the theory curves of a layer, tabulated at these rates."""
    return _digest("curves", NUMBERS_VERSION, layer, [float(rate) for rate in rates])


def verdict_key(layer: str, *, model: str, claim: str, statement: str, seed: int) -> str:
    """Key of the verdict of a claim on a layer.

    Parameters
    ----------
    layer : key of the layer, from `layer_key`
    model : its name in the run: some claims speak of one model
    claim, statement : name of the claim, and its formula
    seed : of everything that is drawn
    """
    return _digest("verdict", NUMBERS_VERSION, VERDICTS_VERSION, layer, model, claim, statement, seed)
