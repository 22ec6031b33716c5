"""Docstrings of records completed: every field, inherited ones too, with its type or choices and its default.

Sources give ``name : meaning`` and leave the type to the annotation; a reader of ``help`` sees neither that nor what a base class says.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

_HEAD = re.compile(r"^(?P<name>[A-Z]\w+(?: \w+)?)\n-{3,}$", re.MULTILINE)
_ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*) : (?P<text>.*(?:\n(?:[ \t]+.*|$))*)", re.MULTILINE)


def sections(doc: str) -> Iterator[tuple[str, str]]:
    r"""Sections of a cleaned numpydoc docstring: heading, "" for the text above the first, and body.

    Examples
    --------
    >>> list(sections("One line.\n\nRaises\n------\nValueError"))
    [('', 'One line.'), ('Raises', 'ValueError')]
    """
    heads = [*_HEAD.finditer(doc)]
    starts = [("", 0), *((head["name"], head.end()) for head in heads)]
    ends = [*(head.start() for head in heads), len(doc)]
    for (name, start), end in zip(starts, ends, strict=True):
        yield name, doc[start:end].strip("\n")


def entries(body: str) -> dict[str, str]:
    r"""Name → meaning of the entries of a section; several names may share a meaning.

    Examples
    --------
    >>> entries("rows, columns : of the\n    matrix")
    {'rows': 'of the matrix', 'columns': 'of the matrix'}
    """
    return {name: " ".join(match["text"].split()) for match in _ENTRY.finditer(body) for name in match["names"].split(", ")}


#: Names of annotations that stand for something a reader knows by another word.
ALIASES = {
    "ArrayLike": "array_like",
    "Matrix": "array or tensor",
    "Float64Array": "float64 array",
    "FloatArray": "float array",
    "Int64Array": "int64 array",
    "Any": "any",
}
#: Generic types of which each element is of the type in brackets.
_COLLECTIONS = ("tuple", "list", "set", "frozenset", "Sequence", "Iterable", "Iterator", "Collection")


def type_text(annotation: str, names: Mapping[str, Any], link: Callable[[type], str] = lambda kind: kind.__name__) -> str:
    """An annotation for people: the choices of a literal in braces, alternatives joined by "or".

    Parameters
    ----------
    annotation : as it stands in the source
    names : of the module where it stands
    link : how a class is written

    Examples
    --------
    >>> type_text("Literal['haar', 'hadamard'] | None", {})
    "{'haar', 'hadamard'} or None"
    >>> type_text("NDArray[np.uint8] | Sequence[Matrix]", {})
    'uint8 array or Sequence of array or tensor'
    """
    return _text(ast.parse(annotation.strip(), mode="eval").body, names, link)


def _text(node: ast.expr, names: Mapping[str, Any], link: Callable[[type], str]) -> str:
    if isinstance(node, ast.BinOp):
        return " or ".join(dict.fromkeys(_text(part, names, link) for part in (node.left, node.right)))
    if isinstance(node, ast.Constant):
        return type_text(node.value, names, link) if isinstance(node.value, str) else repr(node.value)
    if isinstance(node, ast.Subscript):
        kind = ast.unparse(node.value).rpartition(".")[2]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if kind == "Literal":
            return "{" + ", ".join(map(ast.unparse, inner)) + "}"
        if kind == "NDArray":
            return f"{ast.unparse(inner[0]).removeprefix('np.').removesuffix('_')} array".removeprefix("Any ")
        parts = [_text(part, names, link) for part in inner if ast.unparse(part) != "..." and not isinstance(part, ast.List)]
        if kind in ("Annotated", "ClassVar", "Required"):
            return parts[0]
        outer = _text(node.value, names, link)
        return f"{outer} of {' and '.join(dict.fromkeys(parts))}" if kind in _COLLECTIONS else outer
    name = ast.unparse(node)
    if name.rpartition(".")[2] in ALIASES:
        return ALIASES[name.rpartition(".")[2]]
    first, *rest = name.split(".")
    value = names.get(first, getattr(builtins, first, None))
    for part in rest:
        value = getattr(value, part, None)
    if get_origin(value) is Literal:
        return "{" + ", ".join(map(repr, get_args(value))) + "}"
    return link(value) if isinstance(value, type) else name


def _own_meanings(kind: type) -> dict[str, str]:
    known: dict[str, str] | None = kind.__dict__.get("field_meanings")
    if known is not None:
        return known
    if any("About(" in str(annotation) for annotation in inspect.get_annotations(kind).values()):  # columns, described on their fields
        hints = get_type_hints(kind, include_extras=True)
        return {name: hint.__metadata__[0].meaning for name, hint in hints.items() if get_origin(hint) is Annotated}
    return entries(dict(sections(inspect.cleandoc(kind.__doc__ or ""))).get("Attributes", ""))


def field_meanings(kind: type) -> dict[str, str]:
    """Field → meaning as its class wrote it, or else the nearest of its bases."""
    return {name: text for base in reversed(kind.__mro__) for name, text in _own_meanings(base).items()}


def field_annotations(kind: type) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Field → annotation and the names of its module, fields of bases first; what a base of a dataclass merely declares is no field."""
    known = {field.name for field in fields(kind)} if "__dataclass_fields__" in vars(kind) else None
    return {
        name: (annotation, vars(sys.modules[base.__module__]))
        for base in reversed(kind.__mro__)
        for name, annotation in (
            (n, a if isinstance(a, str) else inspect.formatannotation(a)) for n, a in inspect.get_annotations(base).items()
        )
        if not annotation.removeprefix("typing.").startswith("ClassVar") and not name.startswith("_") and (known is None or name in known)
    }


def complete_fields(kind: type) -> None:
    """Give the docstring of a record a section "Attributes" with every field, those of its bases first, in numpydoc's form.

    Parameters
    ----------
    kind : class whose annotations are its fields; its attribute `choices`, if any, narrows those of a field. What it says itself of
        its fields is kept as `field_meanings`; a field of which no class says anything has its type alone
    """
    if not kind.__doc__:  # as under python -OO
        return
    kind.field_meanings = _own_meanings(kind)  # type: ignore[attr-defined]
    meanings = field_meanings(kind)
    choices, lines = getattr(kind, "choices", {}), []
    for name, (annotation, names) in field_annotations(kind).items():
        shown = "{" + ", ".join(map(repr, choices[name])) + "}" if name in choices else type_text(annotation, names)
        default = getattr(kind, name, MISSING)
        default = default.default if isinstance(default, Field) else default
        shown += "" if default is MISSING else f", default {default!r}"
        meaning = textwrap.fill(meanings.get(name, ""), 120, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
        lines.append(f"{name} : {shown}\n{meaning}".rstrip())
    parts = dict(sections(inspect.cleandoc(kind.__doc__))) | {"Attributes": "\n".join(lines)}
    order = sorted(parts, key=lambda name: (name != "", name != "Attributes"))
    kind.__doc__ = "\n\n".join(f"{name}\n{'-' * len(name)}\n{parts[name]}" if name else parts[name] for name in order)
