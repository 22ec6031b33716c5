from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rdtools.quantizers.reassembly.thresholds import distinct_thresholds
from rdtools.testing import generators
from rdtools.transforms.links import Split


@given(generators(), st.integers(1, 12), st.integers(0, 30))
def test_every_number_of_added_copies_that_a_threshold_can_have_is_met_at_the_least_one(generator, n, most):
    """Against an even grid of thresholds, and a hair below each of those found: more copies are added there."""
    m = np.exp(2 * generator.standard_normal(n))
    found = distinct_thresholds(m, most)

    def added(threshold):
        return Split.within(m, threshold).outputs - n

    counts = [added(t) for t in found]
    assert counts == sorted(set(counts))
    assert (found[0], counts[0]) == (m.max(), 0)
    assert counts[-1] <= most
    on_grid = {added(t) for t in np.linspace(m.max() / (most + 2), m.max(), 200)}
    assert {r for r in on_grid if r <= most} <= set(counts)
    assert all(added(t * (1 - 1e-9)) > r for t, r in zip(found, counts, strict=True))


def test_one_massive_channel_takes_all_copies():
    """10⁴ times the rest: thresholds down to a tenth of it split nothing else."""
    m = np.append(np.ones(50), 1e4)
    assert [Split.within(m, t).counts[-1] for t in distinct_thresholds(m, 9)] == list(range(1, 11))
    assert (Split.within(m, distinct_thresholds(m, 9)[-1]).counts[:-1] == 1).all()
