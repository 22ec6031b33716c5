"""Names of layers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerKey:
    """The name of a matrix in a model.

    Attributes
    ----------
    model : name given to the model in the run
    name : module path, such as ``model.layers.0.self_attn.q_proj``
    type : last module name, such as q_proj; of experts with expert_ before it
    block : index of the transformer block, −1 outside blocks
    """

    model: str
    name: str
    type: str
    block: int
