"""The basis of the container as an input map."""

from __future__ import annotations

from rdtools.records import Basis
from rdtools.records.input_map import InputMap
from rdtools.records.link import Link
from rdtools.transforms.links import Rotate, Scale, Select


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
    >>> import numpy as np
    >>> from rdtools.records import Rotation
    >>> basis = Basis(2, np.array([True, False, True]), Rotation("haar", 2, seed=1), column_scales=np.array([1.0, 2.0]))
    >>> input_map_of_basis(basis)
    InputMap(3: Select(3 → 2) · Scale(2 → 2) · Rotate(2 → 2))
    """
    links: list[Link] = []
    if not basis.active.all():
        links.append(Select(basis.active))
    if basis.column_scales is not None:
        links.append(Scale(basis.column_scales))
    if basis.rotation is not None:
        links.append(Rotate(basis.rotation))
    return InputMap(links, columns=len(basis.active))
