"""Linear layers of a model, which of them read the same input, and which parameters no layer stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from rdtools.errors import ModelUnreadable, NotByBlocks, NotEnoughMemory, one_line
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.flights import Passes, run_tokens
from rdtools.model.layer_names import CapturedLayer, expert_of
from rdtools.model.pretrained import LINEAR
from rdtools.model.products import Block, Products
from rdtools.model.stages import Stages, in_stages
from rdtools.model.weights import find_weights, running_weight

#: Sequences and tokens of each in the trial that shows which layers there are and which of them receive the same. No product of a model is
#: likely to have a multiple of 46 vectors unless it has one, or several, for each token.
_TRIAL = (2, 23)


@dataclass(frozen=True)
class SharedInput:
    """One input, and the layers that read it.

    Attributes
    ----------
    layers : as they stand in the files
    running : the same layers as they stand in the model, a parameter in place of a tensor
    blocks : the matrices of the model whose outputs these layers are, all or some
    is_head : whether the layer is the output head
    """

    layers: tuple[CapturedLayer, ...]
    running: tuple[CapturedLayer, ...]
    blocks: tuple[Block, ...]
    is_head: bool = False

    @property
    def name(self) -> str:
        """Name of the first layer that reads it."""
        return self.layers[0].name

    @property
    def columns(self) -> int:
        """Length n of the input vector."""
        return self.layers[0].shape[1]


@dataclass(frozen=True)
class ModelLayers:
    """The layers of a model that are analysed, and how much of it they are.

    Attributes
    ----------
    inputs : in the order in which the model first reads them; the output head last
    parameters : of all linear maps of the model, the output head included even if it is tied to the embedding
    analysed : of the layers in `inputs`
    uncovered : parameters with at least two dimensions that no layer stands for, embeddings and the output head apart
    head : name of the output head; empty if there is none
    head_parameters : its size
    """

    inputs: tuple[SharedInput, ...]
    parameters: int
    analysed: int
    uncovered: tuple[str, ...]
    head: str
    head_parameters: int


@dataclass
class _Trial:
    """Inputs of each matrix: how many vectors, a hash of their values, and whether these are numbers and not all zero."""

    tokens: int
    vectors: dict[Block, int] = field(default_factory=dict)
    digests: dict[Block, Any] = field(default_factory=dict)
    alive: set[Block] = field(default_factory=set)

    def see(self, block: Block, x: torch.Tensor) -> None:
        self.vectors[block] = self.vectors.get(block, 0) + len(x)
        digest = self.digests.setdefault(block, hashlib.sha256())
        digest.update(repr(tuple(x.shape)).encode() + x.contiguous().cpu().numpy().tobytes())
        if x.any() and x.isfinite().all():
            self.alive.add(block)

    def per_token(self, block: Block) -> bool:
        """True if the matrix sees each token once, or each equally often."""
        return self.vectors.get(block, 0) > 0 and self.vectors[block] % self.tokens == 0


def _try(model: Any, stages: Stages | None) -> _Trial:
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or _TRIAL[1]
    shape = (_TRIAL[0], max(1, min(_TRIAL[1], longest)))
    ids = np.random.default_rng(0).integers(0, model.get_input_embeddings().num_embeddings, shape)
    trial = _Trial(ids.size)
    if stages is None:
        with torch.no_grad(), Products(model, trial.see):
            run_tokens(model, torch.from_numpy(ids).to(model.device))
        return trial
    try:
        with Passes(stages, [ids], see=trial.see) as passes:
            for number in range(len(stages.blocks)):
                passes.block(number, trial.see)
            list(passes.outputs(trial.see))
    except (NotByBlocks, NotEnoughMemory):
        raise
    except Exception as error:  # whatever a model does with a weight that is not there
        raise NotByBlocks(f"a trial on random tokens fails when only one block is in memory ({one_line(error)})") from error
    return trial


def _path(parameter: str, number: int, routed: bool) -> str:
    """Path of one matrix of a stack, as if it were a module."""
    *first, last = parameter.removesuffix(".weight").split(".")
    if "experts" in first:
        stop = len(first) - first[::-1].index("experts")
        return ".".join([*first[:stop], str(number), *first[stop:], last])
    return ".".join([*first, *(["experts"] if routed else []), str(number), last])


def _layers_of(model: nn.Module, block: Block, path: str) -> Iterator[CapturedLayer]:
    """Layers of a matrix, as they stand in the model: itself, or gate and up where an expert has both in one matrix."""
    parameter = model.get_parameter(block.parameter)
    size = block.rows[1] - block.rows[0]
    m, n = (parameter.shape[-1], size) if block.transposed else (size, parameter.shape[-1])
    rows = None if block.rows == (0, parameter.numel() // parameter.shape[-1]) else block.rows
    first, _, last = path.rpartition(".")
    if last != "gate_up_proj" or not expert_of(path):
        yield CapturedLayer(path, block.parameter, (m, n), block.transposed, rows)
        return
    half = m // 2
    together = getattr(model.get_submodule(block.parameter.rpartition(".")[0]), "is_concatenated", True)
    parts = ((0, half, 1), (half, m, 1)) if together else ((0, m, 2), (1, m, 2))
    for name, outputs in zip(("gate_proj", "up_proj"), parts, strict=True):
        yield CapturedLayer(f"{first}.{name}", block.parameter, (half, n), block.transposed, rows, outputs)


def _whole(model: nn.Module, name: str, *, transposed: bool) -> Block:
    parameter = model.get_parameter(name)
    return Block(name, (0, parameter.numel() // parameter.shape[-1]), transposed)


def _stack(model: nn.Module, parameter: str, blocks: list[Block]) -> list[Block]:
    """All matrices of a parameter of which these were seen; none if they are not equal parts that are used in one way."""
    first, stop = blocks[0].rows
    total = _whole(model, parameter, transposed=False).rows[1]
    size = stop - first
    regular = all(b.rows[1] - b.rows[0] == size and b.rows[0] % size == 0 and b.transposed == blocks[0].transposed for b in blocks)
    if total % size or not regular:
        return []
    return [Block(parameter, (start, start + size), blocks[0].transposed) for start in range(0, total, size)]


def _named_blocks(model: nn.Module, trial: _Trial, head: str) -> dict[Block, str]:
    """Every matrix that sees one vector per token, and every expert, with a path; in the order in which parameters are first read."""
    by_parameter: dict[str, list[Block]] = {}
    for block in trial.vectors:
        by_parameter.setdefault(block.parameter, []).append(block)
    modules = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, LINEAR)}
    for name, module in modules.items():
        if name not in by_parameter and expert_of(name):  # an expert that no token of the trial reached
            by_parameter[name] = [_whole(model, name, transposed=not isinstance(module, nn.Linear))]
    named: dict[Block, str] = {}
    for parameter, seen in by_parameter.items():
        stack = _stack(model, parameter, seen)
        if parameter == head or not stack:
            continue
        routed = len(seen) < len(stack) or not all(trial.per_token(block) for block in seen)
        if len(stack) > 1:
            named |= {block: _path(parameter, number, routed) for number, block in enumerate(stack)}
        elif not routed or expert_of(parameter):
            named[stack[0]] = parameter.removesuffix(".weight")
    return named


def _output_head(model: Any) -> tuple[str, str]:
    """Path of the output head and name of its parameter, which may be the embedding's; empty without a linear one."""
    module = model.get_output_embeddings()
    if not isinstance(module, nn.Linear):
        return "", ""
    path = next(name for name, other in model.named_modules() if other is module)
    return path, next(name for name, parameter in model.named_parameters() if parameter is module.weight)


