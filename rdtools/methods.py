"""The registry of methods: the only place where a name becomes a quantizer and a quantizer a name.

A name is ``BASE``, ``BASE(setting=value,…)``, ``…+ROTATION`` and ``…+ORDER``, in this order: ``hptq``, ``gptq(group_size=64)``,
``watersic(damping=0.01)+hadamard+act-order``. `parse_method` reads it, `format_method` writes it, and ``parse(format(m)) == m``.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rdtools.errors import UnknownMethod

if TYPE_CHECKING:
    from rdtools.quantizers import Quantizer

Rates = dict[str, Any]



@dataclass(frozen=True)
class Method:
    """An entry of the registry.

    Attributes
    ----------
    name : as typed and as printed in tables
    home : dotted name of the class, or of the function of a class, that makes the quantizer
    family : methods that differ in settings alone
    description : one line
    paper : where it is published, with the version
    rates : ``{"values": […]}`` or ``{"min": …, "max": …}``, in bits per weight
    settings : in which it differs from the defaults of `home`
    color, marker : in every figure
    default : part of a report unless told otherwise
    """

    name: str
    home: str
    family: str
    description: str
    paper: str
    rates: Rates
    settings: Mapping[str, Any] = field(default_factory=dict)
    color: str = "#333333"
    marker: str = "o"
    default: bool = False

    def make(self, rate_bits: float, **settings: Any) -> Quantizer:
        """The quantizer at a rate, with further settings in place of the entry's."""
        made: Quantizer = _constructor(self.home)(rate_bits=rate_bits, **(dict(self.settings) | settings))
        return made

    def record(self) -> dict[str, Any]:
        """The entry as other programs read it: name, family, rates, paper, description."""
        keys = ("name", "family", "rates", "paper", "description", "default")
        return {key: getattr(self, key) for key in keys}


_HPTQ = "Frantar et al., GPTQ, arXiv 2210.17323; entropy-coded: WaterSIC, arXiv 2603.04956 v1, section 3"
_GPTQ = "Frantar et al., GPTQ, arXiv 2210.17323"
_RTN = "grids of the reference implementation of GPTQ, arXiv 2210.17323"
_WATERSIC = "WaterSIC, arXiv 2603.04956 v1, Algorithms 2 to 4"
_MATMUL = "High-Rate Quantized Matrix Multiplication II, arXiv 2605.13768"
_QUIP = "QuIP, arXiv 2307.13304, Algorithms 1 to 5"
_QUIP_SHARP = "QuIP#, arXiv 2402.04396"
_QTIP = "QTIP, arXiv 2406.11235, sections 3 and 4"
_OURS = "derived for this project"

#: Whole numbers of bits (the logarithm of any number of levels is a rate too), and the range of the other rates.
_WHOLE: Rates = {"values": list(range(1, 13))}
_WHOLE8: Rates = {"values": list(range(1, 9))}
_WHOLE_2_4: Rates = {"values": [2, 3, 4]}
_WHOLE_1_4: Rates = {"values": [1, 2, 3, 4]}
_ANY: Rates = {"min": 0.1, "max": 12.0}
_WIDTHS: Rates = {"min": 0.1, "max": 8.0}

