"""Measurement: distortion and rate of what was really coded. Imports no theory."""

import sys
from types import ModuleType

from rdtools.measure.distortion import weighted_error as weighted_error
from rdtools.measure.effective_error import error as error
from rdtools.measure.point import coded as coded
from rdtools.measure.point import measure as measure


class Measure(ModuleType):
    """Importing a sub-package binds its name in the parent: ``rdtools.measure`` is this package, and calling it is `measure`."""

    __call__ = staticmethod(measure)


sys.modules[__name__].__class__ = Measure
