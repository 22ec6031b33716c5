"""Hypothesis strategies for spectra, second moments, weights and layers, to verify bounds of one's own.

Needs hypothesis (``pip install 'rdtools[hypothesis]'``). The hypothesis of a theorem is built in, not filtered for: a strategy for moments
of condition at most κ makes them from eigenvalues within a factor κ.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"rdtools.testing: {error}; its strategies need hypothesis: pip install 'rdtools[hypothesis]'", name=error.name
    ) from error


@st.composite
def spectra(draw: Any, *, min_size: int = 1, max_size: int = 24, max_condition: float = 1e6) -> Float64Array:
    """Positive eigenvalues, descending, with λ_max/λ_min ≤ `max_condition`: equal, two-level, geometric or unstructured."""
    n = draw(st.integers(min_size, max_size))
    scale = 10.0 ** draw(st.floats(-3, 3))
    decades = draw(st.floats(0, np.log10(max_condition)))
    family = draw(st.sampled_from(("equal", "two-level", "geometric", "free")))
    if family == "equal":
        exponents = np.zeros(n)
    elif family == "two-level":
        exponents = np.where(np.arange(n) < draw(st.integers(0, n)), 0.0, -decades)
    elif family == "geometric":
        exponents = -decades * np.arange(n) / max(n - 1, 1)
    else:
        exponents = -decades * np.array(draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)))
    return np.asarray(scale * np.sort(10.0**exponents)[::-1])


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Seeded generators."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


@st.composite
def second_moments(draw: Any, *, min_size: int = 1, max_size: int = 24, max_condition: float = 1e6) -> Float64Array:
    """Positive definite (n, n) matrices of condition at most `max_condition`, eigenvectors axes or Haar."""
    eigenvalues = draw(spectra(min_size=min_size, max_size=max_size, max_condition=max_condition))
    generator = draw(generators())
    if draw(st.booleans()):
        return np.diag(generator.permutation(eigenvalues))
    return haar_moment(eigenvalues, generator)


@st.composite
def layers(draw: Any, *, max_rows: int = 16, min_columns: int = 1, max_columns: int = 24, max_condition: float = 1e6) -> Layer:
    """Layers with a second moment from `second_moments` and weights that are normal, heavy-tailed or of unequal rows."""
    moment = draw(second_moments(min_size=min_columns, max_size=max_columns, max_condition=max_condition))
    generator = draw(generators())
    shape = (draw(st.integers(1, max_rows)), len(moment))
    family = draw(st.sampled_from(("normal", "laplace", "rows")))
    weight = generator.laplace(size=shape) if family == "laplace" else generator.standard_normal(shape)
    if family == "rows":
        weight *= np.exp(generator.standard_normal((shape[0], 1)))
    return Layer.of(10.0 ** draw(st.floats(-4, 2)) * weight, moment, name="drawn")