def find_layers(model: Any, checkpoint: Checkpoint, *, head: bool = False, stages: Stages | None = None) -> ModelLayers:
    """Find every linear layer that is given one vector per token, and every expert, with the tensors that hold their weights.

    Layers share an input if they received the same values in a trial on random tokens: q, k and v share one, gate and up share one. Two
    experts never do, since tokens that they have in common in a trial say nothing about others.

    Parameters
    ----------
    head : analyse the output head, too
    stages : that the model is the model of; None for a model that is in memory

    Raises
    ------
    ModelUnreadable
        If there is no such layer, or the weight of one is not in the files.
    NotByBlocks
        If the model does not run in stages, or layers of different blocks share an input.
    """
    head_path, head_parameter = _output_head(model)
    trial = _try(model, stages)
    named = _named_blocks(model, trial, head_parameter)
    groups: dict[object, list[Block]] = {}
    for block, path in named.items():
        shared = block in trial.alive
        groups.setdefault((expert_of(path), trial.digests[block].digest()) if shared else block, []).append(block)
    if head and head_parameter:
        named[_whole(model, head_parameter, transposed=False)] = head_path
        groups["head"] = [_whole(model, head_parameter, transposed=False)]
    if not groups:
        raise ModelUnreadable(f"{checkpoint.directory}: no linear layer of the model is given one vector per token; nothing to analyse")
    in_model = {block: list(_layers_of(model, block, path)) for block, path in named.items()}
    if stages is not None:
        _check_stages(stages, groups)
    in_files: dict[str, CapturedLayer] = {}
    for number, some in in_stages(stages, list(in_model), lambda block: block.parameter):
        layers = [layer for block in some for layer in in_model[block]]
        in_files |= find_weights(model, checkpoint, layers, stages=stages, number=number)
    inputs = []
    for key, blocks in groups.items():
        running = tuple(layer for block in blocks for layer in in_model[block])
        inputs.append(SharedInput(tuple(in_files[layer.name] for layer in running), running, tuple(blocks), key == "head"))
    covered = {block.parameter for block in named}
    used = {block.parameter for block in trial.vectors} | covered | {head_parameter}
    used |= {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, LINEAR)}
    sizes = {name: p.numel() for name, p in model.named_parameters() if name in used or (p.ndim > 2 and "experts" in name.split("."))}
    embeddings = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    uncovered = [n for n, p in model.named_parameters() if p.ndim >= 2 and n not in covered | embeddings | {head_parameter}]
    return ModelLayers(
        tuple(inputs),
        sum(sizes.values()),
        sum(sizes[name] for name in covered),
        tuple(uncovered),
        head_path,
        sizes.get(head_parameter, 0),
    )


def _check_stages(stages: Stages, groups: Mapping[object, Sequence[Block]]) -> None:
    for blocks in groups.values():
        numbers = {stages.number_of(block.parameter) for block in blocks}
        if len(numbers) > 1 or (None in numbers and len(blocks) > 1):
            raise NotByBlocks(
                f"{blocks[0].parameter} and {blocks[-1].parameter} share an input, and not all of those that do are in one block"
            )


def check_weights(model: Any, checkpoint: Checkpoint, shared: SharedInput) -> None:
    """Make sure that the weights read from the files are those that the model runs with.

    Raises
    ------
    ModelUnreadable
    """
    for layer, running in zip(shared.layers, shared.running, strict=True):
        if not np.array_equal(running_weight(model, running).cpu().numpy(), checkpoint.weight(layer).astype(np.float32)):
            raise ModelUnreadable(
                f"{checkpoint.directory}: {layer.tensor} differs from the weight that transformers runs as {layer.name}; it is computed "
                "from the files while loading: load the model and write it with save_pretrained(NEW_DIRECTORY, save_original_format=False)"
            )
