from __future__ import annotations

import numpy as np
import pytest

from rdtools.errors import NotPositiveSemidefinite
from rdtools.in_place import factored_in_place
from rdtools.linalg import cholesky


def _moment(rng, n, rank):
    x = rng.standard_normal((rank, n))
    return x.T @ x


@pytest.mark.parametrize("layout", ["rows", "columns", "strides"])
@pytest.mark.parametrize(("n", "rank"), [(1, 1), (5, 9), (40, 60), (9, 3)])
def test_the_factor_is_that_of_cholesky_to_the_bit_and_the_moment_comes_back(layout, n, rank, rng):
    """Of all and of some rows and columns, regular and damped ones, in whatever order in memory; after an exception, too."""
    moment = _moment(rng, n, rank)
    stored = {"rows": moment.copy(), "columns": moment.copy(order="F"), "strides": np.repeat(np.repeat(moment, 2, 0), 2, 1)[::2, ::2]}[
        layout
    ]
    for used in (None, np.ones(n, dtype=bool), rng.random(n) > 0.4, np.zeros(n, dtype=bool)):
        part = moment if used is None else moment[np.ix_(used, used)]
        with factored_in_place(stored, used) as lower:
            np.testing.assert_array_equal(np.tril(lower), cholesky(part).lower)
        np.testing.assert_array_equal(stored, moment)
        with pytest.raises(KeyError), factored_in_place(stored, used):
            raise KeyError
        np.testing.assert_array_equal(stored, moment)


def test_what_has_no_factor_is_refused_by_name_and_comes_back(rng):
    indefinite = _moment(rng, 6, 9) - 20 * np.eye(6)
    indefinite[np.diag_indices(6)] = 1.0
    before = indefinite.copy()
    with pytest.raises(NotPositiveSemidefinite, match="rescalers: no Cholesky factor"), factored_in_place(indefinite, name="rescalers"):
        pass
    np.testing.assert_array_equal(indefinite, before)
