"""The freeze finds what it is there to find."""

from __future__ import annotations

import freeze
import numpy as np
import pandas as pd
import pytest

from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.methods import METHODS, make_quantizers
from rdtools.quantizers import ActivationQuantizer


@pytest.fixture
def record(tiny_llama, tiny_tokens, tmp_path):
    run = collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run")
    quantizers = make_quantizers(["rtn-midrise", "gptq-midrise+act-order", "gptq-midrise-mse"], [3.0])
    return pd.DataFrame([row for name in list(run)[:2] for row in freeze.freeze_layer(run, name, quantizers)])


def test_every_method_is_frozen_rotated_and_as_it_is():
    forms = freeze.method_forms()
    assert len(forms) == len(set(forms))
    weights_alone = [name for name in METHODS if not isinstance(make_quantizers([name], [3.0])[0], ActivationQuantizer)]
    assert set(weights_alone) <= set(forms)
    for name in [name for name in weights_alone if hasattr(make_quantizers([name], [3.0])[0], "rotation")]:
        assert any(form.startswith(name + "+") and make_quantizers([form], [3.0]) for form in forms)


def test_a_record_agrees_with_itself(record):
    assert len(record) == 6
    assert record["sha256"].str.len().eq(64).all()
    assert freeze.compare_records(record, record) == []


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [("sha256", "0" * 64, "symbols"), ("bytes", 1, "bytes"), ("distortion", 1.0, "distortion"), ("layer", "other", "not in the record")],
)
def test_one_changed_cell_is_named(record, column, value, says):
    planted = record.copy()
    planted.loc[3, column] = value
    lines = freeze.compare_records(planted, record)
    assert len(lines) == 1
    assert says in lines[0]
    assert str(record.loc[3, "method"]) in lines[0]


def test_distortions_may_differ_by_rounding_alone(record):
    near, far = record.copy(), record.copy()
    near["distortion"] *= 1 + 4 * np.finfo(float).eps
    far["distortion"] *= 1 + 3 * freeze.RELATIVE_DISTORTION
    assert freeze.compare_records(near, record) == []
    assert len(freeze.compare_records(far, record)) == len(record)


def test_names_of_version_0_1_are_read_as_those_of_today():
    old = pd.DataFrame({"method": ["gptq-int+act-order", "rtn", "gptq+rotation", "quip-sharp+hadamard-unrefined", "watersic"]})
    today = ["gptq-midrise+act-order", "hrtn", "hptq+rotation", "quip-sharp-unrefined+hadamard", "watersic"]
    assert freeze.renamed(old)["method"].tolist() == today
    assert set(today) <= set(freeze.method_forms())
