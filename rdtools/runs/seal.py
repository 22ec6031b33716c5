"""JSON files that hold a checksum of themselves: SHA-256 of their bytes, with zeros in the place of the checksum."""

from __future__ import annotations

import hashlib

#: What stands in the place of the checksum while it is computed; a file that is to be sealed holds it once.
UNSEALED = "0" * 64


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
