from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import bias

from rdtools.moments.layer import Layer

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(FIGURES / "bias.csv")


def test_the_rows_of_the_repository_say_what_the_text_claims(rows):
    """Theory and measurement agree; a bias costs more than it saves R(D) and WaterSIC, always; it saves rounding most."""
    known = rows[rows["hptq_saving_bpw"].notna()]
    for method, theory in (("hptq", "feedback"), ("watersic", "bound"), ("hrtn", "rounding")):
        assert (abs(known[f"{method}_saving_bpw"] - known[f"{theory}_saving_bpw"]).mean()) < 0.02
    assert (known["watersic_saving_bpw"] < known["cost_bpw"]).all()
    for name in ("bound_saving_bpw", "limit_saving_bpw"):
        assert (rows[name] < rows["cost_bpw"]).all()
    smol = rows["model"] == "SmolLM2-135M"
    assert (rows.loc[~smol, "feedback_saving_bpw"] < rows.loc[~smol, "cost_bpw"]).all()
    assert (rows.loc[smol, "feedback_saving_bpw"] > rows.loc[smol, "cost_bpw"]).sum() == 110
    assert rows.loc[smol & (rows["layer_type"] == "q_proj"), "rounding_saving_bpw"].mean() == pytest.approx(0.646, abs=1e-3)
    assert (bias.summary(rows)["bound_saving_bpw_gain"] == 0).all()
    assert len(bias.draw(rows).axes) == rows["model"].nunique()


def test_savings_are_those_of_a_layer_made_for_the_covariance(rng):
    """Inputs with a large mean: what hrtn gains is ½ log2(tr H/tr C), within the 2 % that a draw of 64 × 32 weights allows."""
    x = rng.standard_normal((400, 32)) + 2 * rng.standard_normal(32)
    layer = Layer.from_activations(rng.standard_normal((64, 32)), x)
    found = bias.measured(layer, x.mean(axis=0))
    promised = bias.theory(layer.hessian.matrix, x.mean(axis=0), layer.statistics.weight_variance)
    assert found["hrtn_saving_bpw"] == pytest.approx(promised["rounding_saving_bpw"], rel=0.05)
    assert found["hrtn_after_saving_bpw"] == pytest.approx(found["hrtn_saving_bpw"], abs=0.02)  # its integers read no moment
    assert promised["limit_saving_bpw"] < promised["feedback_saving_bpw"] + 1e-9 < promised["rounding_saving_bpw"]
    assert np.isfinite(list(found.values())).all()
