"""Links as plain fields, for files and comparisons: the kind, its arrays, and what else makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import CorruptFile
from rdtools.records import InputMap, Link, Rotation
from rdtools.transforms.links.merge import Merge
from rdtools.transforms.links.permute import Permute
from rdtools.transforms.links.principal import Principal
from rdtools.transforms.links.rotate import Rotate
from rdtools.transforms.links.scale import Scale
from rdtools.transforms.links.select import Select
from rdtools.transforms.links.split import Split


@dataclass(frozen=True)
class LinkFields:
    """A link taken apart.

    Attributes
    ----------
    kind : name of its class
    array : its array; None for a kind without one
    rest : JSON values
    """

    kind: str
    array: NDArray[Any] | None
    rest: Mapping[str, Any]


def _of_array(kind: Callable[[Any], Link], name: str) -> tuple[Any, Any]:
    return lambda link: (getattr(link, name), {}), lambda array, rest: kind(array)


#: Kind → (array and rest of a link, link of array and rest).
_KINDS: dict[str, tuple[Callable[[Any], tuple[Any, dict[str, Any]]], Callable[[Any, Any], Link]]] = {
    "Select": _of_array(Select, "active"),
    "Scale": _of_array(Scale, "scales"),
    "Permute": _of_array(Permute, "order"),
    "Split": (lambda link: (link.counts, {"staggered": link.staggered}), lambda array, rest: Split(array, **rest)),
    "Merge": (
        lambda link: (link.scales, {"groups": [list(group) for group in link.groups], "channels": link.channels}),
        lambda array, rest: Merge(**rest, scales=array),
    ),
    "Rotate": (lambda link: (None, asdict(link.rotation)), lambda array, rest: Rotate(Rotation(**rest))),
    "Principal": (lambda link: (link.vectors, {"gain": link.gain}), lambda array, rest: Principal(array, **rest)),
}


def link_fields(link: Link) -> LinkFields:
    """The fields of a link of a kind of `rdtools.transforms.links`."""
    kind = type(link).__name__
    return LinkFields(kind, *_KINDS[kind][0](link))


def link_of(fields: LinkFields) -> Link:
    """The link that fields stand for.

    Raises
    ------
    CorruptFile
        For a kind that there is not, and fields that its class refuses.
    """
    if fields.kind not in _KINDS:
        raise CorruptFile(f"input map: a link of kind {fields.kind!r}, expected one of {', '.join(_KINDS)}; a newer rdtools wrote it")
    try:
        return _KINDS[fields.kind][1](fields.array, fields.rest)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CorruptFile(f"input map: a {fields.kind} link of other fields than it has: {error}") from error


def same_map(one: InputMap, other: InputMap) -> bool:
    """True if two maps consist of equal links.

    Examples
    --------
    >>> same_map(InputMap([Split(np.array([1, 2]))], columns=2), InputMap([Split(np.array([1, 2]))], columns=2))
    True
    """
    parts = [[link_fields(link) for link in of.links] for of in (one, other)]
    return one.columns == other.columns and len(parts[0]) == len(parts[1]) and all(map(_same, *parts))


def _same(one: LinkFields, other: LinkFields) -> bool:
    arrays = np.asarray(one.array), np.asarray(other.array)  # None is an array of itself
    return one.kind == other.kind and one.rest == other.rest and np.array_equal(*arrays)
