"""A whole model whose weights are in an unnamed file that is mapped into memory, so that the system may put any of them back on disk."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from rdtools.errors import OutputError
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import block_index
from rdtools.model.stages import Stages


class _Mapped(Stages):
    """A model in stages all of which are there, their weights in a file."""

    def __init__(self, checkpoint: Checkpoint, file: IO[bytes], **settings: Any) -> None:
        self._file, self._end = file, 0
        super().__init__(checkpoint, kept_bytes=0, **settings)
        for number, (path, _) in enumerate(self.blocks):
            self._load([path], lambda name, number=number: block_index(name) == number)  # type: ignore[misc]
        self._load(self._tables, lambda name: block_index(name) < 0)

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype != torch.float32 or tensor.nbytes < mmap.ALLOCATIONGRANULARITY:
            return tensor
        values = tensor.contiguous().numpy()
        self._file.seek(self._end)
        self._file.write(values.data)  # not by the mapping, which a full disk would end the process for
        self._file.flush()
        mapped = np.memmap(self._file, np.float32, "r+", offset=self._end, shape=values.shape)
        self._end += -(-values.nbytes // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        return torch.from_numpy(mapped)


@contextmanager
def mapped_model(
    checkpoint: Checkpoint, folder: Path, *, trust_remote_code: bool = False, say: Callable[[str], None] = lambda sentence: None
) -> Iterator[Any]:
    """The model in float32, ready to run forward, whose weights may be changed in place; a block of them has to fit in memory.

    Parameters
    ----------
    checkpoint : the model's files
    folder : of the unnamed file, 4 bytes for each parameter
    trust_remote_code, say : as of `rdtools.model.stages.Stages`

    Raises
    ------
    NotByBlocks, ModelUnreadable
        As of `rdtools.model.stages.Stages`.
    OutputError
        If the file cannot be written.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            model = _Mapped(checkpoint, file, trust_remote_code=trust_remote_code, say=say).model
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{folder}: weights cannot be written there: {reason}; free some space or choose another place") from error
        yield model
