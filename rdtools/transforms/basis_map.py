"""The basis of the container as an input map, and back."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from rdtools.errors import UsageError
from rdtools.records import Basis, Rotation
from rdtools.records.input_map import InputMap
from rdtools.records.link import Link
from rdtools.transforms.links import Rotate, Scale, Select

Kind = TypeVar("Kind", bound=Link)


def input_map_of_basis(basis: Basis) -> InputMap:
    """Select · Scale · Rotate, each where the basis has it.

    The rotation of the rows is no part of it, because it acts on outputs. For values X whose rows are rotated back,
    ``input_map_of_basis(basis).pull_back(X)`` is the decoded Ŵ to the bit.

    Raises
    ------
    ShapeMismatch
        If scales or rotation do not have the order of the active channels.
    UsageError
        For scales that are not positive bfloat16 values.

    Examples
    --------
    >>> basis = Basis(2, np.array([True, False, True]), Rotation("haar", 2, seed=1), column_scales=np.array([1.0, 2.0]))
    >>> input_map_of_basis(basis)
    InputMap(3: Select(3 → 2) · Scale(2 → 2) · Rotate(2 → 2))
    """
    links: list[Link] = []
    if not basis.live.all():
        links.append(Select(basis.live))
    if basis.column_scales is not None:
        links.append(Scale(basis.column_scales))
    if basis.rotation is not None:
        links.append(Rotate(basis.rotation))
    return InputMap(links, columns=len(basis.live))


def basis_of_input_map(input_map: InputMap, rows: int, *, row_rotation: Rotation | None = None) -> Basis:
    """The basis of a map that is Select · Scale · Rotate, of which any may be missing.

    Parameters
    ----------
    input_map : the map
    rows : m
    row_rotation : U, of order m, or None

    Raises
    ------
    UsageError
        For links of other kinds, or in another order: the container has no place for them.

    Examples
    --------
    >>> basis_of_input_map(InputMap(columns=2), 5).live.tolist()
    [True, True]
    """
    remaining = list(input_map.links)
    select, scale, rotate = _leading(remaining, Select), _leading(remaining, Scale), _leading(remaining, Rotate)
    if remaining:
        raise UsageError(
            f"basis: {input_map!r} has {remaining[0]!r} where the container has none, expected Select, Scale and Rotate, each at most once "
            "and in this order"
        )
    return Basis(
        rows,
        np.ones(input_map.columns, dtype=bool) if select is None else select.active,
        None if rotate is None else rotate.rotation,
        row_rotation,
        None if scale is None else scale.scales,
    )


def _leading(links: list[Link], kind: type[Kind]) -> Kind | None:
    """The first link if it is of this kind, taken off the list."""
    if links and isinstance(first := links[0], kind):
        del links[0]
        return first
    return None
