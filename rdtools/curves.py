"""Theory as curves: rows of (layer, curve, rate, distortion) that figures draw and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.compare import limit_variances
from rdtools.hessians.layer import Layer
from rdtools.theory import sic
from rdtools.theory.waterfilling import distortion_rate

#: Curve names: the two limits, and high-rate predictions in the natural basis.
LIMIT, JOINT_LIMIT = "limit", "joint limit"
PREDICTIONS = {"rtn": sic.rtn_distortion, "gptq": sic.gptq_distortion, "watersic": sic.watersic_distortion}


def theory_curves(layer: Layer, rates: NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    """Limits and predictions of a layer at rates in bits per weight."""
    spectrum = layer.spectrum
    variance = float(np.mean(layer.weight[:, layer.live] ** 2)) if spectrum.live else 0.0
    curves: dict[str, NDArray[np.float64]] = {
        LIMIT: distortion_rate(rates, limit_variances(layer, joint=False)).distortion,
        JOINT_LIMIT: distortion_rate(rates, limit_variances(layer, joint=True)).distortion,
    }
    for name, predict in PREDICTIONS.items():
        if name != "watersic" or spectrum.rank == spectrum.live:
            curves[name] = np.array([predict(spectrum, float(rate), variance) for rate in rates])
    for name, distortions in curves.items():
        for rate, distortion in zip(rates, distortions, strict=True):
            yield {
                "layer": layer.key.name,
                "curve": name,
                "rate_bits": float(rate),
                "distortion": float(distortion),
            }
