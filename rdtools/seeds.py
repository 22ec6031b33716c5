"""Random numbers by name: every use of randomness in a run has a key of its own, made of the run's seed and labels.

A key is the SHA-256 of an encoding from which seed and labels can be read back, so that two uses share numbers only if they have the same
seed and the same labels.
"""

from __future__ import annotations

import hashlib

import numpy as np

from rdtools.errors import UsageError

#: Seeds of runs lie below this: what a signed column of 64 bits holds.
SEED_END = 2**63


def check_seed(seed: object) -> int:
    """A seed of a run as an int.

    Raises
    ------
    UsageError
        For anything but a whole number from 0 to 2^63 − 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < SEED_END:
        raise UsageError(f"seed {seed!r}; expected an integer from 0 to {SEED_END - 1}")
    return int(seed)


def _digest(seed: int, labels: tuple[str, ...]) -> bytes:
    """SHA-256 of the seed in eight bytes and of every label in UTF-8 after its length in eight bytes, little-endian."""
    encoded = check_seed(seed).to_bytes(8, "little")
    for label in labels:
        if not isinstance(label, str):
            raise UsageError(f"label {label!r} of a random stream is of {type(label).__name__}; expected str, such as a layer's name")
        name = label.encode(errors="surrogatepass")
        encoded += len(name).to_bytes(8, "little") + name
    return hashlib.sha256(b"rdtools seeds 1\0" + encoded).digest()


def generator(seed: int, *labels: str) -> np.random.Generator:
    """A generator for one use of randomness, independent of those of other labels.

    Parameters
    ----------
    seed : of the run, 0 … 2^63 − 1
    labels : what it is for, such as "rounding" and a layer's name

    Raises
    ------
    UsageError
        For a seed outside its range, or a label that is not a string.

    Examples
    --------
    >>> bool(generator(0, "rounding", "q_proj").integers(100) == generator(0, "rounding", "q_proj").integers(100))
    True
    """
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(seed, labels), "little")))


def rotation_seed(seed: int, *labels: str) -> int:
    """The seed of 64 bits that a `rdtools.records.Rotation` stores; arguments as for `generator`.

    Examples
    --------
    >>> rotation_seed(0, "rotation", "ab") != rotation_seed(0, "rotationa", "b")
    True
    """
    return int.from_bytes(_digest(seed, labels)[:8], "little")
