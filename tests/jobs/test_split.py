from __future__ import annotations

import json

from rdtools.cli.main import main
from rdtools.jobs.calibration import EvaluationRequest
from rdtools.jobs.held_out import held_out_windows
from rdtools.model.checkpoint import EMBEDDED, find_model
from rdtools.model.documents import read_documents
from rdtools.runs.run_manifest import CalibrationEntry


def test_parts_are_evaluated_over_their_documents(tmp_path, capsys):
    """The command writes three texts; windows of one are clustered by its documents, token by token, wherever windows begin."""
    text = tmp_path / "all.txt"
    text.write_text("\n##\n".join(f"value_{number} = {number} * total[{number}]\n" * (1 + number % 3) for number in range(40)))
    assert main(["split", str(text), str(tmp_path / "parts"), "--documents", "##", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(part["documents"] for part in found.values()) == 40
    own = [set(read_documents(tmp_path / "parts" / f"{name}.txt", "##")) for name in found]
    assert len(set.union(*own)) == 40
    calibration = CalibrationEntry(source="x", sequences=1, length=16, padding=0, token_sha256="", trust_remote_code=False)
    request = EvaluationRequest(text=tmp_path / "parts" / "test.txt")
    windows = held_out_windows(find_model(EMBEDDED), request, calibration=calibration, documents="##", window=16)
    assert windows.clusters.shape == windows.ids.shape
    assert (windows.clusters.reshape(-1)[1:] >= windows.clusters.reshape(-1)[:-1]).all()
    assert len(windows.token_clusters) == windows.scored == 15 * len(windows.ids)
    assert 1 < len(set(windows.token_clusters)) <= found["test"]["documents"]
    assert windows.protocol == "windows of 16 over documents"
    assert main(["split", str(text), str(tmp_path / "parts"), "--documents", "##"]) == 2
    assert "calibration.txt: exists; choose another directory" in capsys.readouterr().err
