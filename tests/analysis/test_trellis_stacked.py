from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import trellis_stacked

from rdtools.compare import layer_facts
from rdtools.moments.layer import Layer

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def layers():
    rng = np.random.default_rng(0)
    first = Layer.of(rng.standard_normal((48, 16)), np.diag(np.arange(1.0, 17.0)))
    return first, replace(first, weight=3 * rng.standard_normal((32, 16)))


def test_a_stack_of_one_matrix_is_its_file_and_a_row_count(layers):
    facts = [layer_facts(layers[0])]
    bits, limit = trellis_stacked.single_rows(layers[:1], facts, "watersic-trellis", 2.0)
    counted, same = trellis_stacked.stacked_rows(layers[:1], facts, "watersic-trellis", 2.0)
    assert counted - bits == pytest.approx(trellis_stacked.ROW_COUNT_BITS, abs=1e-6)
    assert same == pytest.approx(limit, rel=1e-9)


def test_rows_are_made_and_drawn(layers, monkeypatch):
    monkeypatch.setattr(trellis_stacked, "RATES", (2.0,))
    made = pd.DataFrame(trellis_stacked.rows_of(layers, "q, k, v"))
    kept = pd.read_csv(FIGURES / "trellis_stacked.csv")
    assert list(made) == list(kept)
    assert made["container_layers"].tolist() == [1, 2, 1, 2]
    assert len(trellis_stacked.draw(made).axes) == 1
    assert len(trellis_stacked.draw(kept).axes) == 2


def test_stacks_gain_what_the_gallery_says():
    """Gate and up on every block, most with learnt models; q, k and v but in block 0, where their rows are too unlike."""
    rows = pd.read_csv(FIGURES / "trellis_stacked.csv")
    places = ["group", "method", "block", "target_bpw"]
    single, one = (rows[rows["container_layers"].gt(1) == flag].set_index(places)["rate_gap_total_bpw"] for flag in (False, True))
    saved = (single - one).sort_index()
    assert saved.loc["gate, up"].min() > 0
    assert saved.loc["gate, up", "watersic-trellis+adaptive"].min() > 0.03
    attention = saved.loc["q, k, v"].drop(0, level="block")
    assert attention.min() > 0.02
    assert saved.loc["q, k, v", "watersic-trellis+adaptive", 0].max() < 0
