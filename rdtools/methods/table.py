"""The table of methods: an entry is all that the rest of the package knows of a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdtools.quantizers import Quantizer

Rates = dict[str, Any]


@cache
def _constructor(home: str) -> Any:
    module, _, path = home.partition(":")
    value: Any = import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
    return value


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
    color, marker : in every figure; no two entries share both
    """

    name: str
    home: str
    family: str
    description: str
    paper: str
    rates: Rates
    settings: Mapping[str, Any]
    color: str
    marker: str

    @property
    def _fixed(self) -> tuple[str, bool]:
        return _FIXED_CODERS.get(self.home.removesuffix(".published"), ("", False))

    @property
    def fixed_coder(self) -> str:
        """Kind of its symbols of a fixed rate, which are compared with those of the same kind; empty where it has none."""
        return self._fixed[0]

    @property
    def row_scales(self) -> bool:
        """True if symbols of a fixed rate come with a scale for every row."""
        return self._fixed[1]

    @property
    def device(self) -> str:
        """The string "any" for a method that works on the torch device of a job, "cpu" for one that works in main memory whatever it is."""
        return "any" if _constructor(self.home.removesuffix(".published")).on_device else "cpu"

    def make(self, rate_bits: float, **settings: Any) -> Quantizer:
        """The quantizer at a rate, with further settings in place of the entry's."""
        quantizer: Quantizer = _constructor(self.home)(rate_bits=rate_bits, **(dict(self.settings) | settings))
        return quantizer

    def record(self) -> dict[str, Any]:
        """The entry as other programs read it."""
        return {key: getattr(self, key) for key in ("name", "family", "rates", "device", "paper", "description")}


#: Okabe and Ito's palette, distinguishable without colour vision, and a grey; yellow, which is faint on white, last.
BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, BLACK, GREY, YELLOW = PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#555555", "#F0E442",
)  # fmt: skip

_GPTQ = "Frantar et al., GPTQ, arXiv 2210.17323"
_WATERSIC = "WaterSIC, arXiv 2603.04956 v1"
_MATMUL = "High-Rate Quantized Matrix Multiplication II, arXiv 2605.13768"
_QUIP = "QuIP, arXiv 2307.13304, Algorithms 1 to 5"
_QUIP_SHARP = "QuIP#, arXiv 2402.04396 v2, sections 3 and 4"
_AQLM, _CRVQ = "AQLM, arXiv 2401.06118", "CRVQ, arXiv 2412.09282"
_QLLM = "QLLM, arXiv 2310.08041"
_RESQ = "ResQ, arXiv 2412.14363; QUAD, arXiv 2503.19353"
_QUAROT, _LRC = "QuaRot, arXiv 2404.00456", "LRC, arXiv 2412.07902"
_QTIP = "QTIP, arXiv 2406.11235, sections 3 and 4"

#: Whole numbers of bits (the logarithm of any number of levels is a rate too), and the range of the other rates.
_1_12, _2_12, _1_8, _2_4, _1_4 = ({"values": list(range(low, high + 1))} for low, high in ((1, 12), (2, 12), (1, 8), (2, 4), (1, 4)))
_ANY: Rates = {"min": 0.1, "max": 12.0}
_ONE, _TWO, _CRITICAL = ({"values": [1]}, {"values": [2]}, {"min": 1.01, "max": 4.0})
_FOUR: Rates = {"values": [4]}
_WIDTHS: Rates = {"min": 0.1, "max": 8.0}

_MIDRISE, _ASYM, _MSE, _G128 = {"grid": "midrise"}, {"grid": "asymmetric"}, {"range_rule": "mse"}, {"group_size": 128}
_DYNAMIC = _G128 | {"groups": "dynamic"}
_NEAREST, _A8, _W16 = {"rounding": "nearest"}, {"activation_bits": 8}, {"weight_bits": 16}
_PUBLISHED = {"rescale": False, "fit": "rounded"}
_A16 = {"activation_bits": None, "rotation": None}
_NO_EXTENDED = {"extended": 0, "channel_order": "natural_rest"}
_Q = "rdtools.quantizers:"
#: Home → `Method.fixed_coder` and `Method.row_scales`.
_FIXED_CODERS = {
    **{_Q + name: ("uniform grid", True) for name in ("RTN", "GPTQ", "WaterfilledGPTQ")},
    _Q + "QuIP": ("uniform grid", False),
    _Q + "QuIPSharp": ("lattice words", False),
    **{_Q + name: ("trellis path", False) for name in ("QTIP", "WaterfilledQTIP")},
    _Q + "CRVQ": ("codebooks", True),
}

