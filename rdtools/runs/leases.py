"""Leases of tasks: which process, on whatever machine sees the run directory, works on which task.

    leases/<command>/<task>.<generation>    a lease: made exclusively, touched by its holder as long as it lives; holds who that is
    leases/<command>/<task>.done            everything of the task is in the journals

Exclusive creation is atomic on local and network file systems. A lease whose holder is dead is not removed but outlived: the next process
makes the next generation, again exclusively. A holder on this machine is dead when its process is gone; one elsewhere when its file was not
touched for `patience_s` of our own clock, so that clocks of machines are never compared. Should two processes work on one task after all,
because a living holder could not touch its file for so long, they make the same records twice and nothing is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil

from rdtools.errors import OutputError

#: Folder of the leases in a run directory.
LEASES = "leases"
#: Seconds between two touches, and without one after which a holder on another machine is taken for dead.
BEAT_S, PATIENCE_S = 5.0, 120.0


@cache
def _place() -> str:
    """Name of this machine, and within it of the space in which process numbers mean something: containers may differ in it."""
    parts = [socket.gethostname()]
    for path, read in (("/proc/sys/kernel/random/boot_id", lambda p: Path(p).read_text().strip()), ("/proc/self/ns/pid", os.readlink)):
        with contextlib.suppress(OSError):
            parts.append(read(path))
    return "/".join(parts)


def _started(pid: int) -> float | None:
    """Time at which a living process started; None if there is no such process."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


class Leases:
    """The leases of one command, as one process sees them, and those that it holds."""

    def __init__(self, run: Path, command: str, *, patience_s: float = PATIENCE_S) -> None:
        self._folder = run / LEASES / command
        self._patience = patience_s
        self._held: dict[str, Path] = {}
        self._newest: dict[str, int] = {}  # task → generation that was seen to exist
        self._touched: dict[Path, tuple[int, float]] = {}  # lease → its time of change, and our clock when it was first seen

    def take(self, task: str) -> bool:
        """Take the lease of a task; False while another living process holds it, or after it was done.

        Raises
        ------
        OutputError
            If the folder cannot be written to.
        """
        if self.done(task):
            return False
        owner = json.dumps({"place": _place(), "pid": os.getpid(), "started": _started(os.getpid())}).encode()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while True:
                path = self._path(task, self._newest.get(task, 0))
                with contextlib.suppress(FileExistsError):
                    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                    try:
                        os.write(handle, owner)
                    finally:
                        os.close(handle)
                    self._held[task] = path
                    return True
                if not self._dead(path):
                    return False
                self._newest[task] = self._newest.get(task, 0) + 1
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be written: {error.strerror}; finished rows are kept: free some space") from error

    def outlived(self, task: str) -> bool:
        """True if the lease that is held of a task follows that of a dead holder, who may have done a part of it."""
        return task in self._held and self._held[task].suffix != ".0"

    def done(self, task: str) -> bool:
        """True if everything of a task is in the journals."""
        return (self._folder / f"{task}.done").exists()

    def finish(self, task: str) -> None:
        """Say that everything of a held task is in the journals.

        Raises
        ------
        OutputError
        """
        self._held.pop(task, None)
        try:
            (self._folder / f"{task}.done").touch()
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be written: {error.strerror}; finished rows are kept: free some space") from error

    @contextlib.contextmanager
    def kept_alive(self, beat_s: float = BEAT_S) -> Iterator[None]:
        """While inside, a thread touches the leases that are held; what is left of them at the end is given back."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(beat_s):
                for path in list(self._held.values()):
                    with contextlib.suppress(OSError):  # a disk that is away for a moment
                        os.utime(path)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            for path in self._held.values():
                path.unlink(missing_ok=True)
            self._held.clear()

    def _path(self, task: str, generation: int) -> Path:
        return self._folder / f"{task}.{generation}"

    def _dead(self, path: Path) -> bool:
        """True if the holder of a lease is gone, for all that can be known from here."""
        try:
            changed, data = path.stat().st_mtime_ns, path.read_bytes()
        except FileNotFoundError:  # given back this moment: the same generation is free
            return False
        with contextlib.suppress(ValueError, KeyError, TypeError):  # written this moment
            owner = json.loads(data)
            if owner["place"] == _place():
                return bool(_started(owner["pid"]) != owner["started"])
        before = self._touched.get(path)
        if before is None or before[0] != changed:
            self._touched[path] = changed, time.monotonic()
            return False
        return time.monotonic() - before[1] > self._patience


def delete_leases(run: Path) -> None:
    """Remove the leases of earlier commands, whose workers find the next task list."""
    shutil.rmtree(run / LEASES, ignore_errors=True)
