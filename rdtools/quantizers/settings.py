"""Checks of settings that quantizers share."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rdtools.errors import UsageError, WrongType
from rdtools.records import Coding

#: How the weights beside quantized activations are rounded: each to its nearest level, or with feedback of errors.
RoundingRule = Literal["nearest", "feedback"]

_ROTATIONS = (None, "auto", "haar", "hadamard", "kronecker")


#: Kinds of settings: in the words of a message, and what is one.
_KINDS: dict[object, tuple[str, Callable[[object], bool]]] = {
    bool: ("True or False", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: is_number(value) and isinstance(value, int)),
    float: ("a number", lambda value: is_number(value)),
    str: ("a text", lambda value: isinstance(value, str)),
    NoneType: ("None", lambda value: value is None),
}


def is_number(value: object) -> bool:
    """True for a real number, of NumPy or Python, that is no truth value and no whole number beyond 64 bits."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, Real)


def shown(value: object) -> str:
    """A setting and its type, in the words of a message, whatever it is."""
    beyond = isinstance(value, int) and abs(value) >= 2**63
    return f"{' '.join(reprlib.repr(value).split())}: {'beyond 64 bits' if beyond else f'a {type(value).__name__}'}"


def _alternatives(hint: object) -> Iterator[object]:
    """Kinds of settings that an annotation allows; a text for choices between texts, whose values are checked apart."""
    if get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _alternatives(part)
    elif get_origin(hint) is Literal:
        yield from dict.fromkeys(type(choice) for choice in get_args(hint))
    else:
        yield hint


@cache
def _hints(record: type) -> dict[str, tuple[object, ...]]:
    try:
        hints = get_type_hints(record)
    except NameError:  # of someone's own method, with names that only a type checker reads
        return {}
    return {name: tuple(_alternatives(hint)) for name, hint in hints.items()}


def check_types(record: Any, names: Sequence[str]) -> None:
    """Refuse settings that are of another type than the one that they are declared with.

    Raises
    ------
    WrongType
    """
    for name in names:
        value, kinds = getattr(record, name), _hints(record.__class__).get(name, ())
        known = [_KINDS[kind] for kind in kinds if kind in _KINDS]
        if len(known) == len(kinds) > 0 and not any(fits(value) for _, fits in known):
            expected = " or ".join(word for word, _ in known)
            raise WrongType(f"{type(record).__name__}: {name} {shown(value)}, expected {expected}")


def check_file_coding(name: str, file_coding: str, *, several: bool) -> None:
    """Refuse a coding of files that there is not, and a sampled one of files of several layers.

    Raises
    ------
    UsageError
    """
    if file_coding not in get_args(Coding) or (several and file_coding == "sampled"):
        expected = "'exact' beside files of several layers" if several else "'exact' or 'sampled'"
        raise UsageError(f"{name}: file_coding {file_coding!r}, expected {expected}")


def check_rotation(rotation: str | None, name: str = "rotation") -> None:
    """Refuse a rotation that there is not.

    Raises
    ------
    UsageError
    """
    allowed = _ROTATIONS if name == "row_rotation" else (*_ROTATIONS, "inner")
    if rotation not in allowed:
        raise UsageError(f"{name} {rotation!r}: expected None, {', '.join(map(repr, allowed[1:-1]))} or {allowed[-1]!r}")


def check_damping(damping: float | None) -> None:
    """Refuse a damping that is no finite number of at least 0.

    Raises
    ------
    UsageError
    WrongType
        For anything but a number.
    """
    if damping is None:
        return
    if not is_number(damping):
        raise WrongType(f"damping {shown(damping)}, expected None or a number, relative to the mean diagonal, such as 0.01")
    if not 0 <= damping < math.inf:
        raise UsageError(f"damping {damping}: expected a finite number of at least 0, relative to the mean diagonal")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a setting that is none of its choices.

    Raises
    ------
    UsageError
    """
    if not isinstance(value, str | int | float | None) or value not in choices:
        raise UsageError(f"{name} {' '.join(reprlib.repr(value).split())}: expected one of {', '.join(map(str, choices))}")
