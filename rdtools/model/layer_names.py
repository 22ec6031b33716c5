"""Layers of a model: where they are, and from module paths to layer types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from rdtools.records import LayerKey

#: Order in tables and figures.
LAYER_TYPES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
#: What experts call their three matrices, by what other layers call them.
_EXPERT_PARTS = {"w1": "gate", "w3": "up", "v1": "up", "w2": "down"}


@dataclass(frozen=True)
class CapturedLayer:
    """A linear layer and where its weight is in the checkpoint.

    The weight is read thus: the tensor as a matrix with its last dimension as columns; of that the rows `rows`; transposed if
    `transposed`; of that the rows `outputs`. An expert is some rows of a tensor that holds all of them, and the gate of an expert whose
    gate and up projections are one matrix is half of the outputs.

    Attributes
    ----------
    name : module path; experts of one tensor as if each were a module, ``….experts.3.gate_proj``
    tensor : name in the checkpoint
    shape : (m, n) = (out_features, in_features)
    transposed : whether the rows hold (n, m), as for GPT-2
    rows : first row and the one after the last; None for all
    outputs : start, stop and step; None for all
    """

    name: str
    tensor: str
    shape: tuple[int, int]
    transposed: bool = False
    rows: tuple[int, int] | None = None
    outputs: tuple[int, int, int] | None = None

    def part_of(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The weight, from the whole tensor."""
        return self.outputs_of(tensor.reshape(-1, tensor.shape[-1])[slice(*self.rows) if self.rows else slice(None)])

    def outputs_of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The weight, from the rows of its tensor."""
        values = values.T if self.transposed else values
        return values if self.outputs is None else values[slice(*self.outputs)]


def expert_of(path: str) -> str:
    """The part of a path that names one of many experts; empty if there is none.

    Examples
    --------
    >>> expert_of("model.layers.3.mlp.experts.7.gate_proj"), expert_of("model.layers.3.mlp.gate_proj")
    ('model.layers.3.mlp.experts.7', '')
    """
    match = re.match(r"(?:.*\.)?experts\.\d+(?=\.)", path)
    return match.group() if match else ""


def layer_type(path: str) -> str:
    """Last module name of a path, with ``expert_`` in place of ``_proj`` for one of many experts.

    Examples
    --------
    >>> layer_type("model.layers.3.mlp.down_proj"), layer_type("model.layers.3.mlp.experts.7.gate_proj"), layer_type("lm_head")
    ('down_proj', 'expert_gate', 'lm_head')
    >>> layer_type("transformer.blocks.0.ffn.experts.1.mlp.w2")
    'expert_down'
    """
    last = path.rpartition(".")[2]
    if not expert_of(path):
        return last
    part = last.removesuffix("_proj")
    return f"expert_{_EXPERT_PARTS.get(part, part)}"


def block_index(path: str) -> int:
    """Number of the transformer block in a module path, −1 if there is none.

    Examples
    --------
    >>> block_index("model.layers.3.mlp.down_proj"), block_index("lm_head")
    (3, -1)
    """
    match = re.search(r"\.(\d+)\.", path)
    return int(match.group(1)) if match else -1


def abbreviates(short: str, path: str) -> bool:
    """True if `short` consists of parts of a module path, in order, the last one included.

    Examples
    --------
    >>> abbreviates("3.q_proj", "model.layers.3.self_attn.q_proj"), abbreviates("q_proj.3", "model.layers.3.self_attn.q_proj")
    (True, False)
    """
    *first, last = short.split(".")
    *parts, end = path.split(".")
    rest = iter(parts)
    return last == end and all(part in rest for part in first)


def layer_key(model: str, name: str) -> LayerKey:
    """The key of a layer in tables, by the names of its model and of itself."""
    return LayerKey(model, name, layer_type(name), block_index(name))