_ENTRIES = (
    Method("hrtn", "rdtools.quantizers:RTN", "rtn", "Rounding to nearest with one step; pooled entropy coder", _HPTQ, _ANY, {"coding": "shared"}, "#7f7f7f", "s", default=True),
    Method("hrtn-column", "rdtools.quantizers:RTN", "rtn", "Rounding to nearest with one step; one Gaussian entropy model per column", _HPTQ, _ANY, {"coding": "column"}, "#7f7f7f", "d"),
    Method("rtn-midrise", "rdtools.quantizers:RTN", "rtn", "Rounding to nearest; absmax grid per row without a zero level", _RTN, _WHOLE, {"coding": "fixed"}, "#a5a5a5", "v", default=True),
    Method("rtn-midrise-g128", "rdtools.quantizers:RTN", "rtn", "The same with one scale per row and 128 columns", _RTN, _WHOLE, {"coding": "fixed", "group_size": 128}, "#a5a5a5", "<"),
    Method("rtn-midrise-mse", "rdtools.quantizers:RTN", "rtn", "The same with the range clipped to the least error of each row", _RTN, _WHOLE, {"coding": "fixed", "grid": "mse"}, "#a5a5a5", "^"),
    Method("rtn-asym", "rdtools.quantizers:RTN", "rtn", "Rounding to nearest; min-max grid per row with a zero point", _RTN, _WHOLE8, {"coding": "fixed", "symmetric": False}, "#a5a5a5", ">"),
    Method("hptq", "rdtools.quantizers:GPTQ", "gptq", "Huffman-GPTQ: error feedback with one step; pooled entropy coder", _HPTQ, _ANY, {"coding": "shared"}, "#0072B2", "o", default=True),
    Method("hptq-column", "rdtools.quantizers:GPTQ", "gptq", "Huffman-GPTQ with one Gaussian entropy model per column", _HPTQ, _ANY, {"coding": "column"}, "#0072B2", "d", default=True),
    Method("hptq-waterfilled", "rdtools.quantizers:WaterfilledGPTQ", "gptq", "WaterSIC's steps, with columns below the water level not coded", _MATMUL, _ANY, {"coding": "column"}, "#0072B2", "p"),
    Method("gptq-midrise", "rdtools.quantizers:GPTQ", "gptq", "GPTQ on an absmax grid per row without a zero level", _GPTQ, _WHOLE, {"coding": "fixed"}, "#56B4E9", "^", default=True),
    Method("gptq-midrise-mse", "rdtools.quantizers:GPTQ", "gptq", "The same with the range clipped to the least error of each row", _GPTQ, _WHOLE, {"coding": "fixed", "grid": "mse"}, "#56B4E9", "v"),
    Method("gptq-midrise-g128", "rdtools.quantizers:GPTQ", "gptq", "The same with one scale per row and 128 columns", _GPTQ, _WHOLE, {"coding": "fixed", "group_size": 128}, "#56B4E9", "<"),
    Method("gptq-midrise-g128-dynamic", "rdtools.quantizers:GPTQ", "gptq", "The same with scales from the targets of a group when it is reached", _GPTQ, _WHOLE, {"coding": "fixed", "group_size": 128, "groups": "dynamic"}, "#56B4E9", ">"),
    Method("gptq-asym", "rdtools.quantizers:GPTQ", "gptq", "GPTQ on a min-max grid per row with a zero point", _GPTQ, _WHOLE8, {"coding": "fixed", "symmetric": False}, "#56B4E9", "s"),
    Method("gptq-g128-asym", "rdtools.quantizers:GPTQ", "gptq", "The same with one scale and zero point per row and 128 columns", _GPTQ, _WHOLE8, {"coding": "fixed", "group_size": 128, "symmetric": False}, "#56B4E9", "D"),
    Method("gptq-waterfilled", "rdtools.quantizers:WaterfilledGPTQ", "gptq", "GPTQ with a whole number of bits per column, by reverse waterfilling", _MATMUL, _WIDTHS, {}, "#56B4E9", "p"),
    Method("watersic", "rdtools.quantizers:WaterSIC", "watersic", "WaterSIC: steps inverse to the Cholesky diagonal; one Gaussian entropy model per column", _WATERSIC, _ANY, {}, "#D55E00", "D", default=True),
    Method("watersic-shared", "rdtools.quantizers:WaterSIC", "watersic", "WaterSIC with a pooled entropy coder, as in the published code", _WATERSIC, _ANY, {"coding": "shared"}, "#D55E00", "X", default=True),
    Method("watersic-histogram", "rdtools.quantizers:WaterSIC", "watersic", "WaterSIC with one frequency table per column", _WATERSIC, _ANY, {"coding": "histogram"}, "#D55E00", "s"),
    Method("watersic-lmmse", "rdtools.quantizers:WaterSIC", "watersic", "WaterSIC with analytic shrinkage of every column", _WATERSIC, _ANY, {"lmmse": True}, "#009E73", "P", default=True),
    Method("watersic-lmmse-shared", "rdtools.quantizers:WaterSIC", "watersic", "The same with a pooled entropy coder", _WATERSIC, _ANY, {"coding": "shared", "lmmse": True}, "#009E73", "X"),
    Method("watersic-mmse", "rdtools.design:MmseWaterSIC", "watersic", "MMSE-SIC: WaterSIC whose ridge and order a finite-rate prediction chooses", _OURS, _ANY, {}, "#117733", "*", default=True),
    Method("watersic-published", "rdtools.quantizers:WaterSIC.published", "watersic", "WaterSIC with all settings of the paper", _WATERSIC, _ANY, {}, "#E69F00", "D"),
    Method("quip", "rdtools.quantizers:QuIP", "quip", "QuIP: two-sided incoherence processing and LDLQ with greedy passes; range searched", _QUIP, _WHOLE, {}, "#CC79A7", "h", default=True),
    Method("quip-ldlq", "rdtools.quantizers:QuIP", "quip", "QuIP with LDLQ alone", _QUIP, _WHOLE, {"adaptive": "ldlq"}, "#CC79A7", "<"),
    Method("quip-greedy", "rdtools.quantizers:QuIP", "quip", "QuIP with greedy coordinate descent alone", _QUIP, _WHOLE, {"adaptive": "greedy"}, "#CC79A7", ">"),
    Method("quip-nearest", "rdtools.quantizers:QuIP", "quip", "QuIP's incoherence processing with rounding to nearest", _QUIP, _WHOLE, {"adaptive": "nearest"}, "#CC79A7", "v"),
    Method("quip-clamp-safe", "rdtools.quantizers:QuIP", "quip", "QuIP with the feedback of bounded rows and stochastic rounding", _QUIP, _WHOLE, {"adaptive": "clamp-safe"}, "#CC79A7", "^"),
    Method("quip-published", "rdtools.quantizers:QuIP", "quip", "QuIP with all settings of the paper", _QUIP, _WHOLE, {"preset": "published"}, "#CC79A7", "s"),
    Method("quip-sharp", "rdtools.quantizers:QuIPSharp", "quip-sharp", "QuIP#: E8P lattice codebook, block LDLQ and refinement passes", _QUIP_SHARP, _WHOLE_2_4, {}, "#882255", "p", default=True),
    Method("quip-sharp-unrefined", "rdtools.quantizers:QuIPSharp", "quip-sharp", "QuIP# without refinement passes", _QUIP_SHARP, _WHOLE_2_4, {"passes": 0}, "#882255", "<"),
    Method("quip-sharp-published", "rdtools.quantizers:QuIPSharp", "quip-sharp", "QuIP# with all settings of the paper", _QUIP_SHARP, _WHOLE_2_4, {"preset": "published"}, "#882255", "s"),
    Method("qtip", "rdtools.quantizers:QTIP", "qtip", "QTIP: trellis-coded blocks of 16 columns, 12 state bits", _QTIP, _WHOLE_1_4, {}, "#332288", "H", default=True),
    Method("qtip-published", "rdtools.quantizers:QTIP", "qtip", "QTIP with all settings of the paper, 16 state bits", _QTIP, _WHOLE_1_4, {"preset": "published"}, "#332288", "s"),
)
METHODS: dict[str, Method] = {entry.name: entry for entry in _ENTRIES}
DEFAULT_METHODS = tuple(entry.name for entry in _ENTRIES if entry.default)

