"""Forward passes of many batches side by side, one decoder block at a time.

Each batch has a thread that runs the model as transformers wrote it, and waits wherever a block is called until it is given the block's
output. The main thread runs a block for all batches before any of them goes on to the next. What a block is called with (positions, masks,
caches, states of other blocks) is thus what the model passes at that place, whatever the architecture, and only one thread runs at a time.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
import torch
from numpy.typing import NDArray
from torch import nn

from rdtools.errors import NotByBlocks
from rdtools.machine import free_memory
from rdtools.model.products import Block, Products, See
from rdtools.model.shelf import Shelf
from rdtools.model.stages import Stages

_local = threading.local()  # flight: the one whose thread this is


class _Landed(BaseException):
    """Ends the thread of a flight that is not needed any more."""


class Flight:
    """A call in a thread of its own that stops at every `stop` in it.

    Attributes
    ----------
    module, args, kwargs : what it stopped at; module is None before the start and after the end
    result : of the call, when it has ended
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self.module: nn.Module | None = None
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.result: Any = None
        self._answer: Any = None
        self._error: BaseException | None = None
        self._closed = False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._work, args=(call,), daemon=True)

    def _work(self, call: Callable[[], Any]) -> None:
        self._go.acquire()
        _local.flight = self
        try:
            if not self._closed:
                self.result = call()
        except _Landed:
            pass
        except BaseException as error:
            self._error = error
        self.module = None
        self._back.release()

    def stop(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Called in the thread: wait for what the module answers to these arguments."""
        self.module, self.args, self.kwargs = module, args, kwargs
        del args, kwargs
        self._back.release()
        self._go.acquire()
        if self._closed:
            raise _Landed
        answer, self._answer = self._answer, None
        return answer

    def go(self, answer: Any = None) -> None:
        """Start, or go on with the answer of the module, to the next stop or the end; an error in the thread is raised here."""
        if not self._thread.is_alive():
            self._thread.start()
        self._answer, self.args, self.kwargs = answer, (), {}
        del answer
        self._go.release()
        self._back.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """End the thread, wherever it is."""
        self._closed = True
        if self._thread.is_alive():
            self._go.release()
            self._thread.join()
        self.args, self.kwargs, self.result = (), {}, None


def hidden_bytes(stages: Stages, tokens: int) -> int:
    """Bytes of the hidden states of all tokens between two blocks."""
    return 4 * tokens * int(stages.model.config.get_text_config().hidden_size)


class Passes:
    """Forward passes of batches through a model in stages, to be used as a context manager.

    Parameters
    ----------
    stages : the model
    batches : token ids (b, t) without padding, of each pass
    head : run the output head, too
    see : receives products outside the blocks, as they come; None if nobody looks
    folder : where hidden states are kept between blocks; None for memory
    """

    def __init__(
        self,
        stages: Stages,
        batches: Sequence[NDArray[np.int64]],
        *,
        head: bool = False,
        see: See | None = None,
        folder: Path | None = None,
    ) -> None:
        self._stages, self._see, self._head = stages, see, head
        self._order = [(path, block) for path, block in stages.blocks]
        if head and stages.head is not None:
            self._order.append(("the output head", stages.head))
        self._forward = {block: block.forward for _, block in self._order}
        self._flights = [Flight(functools.partial(self._call, ids)) for ids in batches]
        self._shelves = [None if folder is None else Shelf(folder) for _ in batches]
        self._sizes = [ids.size for ids in batches]
        self._done = ExitStack()

    def _call(self, ids: NDArray[np.int64]) -> Any:
        """One forward pass, in the thread of its flight."""
        torch.get_num_threads()  # sets this thread's number of OpenMP threads, once, to the process's
        for library in threadpoolctl.ThreadpoolController().select(user_api="openmp").lib_controllers:
            library.set_num_threads(1)  # of this thread alone: what is left to it is small, and each would keep a team of threads
        x = torch.from_numpy(ids).to(self._stages.device)
        with torch.no_grad(), ExitStack() as looking:
            if self._see is not None:
                looking.enter_context(Products(self._stages.places, self._see))
            return run_tokens(self._stages.model, x, head=self._head)

    def __enter__(self) -> Passes:
        """Start every pass; each stops at the first block."""
        for _, block in self._order:
            self._done.callback(_restore, block, block.__dict__.get("forward"))
            stub = functools.partial(_stop, block)
            block.forward = functools.update_wrapper(stub, self._forward[block])
        for flight, shelf in zip(self._flights, self._shelves, strict=True):
            self._done.callback(flight.close)
            if shelf is not None:
                self._done.callback(shelf.close)
        try:
            with self._stages.tables():
                for flight, shelf in zip(self._flights, self._shelves, strict=True):
                    flight.go()
                    self._store(flight, shelf)
        except BaseException:
            self._done.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """End every pass."""
        self._done.close()

    def _store(self, flight: Flight, shelf: Shelf | None) -> None:
        if shelf is None or flight.module is None:
            return
        parameters = {tensor.untyped_storage().data_ptr() for tensor in [*self._stages.model.parameters(), *self._stages.model.buffers()]}
        width = self._stages.model.config.get_text_config().hidden_size
        tensors = {
            value.untyped_storage().data_ptr(): value
            for value in (*flight.args, *flight.kwargs.values())
            if isinstance(value, torch.Tensor)
            and value.ndim == 3
            and value.shape[-1] == width
            and value.untyped_storage().nbytes() == value.numel() * value.element_size()
        }
        shelf.take([value for name, value in tensors.items() if name not in parameters])

    def block(self, number: int, see: See, progress: Callable[[int], None] = lambda done: None) -> None:
        """Run a block for every batch; each pass goes on to the next block, and from the last one to the output head or the end.

        Parameters
        ----------
        number : of the block; they are run in order
        see : receives the products in it
        progress : called with the number of tokens done

        Raises
        ------
        NotByBlocks
            If a pass does not come to this block next.
        """
        with self._stages.block(number):
            done = 0
            for flight, shelf, size in zip(self._flights, self._shelves, self._sizes, strict=True):
                self._run(flight, shelf, *self._order[number], see)
                self._store(flight, shelf)
                done += size
                progress(done)

    def looks(self, number: int, see: See, *, last: Block | None = None) -> Generator[Any]:
        """Run the block that comes next for one batch after another, for the sake of its products; no pass goes on.

        Parameters
        ----------
        number, see : of the block, and what receives the products in it
        last : a matrix behind whose product nothing is looked for, so that nothing more of a batch is run; None to run the whole block,
            of which each batch yields the output

        Raises
        ------
        NotByBlocks
        """

        def until(block: Block, x: torch.Tensor) -> None:
            see(block, x)
            if block == last:
                raise _Enough

        path, module = self._order[number]
        with self._stages.block(number):
            for flight, shelf in zip(self._flights, self._shelves, strict=True):
                self._arrive(flight, shelf, path, module)
                # the block may change its inputs in place
                args = tuple(map(_copied, flight.args))
                kwargs, answer = {name: _copied(value) for name, value in flight.kwargs.items()}, None
                with suppress(_Enough), torch.no_grad(), Products(self._stages.places, until):
                    answer = self._forward[module](*args, **kwargs)
                self._store(flight, shelf)
                yield answer

    def outputs(self, see: See) -> Generator[Any]:
        """The result of each pass, one at a time, after all blocks; the output head is run for it if the passes have one.

        Raises
        ------
        NotByBlocks
            If a pass has not ended.
        """
        with self._stages.tables() if self._head else nullcontext():
            for flight, shelf in zip(self._flights, self._shelves, strict=True):
                for path, module in self._order[len(self._stages.blocks) :]:
                    self._run(flight, shelf, path, module, see)
                if flight.module is not None:
                    raise NotByBlocks("a forward pass calls a block again after the last one")
                result, flight.result = flight.result, None
                yield result
                del result

    def _arrive(self, flight: Flight, shelf: Shelf | None, path: str, module: nn.Module) -> None:
        if flight.module is not module:
            raise NotByBlocks(f"a forward pass does not come to {path} where it is expected to, once and after the block before it")
        if shelf is not None:
            shelf.give_back()

    def _run(self, flight: Flight, shelf: Shelf | None, path: str, module: nn.Module, see: See) -> None:
        self._arrive(flight, shelf, path, module)
        with torch.no_grad(), Products(self._stages.places, see):
            answer = self._forward[module](*flight.args, **flight.kwargs)
        flight.go(answer)


class _Enough(Exception):
    """Ends the forward pass of a block of which nothing more is looked for."""


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _restore(module: nn.Module, forward: Any) -> None:
    if forward is None:
        del module.forward
    else:
        module.forward = forward


def _stop(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """In place of a module's forward: hand its arguments over and wait for its output."""
    flight: Flight = _local.flight
    return flight.stop(module, *args, **kwargs)


def run_tokens(model: Any, ids: torch.Tensor, *, head: bool = False) -> Any:
    """One forward pass over whole sequences without padding (b, t); with the output head only if it is asked for."""
    return (model if head else model.base_model)(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)


def shelf_folder(stages: Stages, tokens: int, folder: Path | None) -> Path | None:
    """The folder for hidden states, where they take more than a quarter of the free memory; None for memory."""
    free = torch.cuda.mem_get_info(stages.device)[0] if stages.device.type == "cuda" else free_memory()
    return folder if hidden_bytes(stages, tokens) > free // 4 else None
