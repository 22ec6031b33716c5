"""Files of real quantizers: their size, everything included, and the distortion of what they decode to."""

from __future__ import annotations

from dataclasses import dataclass

from rdtools.claims.evidence.base import Estimate
from rdtools.measure import measure
from rdtools.methods import format_method
from rdtools.moments.layer import Layer
from rdtools.planning.watersic_mmse import MmseWaterSIC
from rdtools.quantizers import HPTQ, HRTN, QTIP, Preparation, Problem, QuIP, QuIPSharp, WaterSIC

_CODED_RATES = (2.0, 4.0)
#: Rows for methods that search, for scales or paths.
_VECTOR_ROWS = 256


@dataclass(frozen=True, eq=False)
class CodedPoint:
    """One file: its size, side information included, and what it decodes to; with the distortion measured."""

    method: str
    total_bpw: float
    distortion: Estimate


def coded_points(layer: Layer) -> tuple[CodedPoint, ...]:
    """Files of a layer's weights by each method, measured; vectors at their published scales, whose search no bound on rates needs."""
    points, problems = [], dict[tuple[int, Preparation], Problem]()
    first_rows = Layer.of(layer.weight[:_VECTOR_ROWS], layer.hessian, name=layer.key.name)
    for rate in _CODED_RATES:
        scalar = (HRTN(rate_bits=rate), HPTQ(rate_bits=rate), WaterSIC(rate_bits=rate), WaterSIC(rate_bits=rate, lmmse=True))
        slower = (
            MmseWaterSIC(rate_bits=rate),
            QuIP(rate_bits=rate),
            *(kind(rate_bits=rate, scale="published") for kind in (QuIPSharp, QTIP)),
        )
        for quantizer, subject in [*((q, layer) for q in scalar), *((q, first_rows) for q in slower)]:
            settled = quantizer.for_layer(subject)
            key = len(subject.weight), settled.preparation
            if key not in problems:
                problems[key] = settled.prepare(subject)
            point = measure(subject, settled.quantize(subject, problem=problems[key]))
            distortion = Estimate(point.distortion, point.distortion_stderr, len(subject.weight) - 1)
            points.append(CodedPoint(format_method(quantizer), point.total_bpw, distortion))
    return tuple(points)
