from __future__ import annotations

import numpy as np
import pytest

from rdtools.errors import BadTokens
from rdtools.evaluation.windows import cut
from rdtools.model.tokens import Tokens


def test_padding_is_in_no_window_and_clusters_are_sequences():
    ids = np.arange(12).reshape(2, 6)
    mask = np.array([[False, True, True, True, True, True], [True, True, False, False, False, False]])
    windows = cut(Tokens(ids, mask, "x"), 2)
    assert windows.ids.tolist() == [[1, 2], [3, 4], [6, 7]]
    assert (windows.clusters.tolist(), windows.left_out, windows.scored) == ([0, 0, 1], 1, 3)


def test_fewer_windows_are_evenly_spaced():
    windows = cut(Tokens(np.arange(20).reshape(1, 20), np.ones((1, 20), bool), "x"), 2, most=3)
    assert windows.ids[:, 0].tolist() == [0, 8, 18]


@pytest.mark.parametrize(
    ("length", "message"), [(7, "the longest sequence has 6 tokens, a window 7; expected at least one window"), (1, "at least 2")]
)
def test_a_text_shorter_than_a_window_is_refused(length, message):
    with pytest.raises(BadTokens, match=message):
        cut(Tokens(np.zeros((3, 6), int), np.ones((3, 6), bool), "x"), length)
