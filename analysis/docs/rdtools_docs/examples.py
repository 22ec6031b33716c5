"""The examples of a page, run: Python blocks with their outputs compared, and command lines.

``PYTHONPATH=analysis/docs python -P -m rdtools_docs.examples`` runs those of every page, in a folder of its own, and fails where one does.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator

from rdtools.cli.main import main as rdtools
from rdtools_docs import DOCS

PAGES = ("tutorial", "bounds", "choosing", "format", "extending")
_BLOCK = re.compile(r"^```(pycon|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each block of a page that runs."""
    yield from _BLOCK.findall((DOCS / f"{page}.md").read_text())


def run_python(text: str, names: dict[str, object], name: str) -> str:
    """Run a block of prompts and outputs; returns what differs, or nothing."""
    said = io.StringIO()
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.write, clear_globs=False)
    names.update(test.globs)
    return said.getvalue()


def run_page(page: str, *, commands: bool = True) -> list[str]:
    """Run the blocks of a page in the current folder, as far as its first command unless commands are run as well; returns failures."""
    names: dict[str, object] = {}
    failures = []
    for language, text in blocks(page):
        if language == "pycon":
            failures += [said for said in [run_python(text, names, page)] if said]
            continue
        if not commands:
            break
        for line in text.splitlines():
            with contextlib.redirect_stdout(io.StringIO()):
                code = rdtools(shlex.split(line)[1:])
            failures += [f"{line}: exit code {code}"] if code else []
    return failures


def main() -> int:
    """Run every page; prints failures."""
    failures = []
    for page in PAGES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            failures += run_page(page)
    print("\n".join(failures) or f"examples of {len(PAGES)} pages: as printed", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    raise SystemExit(main())