#: Suffix → rotation, and the orders of columns that a suffix names.
ROTATIONS: dict[str, str] = {"rotation": "auto", "hadamard": "hadamard", "haar": "haar", "kronecker": "kronecker"}
ORDERS = ("reversed", "act-order", "reversed-act-order", "min-pivot")

#: Names of version 0.1 → of 0.2. `rtn` and `gptq` are names of both, with other meanings.
RENAMED = {
    "rtn-column": "hrtn-column",
    "rtn-int": "rtn-midrise",
    "rtn-int-g128": "rtn-midrise-g128",
    "rtn-int-asym": "rtn-asym",
    "rtn-int-mse": "rtn-midrise-mse",
    "gptq-column": "hptq-column",
    "gptq-int": "gptq-midrise",
    "gptq-int-asym": "gptq-asym",
    "gptq-int-mse": "gptq-midrise-mse",
    "gptq-int-g128": "gptq-midrise-g128",
    "gptq-int-g128-dynamic": "gptq-midrise-g128-dynamic",
    "gptq-int-g128-asym": "gptq-g128-asym",
    "gptq-waterfilled-int": "gptq-waterfilled",
    "gptq-waterfilled-column": "hptq-waterfilled",
}

_NAME = re.compile(r"(?P<base>[^(+]+)(?:\((?P<settings>[^()]*)\))?(?P<suffixes>(?:\+[^+()]+)*)")
#: Written by other columns of a row, not by the name.
_APART = frozenset({"rate_bits"})
#: At which an entry is made to see its settings; every entry has this rate.
_SAMPLE_RATE = 3.0


@cache
def _constructor(home: str) -> Any:
    module, _, path = home.partition(":")
    value: Any = import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
    return value


