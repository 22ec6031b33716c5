"""A layer's way from its task to its row is short."""

from __future__ import annotations

import pytest
from walk import walk

#: A method of each way: with and without groups, steps of columns, a plan, rescalers, a trellis, codebooks, and what each alone looks at.
METHODS = (
    *("rtn-g128", "gptq", "gptq-g128", "hptq", "hptq-waterfilled", "watersic-mmse", "watersic-published", "watersic-trellis"),
    *("quip-published", "qtip"),
)


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_is_handed_to_few_files_and_to_none_more_than_twice(method):
    found = walk(method, rows=64, columns=16)
    assert found.files <= 13
    assert found.total <= 20
    assert found.most <= 2
