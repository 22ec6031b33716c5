"""JSON files that hold a checksum of themselves: SHA-256 of their bytes, with zeros in the place of the checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError

from rdtools.errors import CorruptFile

#: What stands in the place of the checksum while it is computed; a file that is to be sealed holds it once.
UNSEALED = "0" * 64


class Sealed(BaseModel):
    """Contents of a sealed file; one of a format version has ``version: Literal[N]``."""

    sha256: str


class _Header(BaseModel):
    format: str
    version: int


Contents = TypeVar("Contents", bound=Sealed)


def sealed(data: bytes) -> bytes:
    """The bytes with their checksum in place of `UNSEALED`.

    Examples
    --------
    >>> data = sealed(b'{"sha256": "%s"}' % UNSEALED.encode())
    >>> is_sealed(data, data[12:76].decode()), is_sealed(data + b" ", data[12:76].decode())
    (True, False)
    """
    return data.replace(UNSEALED.encode(), hashlib.sha256(data).hexdigest().encode())


def is_sealed(data: bytes, checksum: object) -> bool:
    """True if this is the checksum of the file that holds it."""
    if not isinstance(checksum, str) or len(checksum) != len(UNSEALED):
        return False
    return hashlib.sha256(data.replace(checksum.encode(), UNSEALED.encode(), 1)).hexdigest() == checksum


def version_read(kind: type[Sealed]) -> int:
    """The format version of contents of this kind."""
    (version,) = get_args(kind.model_fields["version"].annotation)
    return int(version)


def version_of(path: Path, kind: type[Sealed]) -> int:
    """The format version that a file states, or the one that is read where it states none or is of another format.

    Raises
    ------
    OSError
    """
    (name,) = get_args(kind.model_fields["format"].annotation)
    try:
        header = _Header.model_validate_json(path.read_bytes())
    except ValidationError:
        return version_read(kind)
    return header.version if header.format == name else version_read(kind)


def read_sealed(path: Path, kind: type[Contents], *, remedy: str, other_version: str) -> Contents:
    """Contents of a sealed file.

    Parameters
    ----------
    path : there is such a file
    kind : of contents, with a format and one version
    remedy, other_version : what to do about a file that was altered, and about one that another rdtools wrote

    Raises
    ------
    CorruptFile
        If it is of another version, has other contents or was altered; the message tells these apart.
    """
    try:
        data, stored, version = path.read_bytes(), version_of(path, kind), version_read(kind)
    except OSError as error:
        raise CorruptFile(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    if stored != version:
        raise CorruptFile(f"{path}: of another rdtools: format version {stored}, this one reads version {version}; {other_version}")
    try:
        contents = kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CorruptFile(f"{path}: altered since it was written: {where}: {first['msg']}; {remedy}") from error
    if not is_sealed(data, contents.sha256):
        raise CorruptFile(f"{path}: altered since it was written: its checksum is not that of its contents; {remedy}")
    return contents
