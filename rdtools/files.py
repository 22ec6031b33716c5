"""Files that are never half-written, and hashes of files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from rdtools.errors import Busy, CorruptFile, OutputError, UsageError

#: Name of the lock file of a run directory.
LOCK = ".lock"
#: Ending of files that are being written.
PART = ".rdtools-part"
#: Everything that rdtools writes into a run directory.
RUN_NAMES = frozenset(
    {
        LOCK,
        "hessians",
        "heldout",
        "activations",
        "spectra",
        "manifest.json",
        "rows",
        "plan.json",
        "tasks.json",
        "leases",
        "results.json",
        "results.parquet",
        "results.csv",
        "paired.parquet",
        "paired.csv",
        "curves.parquet",
        "verification.parquet",
        "foreign.json",
        "foreign.parquet",
        "foreign.csv",
        "evaluation",
        "evaluation.parquet",
        "evaluation.csv",
        "figures",
        "index.html",
        "model",
    }
)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in a folder durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _scratch_beside(path: Path) -> Path:
    """A new, empty file in the same folder, with the permissions that the system gives new files."""
    while True:
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return scratch


def no_room(path: Path, error: Exception) -> OutputError:
    """The error of a file that the system, or a library that passes on what it says, refuses to write."""
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"{path}: cannot be written: {reason}; free some space or choose another place, then run again")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to it, after an fsync, when the block ends without an exception.

    An exception of the block is the block's own and passes as it is, unless the system says that the disk is full or fails.

    Raises
    ------
    OutputError
        If the disk is full, read-only or otherwise refuses; nothing is left under either name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = _scratch_beside(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
    try:
        try:
            yield scratch
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise no_room(path, error) from error
            raise
        try:
            with scratch.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(scratch, path)
            sync_folder(path.parent)
        except OSError as error:
            raise no_room(path, error) from error
    finally:
        scratch.unlink(missing_ok=True)


def check_output_file(path: Path) -> None:
    """Refuse a place where no file can be written, before the work that it is the result of.

    Raises
    ------
    UsageError
        If it is a directory, or below something that is none.
    """
    if path.is_dir():
        raise UsageError(f"{path}: a directory, expected a file to write; give {path / 'NAME'}{path.suffix or '.json'}")
    above = next((folder for folder in path.absolute().parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise UsageError(f"{path}: cannot be written, because {above} is a file; choose another place")


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
        If the folder cannot be made, has links that lead out of it, or was removed meanwhile.
    """
    for name in sorted(RUN_NAMES):
        if (folder / name).is_symlink() and not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{folder / name}: a symbolic link that leads out of the run, where nothing is written; remove it")
    lock = FileLock(folder / LOCK)
    try:
        folder_is_new, lock_is_new = not folder.exists(), not (folder / LOCK).exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(f"{folder}: another rdtools is writing there; wait for it or choose another place") from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}; choose another place") from error
    try:
        for part in (folder, *(child for child in folder.iterdir() if child.is_dir() and not child.is_symlink())):
            for stale in part.glob(f"*{PART}"):
                stale.unlink(missing_ok=True)
        before = set(folder.iterdir())
        yield
        if not (folder / LOCK).exists():
            raise OutputError(f"{folder}: removed while rdtools was writing there; what was written is lost: run again")
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


def check_file(path: Path, *, size: int, sha256: str | None, remedy: str = "copy it again") -> None:
    """Compare a file with what a manifest says of it; its size alone where no hash is given.

    Parameters
    ----------
    remedy : the advice in the message of an error

    Raises
    ------
    CorruptFile
        Naming the file, and whether it is missing, truncated or altered.
    """
    is_present = False
    with contextlib.suppress(OSError):  # a name that is too long is no file either
        is_present = path.is_file()
    if not is_present:
        raise CorruptFile(f"{path}: missing, though the manifest lists it; {remedy}")
    actual = path.stat().st_size
    if actual != size:
        kind = "truncated" if actual < size else "longer than written"
        raise CorruptFile(f"{path}: {actual} bytes, expected {size}: {kind}; {remedy}")
    if sha256 is not None and sha256_of_file(path) != sha256:
        raise CorruptFile(f"{path}: its SHA-256 is not the manifest's: altered since it was written; {remedy}")
