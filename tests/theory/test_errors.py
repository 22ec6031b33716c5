from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import rdtools.theory
from rdtools import errors
from rdtools.errors import RdtoolsError, TheoryError
from rdtools.theory.calibration import calibration_penalty_bits
from rdtools.theory.incoherence import haar_incoherence_bound
from rdtools.theory.waterfilling import distortion_rate

SOURCES = sorted(Path(rdtools.theory.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_error_that_theory_raises_is_one_of_rdtools(path):
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise) and node.exc is not None]
    for call in raised:
        name = ast.unparse(call.func if isinstance(call, ast.Call) else call)
        assert issubclass(getattr(errors, name, object), RdtoolsError), f"{path.name}: {name}"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration_penalty_bits(1.5), r"ratio 1.5 .* expected 0 to 1"),
        (lambda: distortion_rate(-1.0, np.ones(2)), r"rate -1.0, expected"),
        (lambda: haar_incoherence_bound(4, failure=2.0), r"failure probability 2.0, expected"),
    ],
)
def test_an_argument_outside_the_domain_says_what_was_got_and_what_was_expected(call, message):
    with pytest.raises(TheoryError, match=message) as caught:
        call()
    assert isinstance(caught.value, ValueError)
