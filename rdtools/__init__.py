"""Rate-distortion theory and measurement for post-training weight quantization of language models."""

from __future__ import annotations

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING

from rdtools._version import __version__ as __version__

# In a source checkout kernels/ and analysis/ sit beside rdtools/; a wheel nests them.
_ROOT = _Path(__file__).resolve().parents[1]
if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "kernels").is_dir():
    __path__.append(str(_ROOT))


if TYPE_CHECKING:
    from rdtools import plot as plot
    from rdtools import testing as testing
    from rdtools import theory as theory
    from rdtools.claims import tightness as tightness
    from rdtools.coding import load as load
    from rdtools.compare import Compare as _Compare
    from rdtools.jobs.allocate import allocate as allocate
    from rdtools.jobs.calibration import CalibrationRequest as CalibrationRequest
    from rdtools.jobs.calibration import EvaluationRequest as EvaluationRequest
    from rdtools.jobs.evaluate import evaluate as evaluate
    from rdtools.jobs.export import export_saved as export_saved
    from rdtools.jobs.notebook import collect as collect
    from rdtools.jobs.plan import preview as preview
    from rdtools.jobs.quantize import quantize_model as quantize_model
    from rdtools.jobs.report import run_report as run_report
    from rdtools.jobs.rotate import rotate_model as rotate_model
    from rdtools.jobs.show import open_run as open_run
    from rdtools.jobs.split import split_text as split_text
    from rdtools.jobs.verify import verify as verify
    from rdtools.measure import Measure as _Measure
    from rdtools.methods import Methods as _Methods
    from rdtools.methods import quantizer as quantizer
    from rdtools.moments.layer import Layer as Layer
    from rdtools.planning.watersic_mmse import MmseWaterSIC as MmseWaterSIC
    from rdtools.quantizers import GPTQ as GPTQ
    from rdtools.quantizers import HPTQ as HPTQ
    from rdtools.quantizers import HRTN as HRTN
    from rdtools.quantizers import QTIP as QTIP
    from rdtools.quantizers import RTN as RTN
    from rdtools.quantizers import QuIP as QuIP
    from rdtools.quantizers import QuIPSharp as QuIPSharp
    from rdtools.quantizers import WaterfilledGPTQ as WaterfilledGPTQ
    from rdtools.quantizers import WaterSIC as WaterSIC
    from rdtools.records import InputMoments as InputMoments

    compare: _Compare
    measure: _Measure
    methods: _Methods

# Loaded when first used, so that `import rdtools` stays light: name → module. A name that is also a sub-module
# stands for that module.
_HOME = {
    "theory": "rdtools.theory",
    "compare": "rdtools.compare",
    "InputMoments": "rdtools.records",
    "Layer": "rdtools.moments.layer",
    "allocate": "rdtools.jobs.allocate",
    "CalibrationRequest": "rdtools.jobs.calibration",
    "EvaluationRequest": "rdtools.jobs.calibration",
    "evaluate": "rdtools.jobs.evaluate",
    "quantize_model": "rdtools.jobs.quantize",
    "export_saved": "rdtools.jobs.export",
    "rotate_model": "rdtools.jobs.rotate",
    "split_text": "rdtools.jobs.split",
    "collect": "rdtools.jobs.notebook",
    "load": "rdtools.coding",
    "plot": "rdtools.plot",
    "testing": "rdtools.testing",
    "tightness": "rdtools.claims",
    "open_run": "rdtools.jobs.show",
    "preview": "rdtools.jobs.plan",
    "run_report": "rdtools.jobs.report",
    "verify": "rdtools.jobs.verify",
    "measure": "rdtools.measure",
    "methods": "rdtools.methods",
    "quantizer": "rdtools.methods",
    "GPTQ": "rdtools.quantizers",
    "HPTQ": "rdtools.quantizers",
    "HRTN": "rdtools.quantizers",
    "MmseWaterSIC": "rdtools.planning.watersic_mmse",
    "QTIP": "rdtools.quantizers",
    "QuIP": "rdtools.quantizers",
    "QuIPSharp": "rdtools.quantizers",
    "RTN": "rdtools.quantizers",
    "WaterSIC": "rdtools.quantizers",
    "WaterfilledGPTQ": "rdtools.quantizers",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'rdtools' has no attribute {name!r}")
    module = _import_module(_HOME[name])
    value = module if _HOME[name] == f"rdtools.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
