"""Layers of a model: where they are, and from module paths to layer types."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TYPES = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "o",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
}

#: Order in tables and figures.
LAYER_TYPES = tuple(_TYPES.values())


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
    """q, k, v, o, gate, up or down for the modules of a Llama; elsewhere the last part of the path.

    Examples
    --------
    >>> layer_type("model.layers.3.mlp.down_proj"), layer_type("transformer.h.0.attn.c_attn")
    ('down', 'c_attn')
    """
    last = path.rpartition(".")[2]
    return _TYPES.get(last, last)


def block_index(path: str) -> int:
    """Number of the transformer block in a module path, −1 if there is none.

    Examples
    --------
    >>> block_index("model.layers.3.mlp.down_proj"), block_index("lm_head")
    (3, -1)
    """
    match = re.search(r"\.(\d+)\.", path)
    return int(match.group(1)) if match else -1
