"""Windows of held-out tokens are of tokens that are held out."""

from __future__ import annotations

import pytest

from rdtools.errors import UsageError
from rdtools.jobs.calibration import EvaluationRequest
from rdtools.jobs.held_out import held_out_windows
from rdtools.model.checkpoint import EMBEDDED, find_model
from rdtools.model.pretrained import load_tokenizer
from rdtools.model.tokens import tokenize_text
from rdtools.runs.run_manifest import CalibrationEntry


def test_a_text_that_calibration_took_windows_of_is_not_held_out(tmp_path):
    """The whole text has other tokens than the windows of calibration, which are found by cutting it again as those were."""
    text, other = tmp_path / "text.txt", tmp_path / "other.txt"
    text.write_text("\n".join(f"value = {number} * total[{number}]" for number in range(60)))
    other.write_text(text.read_text().replace("total", "count"))
    checkpoint = find_model(EMBEDDED)
    seen = tokenize_text(text, load_tokenizer(checkpoint), sequences=3, length=16)
    calibration = CalibrationEntry(source="text.txt", sequences=3, length=16, padding=0, token_sha256=seen.sha256, trust_remote_code=False)
    with pytest.raises(UsageError, match=r"text.txt: the tokens that the Hessians were captured with, so that nothing is held out"):
        held_out_windows(checkpoint, EvaluationRequest(text=text), calibration=calibration, window=8)
    windows = held_out_windows(checkpoint, EvaluationRequest(text=other), calibration=calibration, window=8)
    assert (windows.clusters == range(len(windows.ids))).all(), "each window of a text is drawn again by itself"
    assert len(windows.ids) > 3
