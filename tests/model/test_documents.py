from __future__ import annotations

import os

import numpy as np
import pytest

from rdtools.errors import BadTokens, UsageError
from rdtools.model.documents import divided, read_documents, tokenize_documents


def test_every_document_is_in_one_part_and_parts_have_their_shares():
    """Shares hold to within one document; another seed divides otherwise."""
    rng = np.random.default_rng(0)
    documents = [f"{number} " + "x" * int(rng.integers(10, 200)) for number in range(300)]
    parts = divided(documents, (0.6, 0.1, 0.3), seed=1)
    assert sorted(document for part in parts for document in part) == sorted(documents)
    sizes = np.array([sum(map(len, part)) for part in parts])
    assert np.abs(sizes / sizes.sum() - [0.6, 0.1, 0.3]).max() < 204 / sizes.sum()
    assert all(part == [one for one in documents if one in set(part)] for part in parts)
    assert divided(documents, (0.6, 0.1, 0.3), seed=1) == parts
    assert divided(documents, (0.6, 0.1, 0.3), seed=2) != parts


def test_documents_are_tokenized_by_themselves(tmp_path):
    (tmp_path / "a.txt").write_text(" one \n--\n\n--\ntwo words\n--\n")
    documents = read_documents(tmp_path / "a.txt", "\\n--\\n")
    assert documents == ["one", "two words"]
    ids, of = tokenize_documents(documents, lambda text, verbose: {"input_ids": [1, *map(len, text.split())]})
    assert ids.tolist() == [1, 3, 1, 3, 5]
    assert of.tolist() == [0, 0, 1, 1, 1]


def test_a_text_that_is_none_is_refused_as_by_a_capture(tmp_path):
    """A pipe is, too, which reading would wait for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff--")
    for name, message in (("pipe", "not a regular file"), ("binary", "not UTF-8 text"), ("nothing", "no such file")):
        with pytest.raises(BadTokens, match=f"{name}: {message}"):
            read_documents(tmp_path / name, "--")


def test_what_cannot_be_divided_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("one document")
    with pytest.raises(BadTokens, match=r"a.txt: one document with '--' as separator, expected at least two"):
        read_documents(tmp_path / "a.txt", "--")
    with pytest.raises(UsageError, match="`documents`: an empty separator"):
        read_documents(tmp_path / "a.txt", "")
    with pytest.raises(BadTokens, match="2 documents of unequal length leave none for"):
        divided(["a", "b"], seed=0)
    with pytest.raises(UsageError, match="expected three positive numbers"):
        divided(["a", "b", "c"], (1, 0, 1), seed=0)
