from __future__ import annotations

import pytest

import rdtools as rd


def test_every_public_name_is_there():
    assert set(rd.__all__) <= set(dir(rd))
    assert all(getattr(rd, name) is not None for name in rd.__all__)


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Watersick'"):
        rd.Watersick  # noqa: B018
