"""Layers chosen by name and type, and the inputs that they share."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rdtools.errors import UsageError
from rdtools.model.checkpoint import find_model
from rdtools.model.layer_names import CapturedLayer, layer_type
from rdtools.runs.run_manifest import is_run
from rdtools.runs.store import open_run

if TYPE_CHECKING:
    from rdtools.model.inputs import ModelLayers  # which loads torch


@dataclass(frozen=True)
class InputGroup:
    """Layers that share an input, and so a Hessian.

    Attributes
    ----------
    layers : names
    shapes : (m, n) of each
    columns : n of the input
    hessian_bytes : size of the file that holds the Hessian, or will
    """

    layers: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    columns: int
    hessian_bytes: int


def input_groups(out: Path, model: str, *, trust_remote_code: bool, device: str, head: bool = False) -> list[InputGroup]:
    """Layers of the run in a directory, or of a model where there is none yet; the model is loaded then, and nothing is captured.

    Raises
    ------
    ModelUnreadable, CorruptFile, ServiceUnavailable
    """
    if is_run(out):
        run = open_run(out)
        readers = [[layer.captured for layer in run.layers if layer.hessian == index] for index in range(len(run.hessians))]
        return [_group(group, entry.columns, entry.bytes) for group, entry in zip(readers, run.hessians, strict=True)]
    from rdtools.model.opened import open_model  # loads torch

    checkpoint = find_model(model, with_code=trust_remote_code)
    return groups_of(open_model(checkpoint, trust_remote_code=trust_remote_code, device=device, head=head).layers)


def groups_of(found: ModelLayers) -> list[InputGroup]:
    """Groups of the layers of a model that is open."""
    return [_group(item.layers, item.columns, 4 * item.columns * (item.columns + 1)) for item in found.inputs]


def _group(layers: Sequence[CapturedLayer], columns: int, hessian_bytes: int) -> InputGroup:
    return InputGroup(tuple(layer.name for layer in layers), tuple(layer.shape for layer in layers), columns, hessian_bytes)


def select_layers(names: Sequence[str], *, patterns: Sequence[str] | None, types: Sequence[str] | None) -> list[str] | None:
    """Names that match a pattern and are of a type; None where neither is asked for.

    Parameters
    ----------
    names : of all layers
    patterns : in which * stands for anything; None for all names
    types : of layers; None for all

    Raises
    ------
    UsageError
        If a pattern or a type matches nothing.
    """
    if patterns is None and types is None:
        return None
    matched, typed = set(names), set(names)
    if patterns is not None:
        matched = set()
        for pattern in patterns:
            matching = fnmatch.filter(names, pattern)
            if not matching:
                near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
                raise UsageError(f"`layers` {pattern!r}: matches none of {len(names)} layers; the nearest names are {', '.join(near)}")
            matched.update(matching)
    if types is not None:
        known = list(dict.fromkeys(layer_type(name) for name in names))
        for kind in types:
            if kind not in known:
                raise UsageError(f"`types` {kind!r}: expected some of {', '.join(known)}")
        typed = {name for name in names if layer_type(name) in types}
    chosen = [name for name in names if name in matched & typed]
    if not chosen:
        raise UsageError(f"`layers` {','.join(patterns or ())} and `types` {','.join(types or ())}: no layer matches both")
    return chosen
