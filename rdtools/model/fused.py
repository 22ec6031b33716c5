"""A model whose gains are folded and whose residual stream and values are rotated, by weights that compute the same function."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rdtools.arrays import Float64Array
from rdtools.errors import CorruptFile, ModelUnreadable, UsageError
from rdtools.model.flights import run_tokens
from rdtools.model.layer_names import block_index
from rdtools.model.norms import ROWS, Stream, bias_of, find_stream, matrix_of
from rdtools.model.products import Block
from rdtools.records import Rotation
from rdtools.seeds import rotation_seed
from rdtools.transforms import RotationChoice, new_rotation, rotate

#: Attribute of config.json under which a fused model says what it is.
KEY = "rdtools_fused"
#: Norm of the change of the logits, relative to that of their spread over the vocabulary, above which a model is another function. Rounding
#: every weight to float32 makes about 1e-6; a gain or a rotation in a wrong place changes all of them.
TOLERANCE = 1e-3
#: Sequences and tokens of each on which the model is compared before and after.
_TRIAL = (2, 24)


@dataclass(frozen=True)
class Fused:
    """Gains and rotations that were fused into the weights of a model.

    Attributes
    ----------
    norms : normalizations whose gains are in the matrices behind them
    stream : kind and order of the rotation of the residual stream; None for none
    heads : of the rotation of every head's values; None for none
    seed : that both are drawn from
    untied : True if the output head was the embedding, and is a matrix of its own now
    change : ‖Δ logits‖ over ‖logits − their means‖ on random tokens
    """

    norms: int
    stream: str | None
    heads: str | None
    seed: int
    untied: bool
    change: float

    @property
    def text(self) -> str:
        """One line for tables.

        Examples
        --------
        >>> Fused(5, "hadamard of 64", None, 0, True, 1e-6).text
        'gains of 5 norms; residual stream: hadamard of 64'
        """
        parts = [f"gains of {self.norms} norms"]
        parts += [f"residual stream: {self.stream}"] if self.stream else []
        parts += [f"values of each head: {self.heads}"] if self.heads else []
        return "; ".join(parts)


def fused_text(directory: Path) -> str | None:
    """`Fused.text` of a checkpoint, as its config.json has it; None where that says nothing.

    Raises
    ------
    CorruptFile
        If it says what rdtools does not write.
    """
    path = directory / "config.json"
    entry = json.loads(path.read_text()).get(KEY)
    if entry is None:
        return None
    try:
        return Fused(**entry).text
    except TypeError as error:
        raise CorruptFile(f"{path}: {KEY} is not as rdtools writes it ({error}); make the model again with rdtools rotate") from error


def fuse(model: Any, *, rotation: RotationChoice | None, heads: bool, seed: int) -> Fused:
    """Fold the gains of the normalizations, rotate the residual stream and the values of each head; the weights are changed in place.

    With Q orthogonal, E the embedding, g a gain: ``E Q``; ``Qᵀ W`` and ``Qᵀ b`` of what adds to the stream; ``W diag(g) Q`` of what reads
    it behind a normalization, the output head included, which is no part of the embedding any more. With R for each head: ``Rᵀ W`` of
    the values, W R of the output projection. In float64, rounded to the model's float32.

    Parameters
    ----------
    model : of transformers, in memory in float32
    rotation : None to fold alone; "auto" takes a randomized Hadamard matrix where one exists, else a Haar matrix, so any size will do
    heads : rotate values, too
    seed : that rotations are drawn from

    Raises
    ------
    ModelUnreadable
        If it has been fused before, its normalizations cannot be folded, or it computes another function then.
    UnsupportedOrder
        If there is no Hadamard matrix and it was asked for by name.
    """
    if getattr(model.config, KEY, None) is not None:
        raise ModelUnreadable(f"{model.config.name_or_path}: gains and rotations are in its weights already; give the original model")
    embedding = model.get_input_embeddings()
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, embedding.num_embeddings, _TRIAL))
    before, untied = _logits(model, ids), _untie(model)
    stream = find_stream(model, ids)
    for norm in stream.norms:
        norm.fold(model)
    turned = None if rotation is None else _rotate_stream(model, stream, rotation, seed)
    heads_rotation = None if rotation is None or not heads else _rotate_values(model, stream, rotation, seed)
    after = _logits(model, ids)
    change = float(np.linalg.norm(after - before) / np.linalg.norm(before - before.mean(axis=-1, keepdims=True)))
    if not change <= TOLERANCE:
        raise ModelUnreadable(
            f"{type(model).__name__}: with gains and rotations in its weights it computes something else, its logits are off by "
            f"{change:.3g} of their spread; expected at most {TOLERANCE:g}: something else reads the residual stream or the values"
            f"{'; leave the values as they are, without `heads` (--no-heads)' if heads_rotation else ''}"
        )
    fused = Fused(len(stream.norms), turned, heads_rotation, seed, untied, change)
    setattr(model.config, KEY, asdict(fused))
    return fused


def _logits(model: Any, ids: torch.Tensor) -> Float64Array:
    with torch.no_grad():
        return np.asarray(run_tokens(model, ids, head=True).logits.double().numpy())


def _untie(model: Any) -> bool:
    """Give the output head a matrix of its own; False if it has one, or there is no head."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return False
    head.weight = nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        config.tie_word_embeddings = False
    return True


