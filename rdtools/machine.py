"""Memory and disk of this machine, asked before work that needs much of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from rdtools.errors import NotEnoughMemory, OutputError

_CGROUPS = Path("/sys/fs/cgroup")


def _cgroup_folders(memberships: Path) -> Iterator[Path]:
    """Folders of the control groups that this process belongs to, version 2 and version 1, outer ones too."""
    if not memberships.is_file():
        return
    for line in memberships.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _CGROUPS / controllers
            folder = root / group.lstrip("/")
            yield from (path for path in (folder, *folder.parents) if path.is_relative_to(root))


def _free_in_cgroup(folder: Path) -> int | None:
    """Bytes that a control group may still take, its file cache counted as free; None where nothing limits it."""
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        return most - taken + int(statistics.get(cache, 0))
    return None


def free_memory(memberships: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes of memory that this process may still take: free on the machine and within the limits of its control groups."""
    limits = [free for folder in _cgroup_folders(memberships) if (free := _free_in_cgroup(folder)) is not None]
    return max(0, min([int(psutil.virtual_memory().available), *limits]))


def check_memory(needed: int, what: str) -> None:
    """Refuse work for which the memory is too small.

    Raises
    ------
    NotEnoughMemory
    """
    free = free_memory()
    if needed > free:
        raise NotEnoughMemory(f"{what}: needs {in_gb(needed)} of memory, {in_gb(free)} are free; end other work or use a larger machine")


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Refuse work whose files do not fit where they are to be written.

    Raises
    ------
    OutputError
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise OutputError(f"{folder}: {what} take {in_gb(needed)}, {in_gb(free)} are free; free some space or choose another place")


def in_gb(count: int) -> str:
    """Bytes for people.

    Examples
    --------
    >>> in_gb(3_288_334_336)
    '3.29 GB'
    """
    return f"{count / 1e9:.3g} GB"
