"""Docstrings of quantizers list every setting."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass, fields

import pytest

import rdtools as rd
from rdtools.docstrings import entries, sections, type_text
from rdtools.methods import METHODS
from rdtools.quantizers import HPTQ
from rdtools.records import ActivationPoint, RDPoint
from rdtools.records.rows import COLUMNS
from rdtools.transforms.orders import ORDERS

CLASSES = {type(entry.make((entry.rates.get("values") or [entry.rates["min"]])[0])) for entry in METHODS.values()}


def attributes(kind):
    return dict(sections(inspect.cleandoc(kind.__doc__)))["Attributes"]


@pytest.mark.skipif(sys.flags.optimize > 1, reason="python -OO has no docstrings")
@pytest.mark.parametrize("kind", sorted(CLASSES, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_every_setting_has_its_type_and_a_meaning(kind):
    """Those of bases too, each once, in the order of the constructor."""
    body = attributes(kind)
    assert re.findall(r"^(\w+) : \S.*$\n    \S", body, flags=re.MULTILINE) == [field.name for field in fields(kind)]
    assert " : see " not in body


@pytest.mark.parametrize("kind", [RDPoint, ActivationPoint])
def test_columns_are_in_the_docstring_of_a_point(kind):
    body = attributes(kind)
    assert re.findall(r"^(\w+) : ", body, flags=re.MULTILINE) == [field.name for field in fields(kind)]
    meanings = {column.name: column.meaning for column in COLUMNS}
    assert all(meanings[field.name].split()[0] in body for field in fields(kind))


def test_choices_and_defaults_are_those_that_are_checked():
    body = attributes(rd.WaterSIC)
    assert "coding : {'shared', 'column', 'histogram'}, default 'column'" in body
    assert "lmmse : bool or {'sample', 'either'}, default False" in body
    assert all(f'"{order}"' in body for order in ORDERS)
    for coding in ("fixed", "adaptive"):
        with pytest.raises(rd.methods.WrongType.__mro__[1], match="coding"):
            rd.WaterSIC(rate_bits=3, coding=coding)


def test_a_class_of_a_user_is_completed_as_far_as_it_says_something():
    @dataclass(frozen=True, kw_only=True)
    class Mine(HPTQ):
        """Mine.

        Attributes
        ----------
        share : of something
        """

        share: float = 0.5
        silent: int = 1

    body = attributes(Mine)
    assert "share : float, default 0.5\n    of something" in body
    assert "rate_bits : float\n    target rate" in body
    assert body.endswith("silent : int, default 1")


@pytest.mark.parametrize(("annotation", "text"), [
    ("NDArray[np.bool_] | None", "bool array or None"),
    ("Annotated[int, 3] | Literal['a']", "int or {'a'}"),
    ("Sequence[Sequence[int]]", "Sequence of Sequence of int"),
    ("'int | str'", "int or str"),
    ("Callable[[int], str]", "Callable"),
])  # fmt: skip
def test_types_in_words(annotation, text):
    assert type_text(annotation, {}) == text


def test_an_entry_ends_where_the_next_begins():
    assert entries("a : one\n    more\nb, c : two") == {"a": "one more", "b": "two", "c": "two"}
