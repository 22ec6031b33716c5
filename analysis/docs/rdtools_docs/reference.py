"""The Python reference: which objects are public, where each is documented, and their docstrings in the form that numpydoc reads."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from rdtools.docstrings import entries, field_annotations, field_meanings, sections, type_text
from rdtools.methods import METHODS
from rdtools_docs.inventories import external_name

#: Package → what a reader finds in it. An object that several list is documented in the first.
PACKAGES = {
    "rdtools": "what notebooks use, loaded when first named",
    "rdtools.records": "the frozen records that pass between the stages",
    "rdtools.moments": "layers, and the spectra of their Hessians",
    "rdtools.theory": "bounds and predictions in closed form",
    "rdtools.quantizers": "the base of every method, and how a layer is prepared",
    "rdtools.planning": "methods whose settings theory chooses",
    "rdtools.methods": "names of methods",
    "rdtools.measure": "rate and distortion of what was coded",
    "rdtools.coding": "files of quantized weights",
    "rdtools.transforms": "rotations of inputs",
    "rdtools.compare": "measured rows beside bounds and predictions",
    "rdtools.jobs.show": "a run and its tables",
    "rdtools.runs.store": "the layers of a run",
    "rdtools.claims": "statements of theory that are checked",
    "rdtools.plot": "figures for notebooks",
    "rdtools.testing": "Hypothesis strategies for layers and spectra",
    "rdtools.ops": "operations with a kernel for each backend",
    "rdtools.units": "conventions and constants",
    "rdtools.errors": "errors and their exit codes",
}


def home_class(name: str) -> type:
    """Class of the quantizer of an entry of the registry."""
    module, _, kind = METHODS[name].home.removesuffix(".published").partition(":")
    return getattr(import_module(module), kind)


def card_classes() -> dict[str, type]:
    """Name → class of every quantizer with an entry, in the order of the registry; each has a page of its own."""
    return {kind.__name__: kind for kind in map(home_class, METHODS)}


def own_names(module: ModuleType) -> list[str]:
    """Public names: those that a package lists, or those that a module defines."""
    if listed := getattr(module, "__all__", None):
        return [name for name in listed if not name.startswith("_")]
    listed = [alias.asname for node in _imports(module) for alias in node.names if alias.asname and not alias.asname.startswith("_")]
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return [*(listed if hasattr(module, "__path__") else ()), *(name for name in own if not name.startswith("_"))]


def _imports(module: ModuleType) -> Iterator[ast.ImportFrom]:
    tree = ast.parse(Path(module.__file__).read_text())
    yield from (node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rdtools"))


@cache
def pages() -> dict[str, tuple[str, ...]]:
    """Package or module → names documented on its page."""
    seen: set[int] = {id(kind) for kind in card_classes().values()}
    found: dict[str, tuple[str, ...]] = {}
    theory = import_module("rdtools.theory")
    modules = [*PACKAGES, *(f"rdtools.theory.{name}" for name in own_names(theory))]
    for package in modules:
        module, names = import_module(package), []
        if package == "rdtools.theory":
            found[package] = ()
            continue
        for name in own_names(module):
            value = getattr(module, name)
            if isinstance(value, ModuleType) or (id(value) in seen and not isinstance(value, str | int | float | tuple)):
                continue
            if inspect.isfunction(value) or (inspect.isclass(value) and not issubclass(value, ModuleType)):
                seen.add(id(value))
                names.append(name)
        found[package] = tuple(names)
    return found


@cache
def documented() -> dict[int, str]:
    """Identity of a documented object → its full name in the documentation."""
    table = {id(kind): f"rdtools.quantizers.{name}" for name, kind in card_classes().items()}
    for name, kind in card_classes().items():
        if kind.__module__.startswith("rdtools.planning"):
            table[id(kind)] = f"rdtools.planning.{name}"
    for package, names in pages().items():
        table |= {id(getattr(import_module(package), name)): f"{package}.{name}" for name in names}
    return table


def link(kind: Any) -> str:
    """A class as a reference to its documentation where there is any, else its name."""
    if name := documented().get(id(kind)) or external_name(kind):
        return f":py:obj:`~{name}`"
    return kind.__name__


def resolve(text: str, module: ModuleType, parent: type | None) -> object | None:
    """The object that a name in a docstring of a module, or of a class in it, means; None for a parameter or other text."""
    if not re.fullmatch(r"\w+(\.\w+)*", text):
        return None
    first, *rest = text.split(".")
    if parent is not None and not rest and hasattr(parent, first):
        return getattr(parent, first)
    if first == "rdtools":
        for size in range(len(rest), -1, -1):
            name = ".".join((first, *rest[:size]))
            try:
                value: Any = import_module(name)
            except ModuleNotFoundError:
                continue
            for part in rest[size:]:
                value = getattr(value, part)
            return value
    value = vars(module).get(first)
    for part in rest:
        value = getattr(value, part, None)
    return value


def _reference(text: str, module: ModuleType, parent: type | None) -> str:
    value = resolve(text, module, parent)
    if isinstance(value, ModuleType) and value.__name__ in pages():
        return f":py:mod:`{text} <{value.__name__}>`"
    name = documented().get(id(value)) if value is not None else None
    if name is None and inspect.isroutine(value) and (owner := text.rpartition(".")[0]):
        kind = documented().get(id(resolve(owner, module, parent)))
        name = f"{kind}.{value.__name__}" if kind and value.__name__ in vars(resolve(owner, module, parent)) else None
    return f":py:obj:`{text} <{name}>`" if name else f"``{text}``"


def _prose(text: str, module: ModuleType, parent: type | None) -> str:
    """Text of a docstring as reStructuredText: names in single backquotes become references, and signs of mathematics stay signs."""
    parts = re.split(r"(``.+?``|`[^`]+`)", text, flags=re.DOTALL)
    for place, part in enumerate(parts):
        if part.startswith("``"):
            continue
        if part.startswith("`"):
            parts[place] = _reference(" ".join(part.strip("`").split()), module, parent)
        else:
            parts[place] = re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part)
    return "".join(parts)


def _blocks(body: str, module: ModuleType, parent: type | None) -> str:
    """Paragraphs in turn; examples and literal blocks are left as they are."""
    done, literal = [], False
    for block in re.split(r"\n\s*\n", body):
        indented = all(line.startswith(" ") for line in block.splitlines())
        literal = literal and indented
        done.append(block if literal or block.lstrip().startswith(">>>") else _prose(block, module, parent))
        literal = literal or block.rstrip().endswith("::")
    return "\n\n".join(done)


def _listed(items: Mapping[str, tuple[str, str]], module: ModuleType, parent: type | None) -> str:
    """Entries of numpydoc: name → its type and its meaning."""
    lines = []
    for name, (kind, meaning) in items.items():
        lines.append(f"{name} : {kind}" if kind else name)
        lines += [f"    {_prose(meaning, module, parent)}"] if meaning else []
    return "\n".join(lines)


def class_fields(kind: type) -> dict[str, tuple[str, str]]:
    """Field → its type with its choices and default, and its meaning; those of bases first."""
    meanings = field_meanings(kind)
    annotated = field_annotations(kind) if is_dataclass(kind) else {}
    choices, found = getattr(kind, "choices", {}), {}
    defaults = {field.name: field.default for field in fields(kind) if field.default is not MISSING} if annotated else {}
    for name, (annotation, names) in annotated.items():
        shown = "{" + ", ".join(map(repr, choices[name])) + "}" if name in choices else type_text(annotation, names, link)
        plain = isinstance(defaults.get(name), str | int | float | bool | None.__class__)
        found[name] = (shown + (f", default {defaults[name]!r}" if name in defaults and plain else ""), meanings.get(name, ""))
    for name in meanings.keys() - found.keys():
        getter = getattr(getattr(kind, name, None), "fget", None)
        returned = getattr(getter, "__annotations__", {}).get("return")
        found[name] = (type_text(returned, getter.__globals__, link) if returned else "", meanings[name])
    return found


def _arguments(function: Any, body: str) -> dict[str, tuple[str, str]]:
    """Parameter → its type and its meaning."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    names, hints = getattr(function, "__globals__", {}), getattr(function, "__annotations__", {})
    return {name: (type_text(str(hints[name]), names, link) if name in hints else "", meaning) for name, meaning in entries(body).items()}


