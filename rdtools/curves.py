"""Theory as curves: rows of (layer, curve, rate, distortion) that figures draw and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.compare import Limits, layer_limits
from rdtools.hessians.layer import Layer
from rdtools.theory import sic
from rdtools.theory.waterfilling import distortion_rate

#: Columns of the rows.
CURVE_COLUMNS = ("layer", "curve", "rate_bits", "distortion")

#: Curve names: the two limits, and high-rate predictions in the natural basis.
LIMIT, JOINT_LIMIT = "limit", "joint limit"
PREDICTIONS = {"rtn": sic.rtn_distortion, "gptq": sic.gptq_distortion, "watersic": sic.watersic_distortion}


def theory_curves(layer: Layer, rates: NDArray[np.float64], limits: Limits | None = None) -> Iterator[dict[str, Any]]:
    """Limits and predictions of a layer at rates in bits per weight; no prediction with feedback for a singular H."""
    spectrum = layer.spectrum
    limits = layer_limits(layer) if limits is None else limits
    curves: dict[str, NDArray[np.float64]] = {
        LIMIT: distortion_rate(rates, limits.mean).distortion,
        JOINT_LIMIT: distortion_rate(rates, limits.joint).distortion,
    }
    for name, predict in PREDICTIONS.items():
        if name == "rtn" or spectrum.rank == spectrum.live:
            curves[name] = np.array([predict(spectrum, float(rate), layer.weight_variance) for rate in rates])
    for name, distortions in curves.items():
        for rate, distortion in zip(rates, distortions, strict=True):
            yield dict(zip(CURVE_COLUMNS, (layer.key.name, name, float(rate), float(distortion)), strict=True))
