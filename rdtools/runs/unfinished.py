"""The directory in which a quantized model is made: of what, and which layers are done.

job.json                     everything that decides the result
containers/finished.jsonl    a line for each layer whose coded file is on disk, see `rdtools.runs.finished`
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rdtools.errors import CorruptFile, OutputError, UsageError
from rdtools.files import LOCK, check_file, sync_folder, write_atomically
from rdtools.runs.finished import LIST, append_line, checked_entries, checked_line, different
from rdtools.runs.run_manifest import UNFINISHED
from rdtools.runs.saved import CONTAINERS, SavedLayer

JOB = "job.json"


class UnfinishedModel:
    """An unfinished model beside the place of the finished one.

    Parameters
    ----------
    save : place of the finished one
    """

    def __init__(self, save: Path) -> None:
        self._save = save
        self.folder = save.with_name(save.name + UNFINISHED)
        self._list = self.folder / CONTAINERS / LIST

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Note what is made, or make sure that it is the same; the lock of the directory is held.

        Raises
        ------
        UsageError
            If the directory holds something else, or a model with other settings; the message names the difference.
        CorruptFile
        """
        path = self.folder / JOB
        if path.is_file():
            try:
                names = different(json.loads(path.read_bytes()), identity)
            except (ValueError, AttributeError) as error:
                raise CorruptFile(f"{path}: not as it was written ({error}); delete {self.folder}") from error
            if names:
                raise UsageError(
                    f"{self.folder}: an unfinished model with other {' and '.join(names)}; delete it or choose another directory for `save`"
                )
        elif {path.name for path in self.folder.iterdir()} - {LOCK}:
            raise UsageError(f"{self.folder}: exists and is no unfinished model of rdtools; choose another directory for `save`")
        else:
            write_atomically(path, json.dumps(identity).encode())
        self._list.parent.mkdir(exist_ok=True)

    def finished(self) -> dict[str, SavedLayer]:
        """Layers that are whole on disk, by name; a torn end of the list is dropped.

        Raises
        ------
        CorruptFile
            If the coded file of one was altered.
        """
        layers: dict[str, SavedLayer] = {}
        if self._list.is_file():
            for record in checked_entries(self._list.read_bytes()):
                entry = SavedLayer.model_validate(record)
                check_file(self.folder / entry.file, size=entry.bytes, sha256=entry.sha256)
                layers[entry.layer.name] = entry
            write_atomically(self._list, b"".join(checked_line(entry.model_dump()) for entry in layers.values()))
        return layers

    def write_container(self, number: int, data: bytes) -> dict[str, Any]:
        """Write a coded file; returns its name, size and hash."""
        file = f"{CONTAINERS}/{number:04d}.rdq"
        write_atomically(self.folder / file, data)
        return {"file": file, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def add(self, entry: SavedLayer) -> None:
        """Note a layer whose coded file is on disk; on return the note is, too.

        Raises
        ------
        OutputError
        """
        append_line(self._list, entry.model_dump())

    def publish(self) -> None:
        """Give the finished model its name; the lock is not held any more.

        Raises
        ------
        OutputError
        """
        for path in (self.folder / JOB, self._list, self.folder / LOCK):  # what only an unfinished model has
            path.unlink(missing_ok=True)
        try:
            os.rename(self.folder, self._save)
            sync_folder(self._save.absolute().parent)
        except OSError as error:
            raise OutputError(f"{self._save}: {self.folder} cannot be renamed to it: {error.strerror}; rename it") from error
