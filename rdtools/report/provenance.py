"""The commit of the code that writes, where it can be known."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, no checkout, or a file that is not tracked
        return ""
    return done.stdout.strip()


def code_commit(package: Path = _PACKAGE) -> str:
    """The commit of the code in a folder: of the checkout that tracks it, else of what pip installed from one; "" where neither says.

    A package that is installed below somebody else's checkout is not tracked by that one, and has not its commit.
    """
    if _git(package, "ls-files", "--error-unmatch", "_version.py"):
        changed = " with changes" if _git(package, "status", "--porcelain", "--untracked-files=no", ".") else ""
        return f"{_git(package, 'rev-parse', 'HEAD')}{changed}"
    try:
        origin = json.loads(distribution("rdtools").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return ""
    return str(origin.get("vcs_info", {}).get("commit_id", ""))
