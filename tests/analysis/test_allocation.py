from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rdtools.analysis import allocation

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(FIGURES / "allocation.csv")


def test_rows_are_drawn_and_have_the_columns_of_an_evaluation(rows):
    from rdtools.records.evaluation_row import EVALUATION_COLUMNS

    assert list(rows) == list(allocation.COLUMNS)
    assert set(rows) <= {column.name for column in EVALUATION_COLUMNS}
    assert len(allocation.draw(rows).axes) == rows["model"].nunique()