def _put(tensor: torch.Tensor, values: Float64Array) -> None:
    tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _array(tensor: torch.Tensor) -> Float64Array:
    return np.ascontiguousarray(tensor.double().numpy())


def _rotate_rows(matrix: torch.Tensor, drawn: Rotation) -> None:
    """``W Q`` in the place of W, group after group of as many columns as Q has, some rows at a time."""
    for first in range(0, len(matrix), ROWS):
        part = matrix[first : first + ROWS]
        rows = _array(part)
        _put(part, np.asarray(rotate(rows.reshape(len(rows), -1, drawn.order), drawn)).reshape(rows.shape))


def _turn_outputs(model: Any, block: Block, drawn: Rotation) -> None:
    """``Qᵀ W`` and ``Qᵀ b``, group after group of as many outputs as Q has."""
    bias = bias_of(model, block)
    _rotate_rows(matrix_of(model, block).T, drawn)
    if bias is not None:
        _put(bias, np.asarray(rotate(_array(bias).reshape(-1, drawn.order), drawn)).reshape(bias.shape))


def _rotate_stream(model: Any, stream: Stream, rotation: RotationChoice, seed: int) -> str:
    table = model.get_input_embeddings().weight.detach()
    drawn = new_rotation(rotation, table.shape[1], rotation_seed(seed, "rotation", "residual stream"))
    other = next((block for block in stream.writers if matrix_of(model, block).shape[0] != drawn.order), None)
    if other is not None:
        raise ModelUnreadable(
            f"{other.parameter}: reads no normalization and has {matrix_of(model, other).shape[0]} outputs, expected a matrix that adds "
            f"{drawn.order} to the residual stream; fold the gains alone, with `rotation` none"
        )
    _rotate_rows(table, drawn)
    for block in stream.writers:
        _turn_outputs(model, block, drawn)
    for norm in stream.norms:
        for block in norm.readers:
            _rotate_rows(matrix_of(model, block), drawn)
    return f"{drawn.kind} of {drawn.order}"


def _rotate_values(model: Any, stream: Stream, rotation: RotationChoice, seed: int) -> str:
    """Rotate the values of each head by one matrix for each block, and the columns of the output projection with them.

    Raises
    ------
    UsageError
        If a block has no value and output projections of their own.
    """
    config = model.config.get_text_config()
    order = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = {_attention(block): block for norm in stream.norms for block in norm.readers if _last(block) == "v_proj"}
    outputs = {_attention(block): block for block in stream.writers if _last(block) == "o_proj"}
    if not values or values.keys() != outputs.keys() or len(values) != config.num_hidden_layers:
        raise UsageError(
            f"{type(model).__name__}: {len(values)} matrices called v_proj and {len(outputs)} called o_proj in "
            f"{config.num_hidden_layers} blocks, expected one of each; leave the values as they are, without `heads` (--no-heads)"
        )
    for name in values:
        drawn = new_rotation(rotation, order, rotation_seed(seed, "rotation", f"values of block {block_index(f'{name}.')}"))
        _turn_outputs(model, values[name], drawn)
        _rotate_rows(matrix_of(model, outputs[name]), drawn)
    return f"{drawn.kind} of {order}"


def _last(block: Block) -> str:
    return block.parameter.removesuffix(".weight").rpartition(".")[2]


def _attention(block: Block) -> str:
    return block.parameter.removesuffix(".weight").rpartition(".")[0]