@cache
def _sample(name: str) -> Quantizer:
    """The quantizer of an entry as it is, at a rate that all entries have."""
    return METHODS[name].make(_SAMPLE_RATE)


def _settings(quantizer: Any) -> dict[str, Any]:
    return {f.name: getattr(quantizer, f.name) for f in dataclasses.fields(quantizer) if f.name not in _APART}


def _written(value: object) -> str:
    return {None: "none", True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool | None) else f"{value}"


def _read(text: str) -> object:
    if text in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def format_method(quantizer: Quantizer) -> str:
    """Name of a quantizer, without its rate: the entry that differs from it in the fewest settings, and those settings.

    Raises
    ------
    UnknownMethod
        If no entry makes quantizers of its class.
    """
    settings = _settings(quantizer)
    choices = []
    for entry in METHODS.values():
        sample = _sample(entry.name)
        if type(sample) is type(quantizer):
            usual = _settings(sample)
            choices.append((entry.name, {key: value for key, value in settings.items() if value != usual[key]}))
    if not choices:
        raise UnknownMethod(f"{type(quantizer).__name__}: no entry of rdtools.methods makes such a quantizer")
    name, changed = min(choices, key=lambda choice: len(choice[1]))
    rotation = next((suffix for suffix, kind in ROTATIONS.items() if kind == changed.get("rotation")), None)
    order = changed.get("order") if changed.get("order") in ORDERS else None
    inside = [f"{k}={_written(v)}" for k, v in changed.items() if not (k == "rotation" and rotation) and not (k == "order" and order)]
    return name + (f"({','.join(inside)})" if inside else "") + "".join(f"+{s}" for s in (rotation, order) if s)


def parse_method(name: str, rate_bits: float, **others: Any) -> Quantizer:
    """The quantizer of a name at a rate.

    Parameters
    ----------
    name : see the module
    rate_bits : bits per weight
    others : settings that the name does not give, such as ``damping``

    Raises
    ------
    UnknownMethod
        If the name is none; the message has the nearest one, or what a name of version 0.1 is called now.
    UsageError, InvalidRate, RateUnreachable
        If the settings cannot be.

    Examples
    --------
    >>> format_method(parse_method("hptq(damping=0.01)+hadamard", 3))
    'hptq(damping=0.01)+hadamard'
    """
    match = _NAME.fullmatch(name.strip())
    base = match["base"] if match else name
    if match is None or base not in METHODS:
        raise UnknownMethod(_unknown(name, base))
    entry = METHODS[base]
    settings: dict[str, Any] = {}
    known = _settings(_sample(base))
    for part in filter(None, (match["settings"] or "").split(",")):
        key, equals, value = (text.strip() for text in part.partition("="))
        if not equals or key not in known:
            raise UnknownMethod(f"method {name!r}: {part!r}: {base} has the settings {', '.join(known)}, written {base}(setting=value)")
        settings[key] = _read(value)
    for suffix in filter(None, match["suffixes"].split("+")):
        key = "rotation" if suffix in ROTATIONS else "order" if suffix in ORDERS else None
        if key is None:
            close = difflib.get_close_matches(suffix, [*ROTATIONS, *ORDERS], n=1)
            hint = f"; did you mean +{close[0]}?" if close else ""
            raise UnknownMethod(f"method {name!r}: +{suffix} is no rotation and no order of columns{hint} `rdtools methods` lists them")
        if key not in known:
            raise UnknownMethod(f"method {name!r}: {base} has no {'order of columns' if key == 'order' else key} to choose")
        if key in settings:
            raise UnknownMethod(f"method {name!r}: got two values of {key}, expected one")
        settings[key] = ROTATIONS.get(suffix, suffix)
        if settings[key] == known[key]:
            raise UnknownMethod(f"method {name!r}: {base} has +{suffix} already; drop it, or choose another {key}")
    return entry.make(rate_bits, **({k: v for k, v in others.items() if v is not None and k in known} | settings))


def _unknown(name: str, base: str) -> str:
    if base in RENAMED:
        return f"method {name!r}: called {name.replace(base, RENAMED[base], 1)!r} since version 0.2"
    close = difflib.get_close_matches(base.lower(), METHODS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"unknown method {name!r}; {hint}`rdtools methods` lists all of them"


def make_quantizers(names: Sequence[str], rates: Sequence[float], *, damping: float | None = None) -> list[Quantizer]:
    """Every named method at every rate; raises as `parse_method` does."""
    return [parse_method(name, rate, damping=damping) for name in names for rate in rates]
