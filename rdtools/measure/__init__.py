"""Measurement: distortion and rate of what was really coded. Imports no theory."""

import sys
from types import ModuleType

from rdtools.hessians.layer import Layer
from rdtools.measure.distortion import weighted_error as weighted_error
from rdtools.measure.drifted import drifted_error as drifted_error
from rdtools.measure.point import measure as measure
from rdtools.records import QuantizedLayer, RDPoint


class _CallableModule(ModuleType):
    """Importing a sub-package binds its name in the parent, so ``rdtools.measure`` is this module; calling it measures."""

    def __call__(self, layer: Layer, quantized: QuantizedLayer) -> RDPoint:
        return measure(layer, quantized)


sys.modules[__name__].__class__ = _CallableModule
