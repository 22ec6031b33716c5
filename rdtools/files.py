"""Files that are never half-written, and hashes of files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rdtools.errors import CorruptFile, OutputError


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
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another --out") from error
    scratch = Path(name)
    try:
        yield scratch
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        os.replace(scratch, path)
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


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, *, size: int, sha256: str) -> None:
    """Compare a file with what a manifest says of it.

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
    if sha256_of_file(path) != sha256:
        raise CorruptFile(f"{path}: its SHA-256 is not the manifest's: altered since it was written; copy it again")
