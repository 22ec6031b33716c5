"""Hidden states of one batch on disk while other batches run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rdtools.errors import OutputError


class Shelf:
    """Hidden states of one batch in an unnamed file; the tensors keep their place in the model's code and lose their memory meanwhile."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - as long as the shelf; it has no name to be left behind
        except OSError as error:
            raise OutputError(f"{folder}: hidden states cannot be written there ({error.strerror}); choose another place") from error
        self._tensors: list[torch.Tensor] = []

    def take(self, tensors: Sequence[torch.Tensor]) -> None:
        """Write tensors and free them."""
        self._tensors = list(tensors)
        self._file.seek(0)
        try:
            for tensor in tensors:
                flat = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
                # of a copy: torch does not resize what NumPy has seen
                self._file.write(flat.to("cpu", copy=True).numpy().data)
        except OSError as error:
            raise OutputError(f"hidden states cannot be written to disk ({error}); free some space, or keep them in memory") from error
        for tensor in tensors:
            tensor.untyped_storage().resize_(0)

    def close(self) -> None:
        """Let go of what is on disk."""
        self._file.close()

    def give_back(self) -> None:
        """Put the values back in memory."""
        self._file.seek(0)
        for tensor in self._tensors:
            storage, size = tensor.untyped_storage(), tensor.numel() * tensor.element_size()
            storage.resize_(size)
            values = np.frombuffer(bytearray(self._file.read(size)), np.uint8)
            if values.nbytes != size:
                raise OutputError("hidden states on disk are shorter than they were written; the disk is full or gone: keep them in memory")
            torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage).copy_(torch.from_numpy(values))
        self._tensors = []
