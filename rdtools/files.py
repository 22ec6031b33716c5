"""Files that are never half-written, and hashes of files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from rdtools.errors import Busy, CorruptFile, OutputError

#: Name of the lock file of a run directory.
LOCK = ".lock"
#: Ending of files that are being written.
PART = ".rdtools-part"


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    """Make a rename in a folder durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to it, after an fsync, when the block ends without an exception.

    Raises
    ------
    OutputError
        If the disk is full, read-only or otherwise refuses; nothing is left under either name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another --out") from error
    scratch = Path(name)
    try:
        yield scratch
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.chmod(0o666 & ~_umask())
        os.replace(scratch, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}; free some space or choose another --out, then run again"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes so that a reader sees the old file or the whole new one."""
    with atomic_path(path) as scratch:
        scratch.write_bytes(data)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which is made if need be, and sweep away what a killed writer left half-written in it.

    If nothing else was written there by the end, the lock, and a new folder, are removed again.

    Raises
    ------
    Busy
        If another process holds it.
    OutputError
        If the folder cannot be made.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder_is_new, lock_is_new = not folder.exists(), not (folder / LOCK).exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(f"{folder}: another rdtools is writing there; wait for it or choose another --out") from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}; choose another --out") from error
    try:
        for part in (folder, *(child for child in folder.iterdir() if child.is_dir() and not child.is_symlink())):
            for stale in part.glob(f"*{PART}"):
                stale.unlink(missing_ok=True)
        before = set(folder.iterdir())
        yield
    finally:
        if folder.is_dir():
            if lock_is_new and set(folder.iterdir()) == before:
                (folder / LOCK).unlink(missing_ok=True)
            lock.release()
            if folder_is_new and not any(folder.iterdir()):
                folder.rmdir()


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, *, size: int, sha256: str | None) -> None:
    """Compare a file with what a manifest says of it; its size alone where no hash is given.

    Raises
    ------
    CorruptFile
        Naming the file, and whether it is missing, truncated or altered.
    """
    if not path.is_file():
        raise CorruptFile(f"{path}: missing, though the manifest lists it; copy the run again or collect it anew")
    actual = path.stat().st_size
    if actual != size:
        kind = "truncated" if actual < size else "longer than written"
        raise CorruptFile(f"{path}: {actual} bytes, expected {size}: {kind}; copy it again or collect it anew")
    if sha256 is not None and sha256_of_file(path) != sha256:
        raise CorruptFile(f"{path}: its SHA-256 is not the manifest's: altered since it was written; copy it again")
