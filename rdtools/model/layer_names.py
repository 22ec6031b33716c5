"""Layers of a model: where they are, and from module paths to layer types."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Order in tables and figures.
LAYER_TYPES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class CapturedLayer:
    """A linear layer and where its weight is in the checkpoint.

    Attributes
    ----------
    name : module path
    tensor : name in the checkpoint
    shape : (m, n) = (out_features, in_features)
    transposed : whether the checkpoint holds (n, m), as for GPT-2
    """

    name: str
    tensor: str
    shape: tuple[int, int]
    transposed: bool


def layer_type(path: str) -> str:
    """Last module name of a path, with ``expert_`` in place of ``_proj`` for one of many experts.

    Examples
    --------
    >>> layer_type("model.layers.3.mlp.down_proj"), layer_type("model.layers.3.mlp.experts.7.gate_proj"), layer_type("lm_head")
    ('down_proj', 'expert_gate', 'lm_head')
    """
    last = path.rpartition(".")[2]
    return "expert_" + last.removesuffix("_proj") if re.search(r"\.experts\.\d+\.", path) else last


def block_index(path: str) -> int:
    """Number of the transformer block in a module path, −1 if there is none.

    Examples
    --------
    >>> block_index("model.layers.3.mlp.down_proj"), block_index("lm_head")
    (3, -1)
    """
    match = re.search(r"\.(\d+)\.", path)
    return int(match.group(1)) if match else -1
