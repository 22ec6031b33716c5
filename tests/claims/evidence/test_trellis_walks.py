from __future__ import annotations

import numpy as np
import pytest

from rdtools.claims.evidence.trellis_walks import _parity_faults, _states
from rdtools.ops import coset_transitions
from rdtools.records import CosetSymbols, GaussianModel, UniformGrid


def _followed(transitions, bits):
    """One row after another."""
    states, state = np.zeros_like(bits), np.zeros(bits.shape[1], dtype=np.int64)
    for r, row in enumerate(bits):
        states[r] = state
        state = transitions[state, row]
    return states


@pytest.mark.parametrize(("m", "n"), [(0, 3), (1, 1), (2, 3), (16, 2), (99, 5), (137, 1)])
@pytest.mark.parametrize("states", [4, 8, 64])
def test_states_are_those_of_a_walk_row_by_row(m, n, states, rng):
    transitions, bits = coset_transitions(states), rng.integers(0, 2, (m, n))
    np.testing.assert_array_equal(_states(transitions, bits), _followed(transitions, bits))


@pytest.mark.parametrize("segment", [7, 40, 1000])
def test_an_integer_of_the_other_parity_is_a_fault(segment, rng):
    """One in the last row of a walk leaves no later state wrong."""
    transitions, high = coset_transitions(8), rng.integers(0, 2, (40, 3))
    integers = np.concatenate(
        [_followed(transitions, high[k : k + segment]) % 2 + 2 * high[k : k + segment] for k in range(0, 40, segment)]
    )

    def faults(q):
        return _parity_faults(CosetSymbols(q.astype(np.int32), UniformGrid(1.0), GaussianModel(), 8, segment))

    assert faults(integers) == 0
    integers[39, 1] += 1
    assert faults(integers) == 1
