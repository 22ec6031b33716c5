"""A hundredth of the cases of ``soak.py``, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import subjects
from faults.limits import run_here
from faults.soak import KINDS


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the memory of a case from /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_no_damaged_or_forged_file_breaks_a_promise(kind, monkeypatch):
    """Another seed than that of the large counts."""
    for module in subjects.CHECKERS:
        monkeypatch.setattr(module, "zlib", module.zlib)  # forged files are read without it; given back at the end
    prepare, part = KINDS[kind]
    outcome = run_here(lambda: prepare(seed=1), range(int(200 * part)))
    assert outcome.violations == []
    assert outcome.counts.total() == int(200 * part)
    assert set(outcome.counts) - {"unchanged", "CorruptFile"} <= {"read", "BadTokens", "ModelUnreadable", "ShapeMismatch"}
    assert ("read" in outcome.counts) == ("damaged" not in kind)
