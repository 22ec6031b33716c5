"""Description of a column of the result table."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["setting", "bound", "predicted", "measured"]


class About(NamedTuple):
    """Description of a column.

    Attributes
    ----------
    unit : "" for numbers without one; bpw is bits per weight of the whole matrix
    kind : chosen beforehand, a bound on every method, predicted by theory for this one, or measured
    meaning : one sentence
    heading : in tables for people; "" to leave the column out of them
    """

    unit: str
    kind: Kind
    meaning: str
    heading: str = ""


class Column(NamedTuple):
    """A column of the result table: its name, and the fields of `About`."""

    name: str
    unit: str
    kind: Kind
    meaning: str
    heading: str
