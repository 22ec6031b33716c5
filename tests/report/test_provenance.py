from __future__ import annotations

import subprocess

from rdtools.report.provenance import code_commit


def _git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    return subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_that_of_a_checkout_that_tracks_the_code(tmp_path):
    package = tmp_path / "rdtools"
    package.mkdir()
    (package / "_version.py").write_text("1")
    assert code_commit(package) == "", "installed from no checkout that pip knows"
    _git(tmp_path, "init", "-q")
    (tmp_path / "other").write_text("")
    _git(tmp_path, "add", "other")
    _git(tmp_path, "commit", "-qm", "another project")
    assert code_commit(package) == "", "below a checkout of something else"
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "ours")
    assert code_commit(package) == _git(tmp_path, "rev-parse", "HEAD")
    (package / "_version.py").write_text("2")
    assert code_commit(package).endswith(" with changes")
