"""Theory as curves: rows of (layer, curve, rate, distortion) that figures draw and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.compare.bounds import BOUNDS, RD_BOUND
from rdtools.compare.facts import LayerFacts, layer_facts
from rdtools.compare.predictions import MAX_FEEDBACK_BITS
from rdtools.linalg import cholesky
from rdtools.moments.layer import Layer
from rdtools.moments.per_hessian import per_hessian
from rdtools.moments.spectrum import active_channels
from rdtools.records import CURVE_COLUMNS, Hessian
from rdtools.theory import sic
from rdtools.theory.finite_rate import FINITE_RATE_COLUMNS, Cancellation
from rdtools.theory.high_rate import UNIVERSALITY_BITS, bound_distortion

#: Curves beside those of `rdtools.compare.bounds`: what some codebook that knows nothing of H attains; what no method passes on weights of
#: this distribution, whatever it is; and high-rate predictions in the unrotated basis.
UNIVERSAL, SHANNON = "rd_bound_universal", "shannon_lower_bound"
PREDICTIONS = {"hrtn": sic.rtn_distortion, "hptq": sic.gptq_distortion, "watersic": sic.watersic_distortion}


#: Schemes whose curve is also predicted at finite rate, in the unrotated basis: name → column steps from the Cholesky diagonal.
FINITE_RATE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "hptq at finite rate": lambda diagonal: np.ones_like(diagonal),
    "watersic at finite rate": lambda diagonal: 1.0 / diagonal,
}
#: Octaves between the steps of two points of such a curve, up to this number of columns and beyond: a point costs n³.
_STEP_OCTAVES, _FINE_COLUMNS, _COARSE_STEP_OCTAVES = 0.5, 1024, 1.0

_Points = dict[str, list[tuple[float, float]]]


@per_hessian
def _finite_rate_points(hessian: Hessian, top: float) -> _Points:
    """(rate, distortion) per weight of each scheme, for weights of variance one, at rates up to `top` with less than MAX_FEEDBACK_BITS."""
    active = active_channels(hessian.matrix)
    share = float(active.mean())
    factor = cholesky(hessian.matrix[np.ix_(active, active)], name=hessian.name).lower
    stride = _STEP_OCTAVES if len(factor) <= _FINE_COLUMNS else _COARSE_STEP_OCTAVES
    octaves = 0.5 * np.log2(2 * np.pi * math.e) - top / share + np.arange(0.0, top / share + 2.5, stride)
    points: _Points = {}
    cancellation, ones = Cancellation(factor), np.ones(len(factor))
    for name, steps_of in FINITE_RATE.items():
        steps = steps_of(np.diagonal(factor))
        steps = steps / np.exp2(np.mean(np.log2(steps)))
        at_octaves = [cancellation.at(2.0**octave * steps, ones) for octave in octaves]
        points[name] = [
            (share * point.rate_bits, share * point.distortion) for point in at_octaves if point.feedback_bits < MAX_FEEDBACK_BITS
        ]
    return points


def theory_curves(layer: Layer, rates: NDArray[np.float64], facts: LayerFacts | None = None) -> Iterator[dict[str, Any]]:
    """Bounds and predictions of a layer at rates in bits per weight; no prediction with feedback for a singular H.

    The curves at finite rate have rates of their own, up to the highest asked for; they end where fed-back errors add MAX_FEEDBACK_BITS,
    as predictions of rows do, and are left out above FINITE_RATE_COLUMNS columns.
    """
    facts = layer_facts(layer) if facts is None else facts
    spectrum, variance, active_fraction = facts.spectrum, facts.row.weight_variance, float(layer.active.mean())
    curves: _Points = {name: _pairs(rates, bound.distortion(facts, rates)) for name, bound in BOUNDS.items()}
    curves = {name: points for name, points in curves.items() if not any(math.isnan(distortion) for _, distortion in points)}
    if spectrum.has_eigenvalues:
        curves[UNIVERSAL] = _pairs(rates + active_fraction * UNIVERSALITY_BITS, RD_BOUND.distortion(facts, rates))
    negentropy = active_fraction * facts.row.weight_negentropy_bpw
    if spectrum.rank == spectrum.active > 0 and not math.isnan(negentropy):
        curves[SHANNON] = _pairs(rates, np.array([bound_distortion(spectrum, float(rate) + negentropy, variance) for rate in rates]))
    for name, predict in PREDICTIONS.items():
        if name == "hrtn" or spectrum.rank == spectrum.active:
            curves[name] = _pairs(rates, np.array([predict(spectrum, float(rate), variance) for rate in rates]))
    if 0 < spectrum.rank == spectrum.active <= FINITE_RATE_COLUMNS and rates.max(initial=0) > 0:
        for name, points in _finite_rate_points(layer.hessian, float(rates.max())).items():
            curves[name] = [(rate, variance * distortion) for rate, distortion in points]
    for name, points in curves.items():
        for rate, distortion in points:
            yield dict(zip(CURVE_COLUMNS, (layer.key.name, name, rate, distortion), strict=True))


def _pairs(rates: NDArray[np.float64], distortions: NDArray[np.float64]) -> list[tuple[float, float]]:
    return list(zip(rates.tolist(), distortions.tolist(), strict=True))
