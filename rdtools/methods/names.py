"""Names of methods: ``BASE``, ``BASE(setting=value,…)``, ``+ROTATION``, ``+ORDER``, ``+adaptive``, ``+one-file``, ``+bias``, so ordered.

``hptq``, ``gptq(group_size=64)``, ``watersic(damping=0.01)+hadamard+act-order``. `parse_method` reads a name, `format_method` writes it,
and ``parse(format(m)) == m``.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from rdtools.errors import UnknownMethod, UsageError
from rdtools.methods.table import METHODS, RENAMED, Method

if TYPE_CHECKING:
    from rdtools.quantizers import Quantizer
    from rdtools.records import Coding

#: Suffix → rotation, and the orders of columns that a suffix names.
ROTATIONS: dict[str, str] = {
    "rotation": "auto",
    "hadamard": "hadamard",
    "haar": "haar",
    "kronecker": "kronecker",
    "inner-rotation": "inner",
}
ORDERS = ("reversed", "act-order", "reversed-act-order", "min-pivot")

#: Suffix of methods whose symbol models the decoder learns, in groups of so many columns.
ADAPTIVE, ADAPTIVE_COLUMNS = "adaptive", 512
#: Suffix of methods that put layers of one input into one file.
ONE_FILE = "one-file"
#: Suffix of methods with a bias per row beside the weights.
BIAS = "bias"

#: Setting → suffix → its value.
_SUFFIXES: dict[str, dict[str, object]] = {
    "rotation": dict(ROTATIONS),
    "order": {order: order for order in ORDERS},
    "adaptive_columns": {ADAPTIVE: ADAPTIVE_COLUMNS},
    "one_file": {ONE_FILE: True},
    "bias": {BIAS: True},
}
_SUFFIX_NAMES = {
    "rotation": "rotation",
    "order": "order of columns",
    "adaptive_columns": "learnt symbol models",
    "one_file": "files of several layers",
    "bias": "bias per row",
}

_NAME = re.compile(r"(?P<base>[^(+]+)(?:\((?P<settings>[^()]*)\))?(?P<suffixes>(?:\+[^+()]+)*)")
#: Written by other columns of a row, not by the name.
_APART = frozenset({"rate_bits"})
_WORDS: dict[str, object] = {"none": None, "true": True, "false": False}
#: At which an entry is made to see its settings; every entry has this rate.
_SAMPLE_RATE = 3.0


@cache
def _sample(name: str) -> Quantizer:
    """The quantizer of an entry as it is, at a rate that all entries have."""
    return METHODS[name].make(_SAMPLE_RATE)


def _settings(quantizer: Any) -> dict[str, Any]:
    return {f.name: getattr(quantizer, f.name) for f in dataclasses.fields(quantizer) if f.name not in _APART}


def _written(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _read(text: str) -> object:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
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
    order = changed["order"] if changed.get("order") in ORDERS else None
    adaptive = ADAPTIVE if changed.get("adaptive_columns") == ADAPTIVE_COLUMNS else None
    one_file = ONE_FILE if changed.get("one_file") else None
    bias = BIAS if changed.get("bias") else None
    suffixed = {"rotation": rotation, "order": order, "adaptive_columns": adaptive, "one_file": one_file, "bias": bias}
    inside = [f"{k}={_written(v)}" for k, v in changed.items() if not suffixed.get(k)]
    return name + (f"({','.join(inside)})" if inside else "") + "".join(f"+{s}" for s in suffixed.values() if s)


def entry_of(name: str) -> tuple[Method | None, list[str]]:
    """The registry's entry of a name, None where the name is none, and the suffixes of the name; settings are not looked at.

    Examples
    --------
    >>> entry, suffixes = entry_of("gptq(damping=0.01)+haar")
    >>> entry.name, suffixes, entry_of("other")
    ('gptq', ['haar'], (None, []))
    """
    match = _NAME.fullmatch(name.strip())
    return (METHODS.get(match["base"]), [s for s in match["suffixes"].split("+") if s]) if match else (None, [])


def _read_name(name: str) -> tuple[Method, dict[str, Any]]:
    """Entry and settings of a name."""
    match = _NAME.fullmatch(name.strip())
    base = match["base"] if match else name
    if match is None or base not in METHODS:
        raise UnknownMethod(_unknown(name, base))
    settings: dict[str, Any] = {}
    known = _settings(_sample(base))
    for part in filter(None, (match["settings"] or "").split(",")):
        key, equals, value = (text.strip() for text in part.partition("="))
        if not equals or key not in known:
            raise UnknownMethod(f"method {name!r}: {part!r}: {base} has the settings {', '.join(known)}, written {base}(setting=value)")
        settings[key] = _read(value)
    for suffix in filter(None, match["suffixes"].split("+")):
        key = next((key for key, choices in _SUFFIXES.items() if suffix in choices), "")
        if not key:
            choices = [choice for several in _SUFFIXES.values() for choice in several]
            close = difflib.get_close_matches(suffix, choices, n=1)
            hint = f"; did you mean +{close[0]}?" if close else f"; expected one of {', '.join('+' + s for s in choices)}"
            raise UnknownMethod(f"method {name!r}: +{suffix} is no rotation, order of columns, symbol model, kind of file or bias{hint}")
        if key not in known:
            raise UnknownMethod(f"method {name!r}: {base} has no {_SUFFIX_NAMES[key]} to choose")
        if key in settings:
            raise UnknownMethod(f"method {name!r}: two values of {key}, expected one")
        settings[key] = _SUFFIXES[key][suffix]
        if settings[key] == known[key]:
            raise UnknownMethod(f"method {name!r}: {base} has +{suffix} by default; drop it, or choose another {key}")
    return METHODS[base], settings


def parse_method(name: str, rate_bits: float, **settings: Any) -> Quantizer:
    """The quantizer of a name at a rate.

    Parameters
    ----------
    name : see the module
    rate_bits : bits per weight
    settings : those that the name does not give, such as ``damping=0.01``

    Raises
    ------
    UnknownMethod
        If the name is none; the message has the nearest one, or what a name of version 0.1 is called now.
    UsageError, InvalidRate
        If the settings cannot be.

    Examples
    --------
    >>> format_method(parse_method("hptq+hadamard", 3, damping=0.01))
    'hptq(damping=0.01)+hadamard'
    """
    entry, named = _read_name(name)
    known = _settings(_sample(entry.name))
    for key in settings:
        if key not in known or key in named:
            reason = "given by the name too" if key in named else f"expected one of {', '.join(known)}"
            raise UsageError(f"method {name!r}: setting {key!r}: {reason}")
    return entry.make(rate_bits, **(settings | named))


def _unknown(name: str, base: str) -> str:
    if base in RENAMED:
        return f"method {name!r}: called {name.replace(base, RENAMED[base], 1)!r} since version 0.2"
    if len(name.split()) > 1 and all(part.partition("+")[0] in METHODS for part in name.split()):
        return f"method {name[:60]!r}: several names, expected commas between them: {','.join(name.split())[:60]}"
    close = difflib.get_close_matches(base.lower(), METHODS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"unknown method {name[:60]!r}; {hint}`rdtools methods` lists all of them"


def make_quantizers(
    names: Sequence[str], rates: Sequence[float], *, damping: float | None = None, coding: Coding = "exact"
) -> list[Quantizer]:
    """Every named method at every rate, with a damping and a coding where the name gives none; raises as `parse_method` does."""
    others: dict[str, Any] = {} if damping is None else {"damping": damping}
    others |= {} if coding == "exact" else {"file_coding": coding}
    read = [_read_name(name) for name in names]
    return [entry.make(rate, **(others | settings)) for entry, settings in read for rate in rates]


def meaning_notes(names: Sequence[str]) -> list[str]:
    """A sentence for each of ``gptq`` and ``rtn`` that stands among `names` without its entropy-coded form, which it named in version 0.1.

    Examples
    --------
    >>> meaning_notes(["gptq", "hptq", "rtn+haar"])
    ['rtn is the fixed-rate uniform grid since version 0.2; what version 0.1 called rtn is hrtn']
    """
    bases = {match["base"] for name in names if (match := _NAME.fullmatch(name.strip()))}
    return [
        f"{base} is the fixed-rate uniform grid since version 0.2; what version 0.1 called {base} is {coded}"
        for base, coded in (("gptq", "hptq"), ("rtn", "hrtn"))
        if base in bases and not any(name.startswith(coded) for name in bases)
    ]
