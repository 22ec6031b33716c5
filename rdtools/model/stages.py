"""A language model of which one decoder block at a time is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from rdtools.devices import allocation_errors, check_device
from rdtools.errors import NotByBlocks, NotEnoughMemory
from rdtools.machine import in_gb
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import block_index
from rdtools.model.pretrained import load_part
from rdtools.model.products import ParameterPlaces

#: A model of at most this size in float32 stays in memory as a whole: one block at a time would save nothing that matters.
KEPT_BYTES = 2**28
#: A parameter or buffer of a module, by the dictionary that holds it, its name there, and the tensor.
_Place = tuple[dict[str, Any], str, torch.Tensor]


def _tensors(module: nn.Module) -> Iterator[_Place]:
    for part in module.modules():
        holders: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
        for held in holders:
            yield from ((held, name, tensor) for name, tensor in held.items() if tensor is not None)


def _put(entries: Iterable[_Place], values: Iterable[torch.Tensor], change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Put changed values into places; what was one parameter in several places is one again."""
    put: dict[int, torch.Tensor] = {}
    for (held, name, old), value in zip(entries, values, strict=True):
        if id(value) not in put:
            new = change(value.detach())
            put[id(value)] = nn.Parameter(new, requires_grad=False) if isinstance(old, nn.Parameter) else new
        held[name] = put[id(value)]


def _decoder_blocks(model: Any) -> list[tuple[str, nn.Module]]:
    """Path and module of every decoder block, in the order in which transformers holds them."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    count = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
    lists = [part for part in decoder.modules() if isinstance(part, nn.ModuleList) and len(part) == count > 0]
    if not lists:
        raise NotByBlocks(f"{type(model).__name__} has no list of as many modules as config.json counts decoder blocks")
    largest = max(lists, key=lambda part: sum(p.numel() for p in part.parameters()))
    path = next(name for name, part in model.named_modules() if part is largest)
    blocks = [(f"{path}.{name}", block) for name, block in largest.named_children()]
    if [block_index(f"{name}.") for name, _ in blocks] != list(range(count)):
        raise NotByBlocks(f"the blocks of {path} are not numbered by the first number in the names of their tensors")
    return blocks


class Stages:
    """A model of which the weights of its decoder blocks, embedding and output head come and go, and the others stay in memory.

    A block's weights are made, by transformers' own loader, of the tensors whose name has the block's number as its first number. A model
    of at most KEPT_BYTES has all its weights in memory.

    Parameters
    ----------
    checkpoint : the model's files
    device : torch device of the weights that are in memory
    say : called with sentences about tensors that are there and not used
    kept_bytes : in place of KEPT_BYTES

    Attributes
    ----------
    model : weights that are not in memory are on the meta device
    blocks : path and module of each
    device : as given
    places : of the parameters that are in memory now

    Raises
    ------
    NotByBlocks
        If transformers does not expose the blocks of the model.
    ModelUnreadable, UsageError
        As of `rdtools.model.pretrained.load_model`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        trust_remote_code: bool = False,
        device: str = "cpu",
        say: Callable[[str], None] = lambda sentence: None,
        kept_bytes: int | None = None,
    ) -> None:
        check_device(device)
        self._checkpoint, self.device = checkpoint, torch.device(device)
        self._kept = 4 * checkpoint.parameters <= (KEPT_BYTES if kept_bytes is None else kept_bytes)
        model: Any = load_part(checkpoint, lambda name: self._kept or block_index(name) < 0, trust_remote_code=trust_remote_code, say=say)
        if model is None:
            raise NotByBlocks("its class is not one of transformers' own")
        self.model: Any = model
        self.blocks: Sequence[tuple[str, nn.Module]] = _decoder_blocks(model)
        names = {module: name for name, module in model.named_modules()}
        self.head: nn.Module | None = model.get_output_embeddings()
        self._tables = [names[module] for module in (model.get_input_embeddings(), self.head) if module in names]
        if not self._kept:
            tables = [entry for path in self._tables for entry in _tensors(model.get_submodule(path)) if not entry[2].is_meta]
            _put(tables, [tensor for _, _, tensor in tables], lambda tensor: tensor.to("meta"))
        present = [entry for entry in _tensors(model) if not entry[2].is_meta]
        _put(present, [tensor for _, _, tensor in present], self._on_device)
        self.places = ParameterPlaces(model)

    def twin(self) -> Stages:
        """The same model with memory of its own, so that nothing that is done to the weights of one changes the other."""
        return Stages(self._checkpoint, device=str(self.device))

    def number_of(self, parameter: str) -> int | None:
        """Number of the block that a parameter belongs to; None outside the blocks."""
        return next((number for number, (path, _) in enumerate(self.blocks) if parameter.startswith(f"{path}.")), None)

    def tables_held(self) -> list[nn.Module]:
        """Modules of the embedding and of the output head; one of them where they are one matrix."""
        modules = [self.model.get_submodule(path) for path in self._tables]
        return modules[:1] if len(modules) == 2 and modules[0].weight is modules[1].weight else modules

    @contextmanager
    def block(self, number: int) -> Iterator[None]:
        """Inside, the weights of a block are in memory."""
        with self._loaded([self.blocks[number][0]], lambda name: block_index(name) == number):
            yield

    @contextmanager
    def tables(self) -> Iterator[None]:
        """Inside, the embedding and the output head are in memory, which may be one matrix."""
        with self._loaded(self._tables, lambda name: block_index(name) < 0):
            yield

    @contextmanager
    def _loaded(self, paths: Sequence[str], is_part: Callable[[str], bool]) -> Iterator[None]:
        missing = [entry for path in paths for entry in _tensors(self.model.get_submodule(path)) if entry[2].is_meta]
        if not missing:
            yield
            return
        self._load(paths, is_part)
        try:
            yield
        finally:
            for held, name, tensor in missing:
                held[name] = tensor
            self.places.update()

    def _load(self, paths: Sequence[str], is_part: Callable[[str], bool]) -> None:
        part = load_part(self._checkpoint, is_part)
        assert part is not None  # as for the first part
        put: list[_Place] = []
        values: list[torch.Tensor] = []
        for path in paths:
            pairs = zip(_tensors(self.model.get_submodule(path)), _tensors(part.get_submodule(path)), strict=True)
            for entry, (_, name, value) in pairs:
                if entry[2].is_meta:
                    if value.is_meta:
                        raise NotByBlocks(f"{name} of a module in {path} is made of tensors that do not have its number in their names")
                    put.append(entry)
                    values.append(value)
        _put(put, values, self._on_device)
        self.places.update()

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        try:
            with allocation_errors():
                return tensor.to(self.device)
        except torch.OutOfMemoryError as error:
            raise NotEnoughMemory(
                f"{self._checkpoint.directory}: a weight of {in_gb(tensor.nbytes)} does not fit {self.device} beside the rest of its "
                "block; choose another `device`"
            ) from error


T = TypeVar("T")


def in_stages(stages: Stages | None, items: Sequence[T], parameter: Callable[[T], str]) -> Iterator[tuple[int | None, list[T]]]:
    """Number of each block, None outside, and the items whose parameter belongs to it; all under None for a model that is in memory."""
    by_stage: dict[int | None, list[T]] = {}
    for item in items:
        by_stage.setdefault(None if stages is None else stages.number_of(parameter(item)), []).append(item)
    yield from by_stage.items()


def in_memory(stages: Stages | None, number: int | None) -> AbstractContextManager[None]:
    """Inside, the weights of a block are in memory, or with None those outside the blocks."""
    if stages is None:
        return nullcontext()
    return stages.tables() if number is None else stages.block(number)
