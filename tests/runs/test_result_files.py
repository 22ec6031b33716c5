"""Files of one report belong together, and what does not is named."""

from __future__ import annotations

import json

import pytest

from rdtools.errors import CorruptFile
from rdtools.runs.numbers import NUMBERS_VERSION
from rdtools.runs.result_files import RESULTS, check_results, outdated_numbers, write_manifest
from rdtools.runs.seal import UNSEALED, sealed


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("a", "figures/b"):
        (tmp_path / name).write_text(f"contents of {name}")
    write_manifest(tmp_path, [tmp_path / "a", tmp_path / "figures" / "b"], versions={"numpy": "2"}, command="rdtools report")
    return tmp_path


def test_what_is_as_written_passes(folder):
    check_results(folder)
    check_results(folder, ["a"])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_text("con"), "3 bytes, expected 21: truncated"),
        (lambda path: path.write_text("contents of figures/c"), "altered, or of an older"),
    ],
)
def test_a_file_that_is_another_is_named(damage, words, folder):
    damage(folder / "figures" / "b")
    check_results(folder, ["a"])
    with pytest.raises(CorruptFile, match=f"figures/b: .*{words}.*run the same rdtools report command again"):
        check_results(folder)


def test_a_file_that_is_not_listed_is_named(folder):
    (folder / "c").write_text("")
    with pytest.raises(CorruptFile, match="c: missing, or not of the report"):
        check_results(folder, ["c"])


def test_any_altered_byte_of_the_list_is_seen(folder):
    path = folder / RESULTS
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        if not chr(whole[place]).isspace():
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(CorruptFile):
                check_results(folder)
    path.unlink()
    with pytest.raises(CorruptFile, match=r"results\.json: missing: the report did not finish"):
        check_results(folder)


def test_the_list_says_what_made_it(folder):
    content = json.loads((folder / RESULTS).read_text())
    assert (content["numbers"], content["versions"], content["command"]) == (NUMBERS_VERSION, {"numpy": "2"}, "rdtools report")


def test_a_list_of_another_rdtools_is_told_from_an_altered_one(folder):
    """Version 1 had no checksum."""
    content = json.loads((folder / RESULTS).read_text()) | {"version": 1}
    del content["sha256"]
    (folder / RESULTS).write_text(json.dumps(content))
    with pytest.raises(CorruptFile, match=r"results\.json: of another rdtools: format version 1, .* delete plan\.json beside it and give"):
        check_results(folder)


def test_numbers_of_another_rdtools_are_said(folder):
    assert outdated_numbers(folder) == ""
    content = json.loads((folder / RESULTS).read_text()) | {"numbers": NUMBERS_VERSION - 1, "sha256": UNSEALED}
    (folder / RESULTS).write_bytes(sealed(json.dumps(content).encode()))
    said = outdated_numbers(folder)
    assert f"numbers of version {NUMBERS_VERSION - 1}, this rdtools computes version {NUMBERS_VERSION}" in said
    assert "the last of which was rdtools report:" in said