#: Name, home, family, paper, rates, settings, colour, marker, description.
_ROWS: tuple[tuple[str, str, str, str, Rates, Mapping[str, Any], str, str, str], ...] = (
    ("rtn", _Q + "RTN", "rtn", _GPTQ, _2_12, {}, GREY, "v", "round to nearest; absmax grid per row with a zero level"),
    ("rtn-asym", _Q + "RTN", "rtn", _GPTQ, _1_8, _ASYM, GREY, ">", "min-max grid per row with a zero point"),
    ("rtn-mse", _Q + "RTN", "rtn", _GPTQ, _2_12, _MSE, GREY, "^", "range of each row clipped to its least error"),
    ("rtn-g128", _Q + "RTN", "rtn", _GPTQ, _2_12, _G128, GREY, "<", "a scale per row and 128 columns"),
    ("rtn-midrise", _Q + "RTN", "rtn", "", _1_12, _MIDRISE, GREY, "X", "absmax grid per row without a zero level"),
    ("rtn-midrise-mse", _Q + "RTN", "rtn", "", _1_12, _MIDRISE | _MSE, GREY, "P", "the same, clipped"),
    ("rtn-midrise-g128", _Q + "RTN", "rtn", "", _1_12, _MIDRISE | _G128, GREY, "p", "the same, a scale per row and 128 columns"),
    ("hrtn", _Q + "HRTN", "hrtn", _WATERSIC, _ANY, {}, GREY, "s", "Huffman-RTN: one step; pooled entropy coder"),
    ("hrtn-column", _Q + "HRTN", "hrtn", _WATERSIC, _ANY, {"coding": "column"}, GREY, "d", "a Gaussian entropy model per column"),
    ("gptq", _Q + "GPTQ", "gptq", _GPTQ, _2_12, {}, SKY, "^", "GPTQ: error feedback; absmax grid per row with a zero level"),
    ("gptq-asym", _Q + "GPTQ", "gptq", _GPTQ, _1_8, _ASYM, SKY, "s", "min-max grid per row with a zero point"),
    ("gptq-mse", _Q + "GPTQ", "gptq", _GPTQ, _2_12, _MSE, SKY, "v", "range of each row clipped to its least error"),
    ("gptq-g128", _Q + "GPTQ", "gptq", _GPTQ, _2_12, _G128, SKY, "<", "a scale per row and 128 columns"),
    ("gptq-g128-asym", _Q + "GPTQ", "gptq", _GPTQ, _1_8, _G128 | _ASYM, SKY, "D", "a scale and zero point per row and 128 columns"),
    ("gptq-g128-dynamic", _Q + "GPTQ", "gptq", _GPTQ, _2_12, _DYNAMIC, SKY, ">", "scales of a group from its updated weights"),
    ("gptq-midrise", _Q + "GPTQ", "gptq", _GPTQ, _1_12, _MIDRISE, SKY, "X", "absmax grid per row without a zero level"),
    ("gptq-midrise-mse", _Q + "GPTQ", "gptq", _GPTQ, _1_12, _MIDRISE | _MSE, SKY, "P", "the same, clipped"),
    ("gptq-midrise-g128", _Q + "GPTQ", "gptq", _GPTQ, _1_12, _MIDRISE | _G128, SKY, "o", "the same, a scale per row and 128 columns"),
    ("gptq-midrise-g128-dynamic", _Q + "GPTQ", "gptq", _GPTQ, _1_12, _MIDRISE | _DYNAMIC, SKY, "h", "scales from updated weights"),
    ("gptq-waterfilled", _Q + "WaterfilledGPTQ", "gptq", _MATMUL, _WIDTHS, {}, SKY, "p", "a whole number of bits per column"),
    ("hptq", _Q + "HPTQ", "hptq", _WATERSIC, _ANY, {}, BLUE, "o", "Huffman-GPTQ: error feedback, one step; pooled entropy coder"),
    ("hptq-column", _Q + "HPTQ", "hptq", _WATERSIC, _ANY, {"coding": "column"}, BLUE, "d", "a Gaussian entropy model per column"),
    ("hptq-waterfilled", _Q + "WaterfilledGPTQ", "hptq", _MATMUL, _ANY, {"coding": "column"}, BLUE, "p",
     "WaterSIC's steps; columns below the water level are not coded"),
    ("watersic", _Q + "WaterSIC", "watersic", _WATERSIC, _ANY, {}, VERMILLION, "D", "steps inverse to the Cholesky diagonal"),
    ("watersic-shared", _Q + "WaterSIC", "watersic", _WATERSIC, _ANY, {"coding": "shared"}, ORANGE, "X", "pooled entropy coder"),
    ("watersic-histogram", _Q + "WaterSIC", "watersic", _WATERSIC, _ANY, {"coding": "histogram"}, VERMILLION, "s", "histograms of columns"),
    ("watersic-lmmse", _Q + "WaterSIC", "watersic", _WATERSIC, _ANY, {"lmmse": True}, ORANGE, "<", "analytic shrinkage of every column"),
    ("watersic-lmmse-shared", _Q + "WaterSIC", "watersic", _WATERSIC, _ANY, {"coding": "shared", "lmmse": True}, ORANGE, "s",
     "the same with a pooled entropy coder"),
    ("watersic-mmse", "rdtools.planning:MmseWaterSIC", "watersic", "derived for this project", _ANY, {}, GREEN, "*",
     "ridge and order of the columns chosen by a finite-rate prediction"),
    ("watersic-trellis", "rdtools.planning:TrellisWaterSIC", "watersic", "derived for this project", _ANY, {}, GREEN, "P",
     "the same with the integers of every column on a trellis of 256 states"),
    ("watersic-trellis-plain", _Q + "TrellisSIC", "watersic", "derived for this project", _ANY, {}, GREEN, "X", "the same, no ridge"),
    ("watersic-e8", "rdtools.planning:LatticeWaterSIC", "watersic", "derived for this project", _ANY, {}, GREEN, "h",
     "the same in vectors of E8 down every column"),
    ("watersic-d4", "rdtools.planning:LatticeWaterSIC", "watersic", "derived for this project", _ANY, {"lattice": "D4"}, GREEN, "d",
     "the same in vectors of D4"),
    ("softwater", "rdtools.planning:SoftWater", "watersic", "SoftWater, arXiv 2608.12026", _ANY, {}, VERMILLION, "X",
     "row steps of an output head by how much a class matters"),
    ("watersic-published", _Q + "WaterSIC.published", "watersic", _WATERSIC, _ANY, {}, VERMILLION, "P", "all settings of the paper"),
    ("quip", _Q + "QuIP", "quip", _QUIP, _1_12, {}, PURPLE, "h", "both sides rotated, LDLQ and greedy passes, range searched"),
    ("quip-ldlq", _Q + "QuIP", "quip", _QUIP, _1_12, {"adaptive": "ldlq"}, PURPLE, "D", "LDLQ alone"),
    ("quip-greedy", _Q + "QuIP", "quip", _QUIP, _1_12, {"adaptive": "greedy"}, PURPLE, "s", "greedy passes alone"),
    ("quip-nearest", _Q + "QuIP", "quip", _QUIP, _1_12, {"adaptive": "nearest"}, PURPLE, "v", "rounding to nearest in its basis"),
    ("quip-clamp-safe", _Q + "QuIP", "quip", _QUIP, _1_12, {"adaptive": "clamp-safe"}, PURPLE, "^", "bounded feedback, stochastic"),
    ("quip-published", _Q + "QuIP.published", "quip", _QUIP, _1_12, {}, PURPLE, "o", "all settings of the paper"),
    ("quip-sharp", _Q + "QuIPSharp", "quip-sharp", _QUIP_SHARP, _2_4, {}, PURPLE, ">", "E8P lattice words, block LDLQ, refinement"),
    ("quip-sharp-unrefined", _Q + "QuIPSharp", "quip-sharp", _QUIP_SHARP, _2_4, {"passes": 0}, PURPLE, "<", "no refinement passes"),
    ("quip-sharp-published", _Q + "QuIPSharp.published", "quip-sharp", _QUIP_SHARP, _2_4, {}, PURPLE, "P", "all settings of the paper"),
    ("qtip", _Q + "QTIP", "qtip", _QTIP, _1_4, {}, BLACK, "p", "trellis-coded tiles of 16 columns, 12 state bits"),
    ("qtip-published", _Q + "QTIP.published", "qtip", _QTIP, _1_4, {}, BLACK, "s", "all settings of the paper, 16 state bits"),
    ("qtip-waterfilled", _Q + "WaterfilledQTIP", "qtip", _MATMUL, _1_4, {}, BLACK, "h",
     "0 to 4 bits for every 16 columns by reverse waterfilling; outputs rotated"),
    ("aqlm-1x8", _Q + "CRVQ", "aqlm", _AQLM, _ONE, _NO_EXTENDED, YELLOW, "o", "for 8 weights a word of a trained codebook"),
    ("aqlm-2x8", _Q + "CRVQ", "aqlm", _AQLM, _TWO, _NO_EXTENDED | {"basic": 2}, YELLOW, "s", "the sum of two codewords"),
    ("aqlm-1x16", _Q + "CRVQ", "aqlm", _AQLM, _TWO, _NO_EXTENDED | {"bits": 16}, YELLOW, "D", "one codeword of 65536"),
    ("crvq", _Q + "CRVQ", "crvq", _CRVQ, _CRITICAL, {}, GREEN, "o", "three more codewords for critical channels"),
    ("crvq-natural-rest", _Q + "CRVQ", "crvq", _CRVQ, _CRITICAL, {"channel_order": "natural_rest"}, GREEN, "s", "the others in order"),
    ("rtn-w4a4", _Q + "WeightActivation", "weight-activation", _QUAROT, _FOUR, _NEAREST, BLACK, "v", "rtn-mse, activations in 4 bits"),
    ("rtn-w4a8", _Q + "WeightActivation", "weight-activation", _QUAROT, _FOUR, _NEAREST | _A8, BLACK, "^", "the same, 8 bits"),
    ("rtn-w16a4", _Q + "WeightActivation", "weight-activation", _QUAROT, {"values": [16]}, _NEAREST | _W16, BLACK, "<",
     "weights in 16 bits, activations in 4: the floor of any weights"),
    ("gptq-w4a4", _Q + "WeightActivation", "weight-activation", _QUAROT, _FOUR, {}, BLACK, "o", "gptq-mse, activations in 4 bits"),
    ("gptq-w4a8", _Q + "WeightActivation", "weight-activation", _QUAROT, _FOUR, _A8, BLACK, "D", "the same, activations in 8 bits"),
    ("qllm-w4a4", _Q + "QLLM", "qllm", _QLLM, _FOUR, {}, BLUE, "v", "channels split and merged for 4-bit activations; correction merged"),
    ("qllm-w4a4-published", _Q + "QLLM", "qllm", _QLLM, _FOUR, _PUBLISHED, BLUE, "^", "merged columns unscaled, fit beside Q(W)"),
    *((f"lrc-w4a4-r{share:g}", _Q + "LRC", "lrc", _LRC, _FOUR, {"rank": share}, VERMILLION, marker,
       f"rotated, with a low-rank term of {share:.0%} of the rank")
      for share, marker in ((0.1, "v"), (0.05, ">"), (0.2, "^"), (0.3, "<"))),
    ("lrc-w4a8-r0.1", _Q + "LRC", "lrc", _LRC, _FOUR, _A8, VERMILLION, "o", "the same, activations in 8 bits"),
    ("qera-w4a4-r0.1", _Q + "LRC", "lrc", "QERA, arXiv 2410.06040", _FOUR, {"correction": "weights"}, ORANGE, "v",
     "rotated, a term for the error of the weights alone"),
    ("qera-w4-r0.1", _Q + "LRC", "lrc", "QERA, arXiv 2410.06040", _FOUR, {"correction": "weights"} | _A16, ORANGE, "o",
     "a term for the error of the weights; activations left alone, unrotated"),
    ("qera-approx-w4-r0.1", _Q + "LRC", "lrc", "QERA, arXiv 2410.06040", _FOUR, {"correction": "diagonal"} | _A16, ORANGE, "^",
     "the same, by the diagonal of H"),
    ("lorc-w4-r0.1", _Q + "LRC", "lrc", "ZeroQuant-V2, arXiv 2303.08302", _FOUR, {"correction": "identity"} | _A16, ORANGE, ">",
     "the same, blind to H; LQER without scales"),
    ("svdquant-w4a4-r0.1", _Q + "LRC", "lrc", "SVDQuant, arXiv 2411.05007", _FOUR, {"correction": "svd"}, ORANGE, "D",
     "rotated, the leading part of W kept in the term; no smoothing"),
    ("pca-split-w4a4-r0.125", _Q + "PCASplit", "pca-split", _RESQ, _FOUR, {}, PURPLE, "X",
     "the eighth of the inputs of largest variance in 8 bits, weights too"),
    ("pca-split-w4a4-r0.1", _Q + "PCASplit", "pca-split", _RESQ, _FOUR, {"share": 0.1}, PURPLE, "d", "the same with a tenth"),
    ("crvq-published", _Q + "CRVQ.published", "crvq", _CRVQ, _CRITICAL, {}, GREEN, "<", "all channels sorted, Adam"),
)  # fmt: skip
METHODS: dict[str, Method] = {
    name: Method(name, home, family, description, paper or "a grid of version 0.1", rates, settings, color, marker)
    for name, home, family, paper, rates, settings, color, marker, description in _ROWS
}
#: Part of a report unless told otherwise: like is compared with like, a pooled coder with a pooled one, columns with columns.
DEFAULT_METHODS = (
    "rtn", "hrtn", "gptq", "hptq", "hptq+rotation", "hptq+act-order", "hptq-column", "watersic", "watersic-shared", "watersic-lmmse",
    "watersic-mmse", "watersic-trellis", "watersic+rotation", "quip", "quip-sharp", "qtip",
)  # fmt: skip

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
