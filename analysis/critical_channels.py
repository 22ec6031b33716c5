"""CRVQ's distortion by the share of its critical channels, with the φ(λ) law, and by total rate, with the rate–distortion bound.

Independent normal weights of 1024 rows and 512 columns. Diagonal Hessians with lognormal entries, and the same with ten entries e² to e⁵
times as large; and a power-law covariance in a random basis with twelve channels scaled up 5 to 30 times. Codebooks of 256 words, one, and
three more for critical channels. The law holds for codes that are chosen without the Hessian; trained ones are chosen with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from rdtools.measure import measure
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import CRVQ
from rdtools.report.figures.critical_channels import HESSIANS as HESSIANS
from rdtools.report.figures.critical_channels import ORDERS
from rdtools.report.figures.critical_channels import draw as draw
from rdtools.theory.critical_channels import RESIDUAL_ERRORS, critical_share, relaxed_distortion
from rdtools.theory.vector_code_rate import vector_code_rate
from rdtools.theory.waterfilling import distortion_rate

ROWS, COLUMNS = 1024, 512
#: Critical groups of eight channels, and those with which codebooks are trained.
GROUPS, TRAINED = (0, 1, 2, 3, 4, 8, 16, 32), (0, 1, 2, 4, 8)
EPOCHS, ITERATIONS = 4, 30


def layers() -> Iterator[tuple[str, Layer]]:
    """A layer for each Hessian, all with one weight."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((ROWS, COLUMNS))
    h = rng.lognormal(0, 1, COLUMNS)
    yield "lognormal", Layer.of(weight, np.diag(h))
    h[rng.permutation(COLUMNS)[:10]] *= np.exp(rng.uniform(2, 5, 10))
    yield "ten heavy", Layer.of(weight, np.diag(h))
    scales = np.ones(COLUMNS)
    scales[rng.permutation(COLUMNS)[:12]] = rng.uniform(5, 30, 12)
    yield "correlated", Layer.of(weight, haar_moment(power_law(COLUMNS, 0.7), rng) * scales[:, None] * scales)


def quantizer(groups: int, order: str, epochs: int) -> CRVQ:
    """A method with so many critical groups; AQLM for none."""
    settings: dict[str, Any] = {"channel_order": order, "epochs": epochs, "iterations": ITERATIONS}
    return CRVQ(rate_bits=1 + 24 * groups / COLUMNS, extended=3 if groups else 0, **settings)


def run() -> pd.DataFrame:
    """A row for each Hessian, order, number of epochs and number of critical groups."""
    rows = []
    cases = [(0, "sorted", groups) for groups in GROUPS] + [(EPOCHS, order, groups) for order in ORDERS for groups in TRAINED]
    for name, layer in layers():
        h, energy = np.diagonal(layer.hessian.matrix), layer.statistics.energy
        spectrum = np.linalg.eigvalsh(layer.hessian.matrix)
        for epochs, order, groups in cases:
            if epochs == 0 and name == "correlated":
                continue  # the law is of diagonal Hessians
            share = 8 * groups / COLUMNS
            answer = quantizer(groups, order, epochs).quantize(layer)
            point = measure(layer, answer)
            bits = [8] * (4 if groups else 1)
            errors = {"basic": RESIDUAL_ERRORS[1], "extended": RESIDUAL_ERRORS[4], "variance": layer.statistics.weight_variance}
            rows.append({
                "hessian": name,
                "order": order,
                "epochs": epochs,
                "critical_groups": groups,
                "critical_share": share,
                "energy_share": critical_share(h, share),
                "code_bpw": point.symbol_bpw,
                "formula_bpw": vector_code_rate(ROWS, COLUMNS, share, codebook_bits=bits, full_order=order != "natural_rest").total,
                "total_bpw": point.total_bpw,
                "relative_distortion": point.relative_distortion,
                "pred_relative_distortion": relaxed_distortion(h, share, **errors) / energy if epochs == 0 else np.nan,
                "bound_relative_distortion": layer.statistics.weight_variance
                * float(distortion_rate(point.total_bpw, spectrum).distortion) / energy,
            })  # fmt: skip
    return pd.DataFrame(rows)