def numpydoc_form(value: Any, doc: str, module: ModuleType, parent: type | None) -> str:
    """A docstring with types, choices and references, as numpydoc reads it."""
    scope = value if inspect.isclass(value) else parent
    parts = dict(sections(doc))
    if inspect.isclass(value) and (known := class_fields(value)):
        parts["Attributes"] = _listed(known, module, scope)
    if "Parameters" in parts:
        parts["Parameters"] = _listed(_arguments(value.__init__ if inspect.isclass(value) else value, parts["Parameters"]), module, scope)
    for name, body in parts.items():
        if name == "Raises":
            heads = [line if line.startswith(" ") else re.sub(r"[A-Z]\w+", _raised, line) for line in body.splitlines()]
            parts[name] = "\n".join(_prose(line, module, scope) if line.startswith(" ") else line for line in heads)
        elif name not in ("Attributes", "Parameters", "Returns", "Yields", "Examples"):
            parts[name] = _blocks(body, module, scope)
    order = sorted(parts, key=lambda name: (name != "", name != "Attributes"))
    return "\n\n".join(f"{name}\n{'-' * len(name)}\n{parts[name]}" if name else parts[name] for name in order)


def _raised(match: re.Match[str]) -> str:
    kind = getattr(import_module("rdtools.errors"), match[0], None) or getattr(import_module("builtins"), match[0], None)
    return match[0] if kind is None else link(kind)
