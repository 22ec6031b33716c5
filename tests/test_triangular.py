from __future__ import annotations

import numpy as np
import pytest
from tolerances import rounding

from rdtools.triangular import triangular_gram, triangular_inverse


@pytest.mark.parametrize("n", [1, 2, 33])
def test_triangles_are_inverted_and_multiplied_as_matrices(rng, n):
    L = np.tril(rng.standard_normal((n, n))) + 2 * n * np.eye(n)
    inverse, gram = triangular_inverse(L), triangular_gram(L)
    budget = rounding(n, condition=float(np.linalg.cond(L)))
    np.testing.assert_allclose(L @ inverse, np.eye(n), atol=budget)
    assert (np.triu(inverse, 1) == 0).all()
    np.testing.assert_allclose(gram, np.tril(L @ L.T), rtol=0, atol=rounding(n) * np.abs(L @ L.T).max())
    nothing = np.zeros((0, 0))
    assert triangular_inverse(nothing).shape == triangular_gram(nothing).shape == (0, 0)
