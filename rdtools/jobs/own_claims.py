"""Claims of the user's own, from a Python file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from rdtools.claims import CLAIMS, Claim
from rdtools.errors import UsageError, one_line


def load_claims(reference: str) -> list[Claim]:
    """The claims that a Python file has under a name, ``path/to/file.py:NAME``; the file is run.

    Raises
    ------
    UsageError
        If there is no such file or name, the file fails, or what it holds are no claims, or claims with a name that is taken.

    Examples
    --------
    >>> load_claims("mine.txt")
    Traceback (most recent call last):
    ...
    rdtools.errors.UsageError: `claims_from` 'mine.txt': expected a Python file and a name in it, such as mine.py:CLAIMS
    """
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not name.isidentifier():
        raise UsageError(f"`claims_from` {reference!r}: expected a Python file and a name in it, such as mine.py:CLAIMS")
    if not path.is_file():
        raise UsageError(f"`claims_from` {reference!r}: {path} is no file; expected a Python file with claims")
    spec = importlib.util.spec_from_file_location(f"rdtools_claims_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None  # both are there for a name that ends in .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"`claims_from` {reference!r}: {path} fails: {type(error).__name__}: {one_line(error)}") from error
    value = getattr(module, name, None)
    claims = [value] if isinstance(value, Claim) else list(value) if isinstance(value, Iterable) and not isinstance(value, str) else []
    if not claims or not all(isinstance(claim, Claim) for claim in claims):
        defined = ", ".join(key for key, held in vars(module).items() if isinstance(held, Claim | list | tuple) and not key.startswith("_"))
        raise UsageError(
            f"`claims_from` {reference!r}: {name} is {'missing' if value is None else f'a {type(value).__name__}'}, expected a Claim of "
            f"rdtools.claims or several; {path.name} has {defined or 'none'}"
        )
    taken = [claim.name for claim in claims if claim.name in {known.name for known in CLAIMS}]
    names = [claim.name for claim in claims]
    if taken or len(set(names)) < len(names):
        twice = taken[0] if taken else max(names, key=names.count)
        raise UsageError(f"`claims_from` {reference!r}: two claims are called {twice!r}; give each a name of its own")
    return claims
