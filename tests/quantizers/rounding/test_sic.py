from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.claims.evidence.nearest_plane import nearest_plane, textbook_gptq
from rdtools.moments.layer import Layer
from rdtools.ops import sic_sweep
from rdtools.quantizers import HPTQ
from rdtools.quantizers.rounding.sic import sic_rounding
from rdtools.testing import generators, second_moments
from rdtools.theory.ldlq import feedback_matrix
from rdtools.transforms.orders import ORDERS


@given(second_moments(max_size=12, max_condition=1e4), generators(), st.sampled_from(list(ORDERS)), st.sampled_from([0.0, 1e-3, 0.1]))
def test_in_any_order_and_with_any_damping_it_is_the_textbook_ldlq_and_nearest_plane(H, generator, order, damping):
    """OPTQ ≡ LDLQ ≡ Babai ≡ reversed SIC (Chen et al., Theorem 4; QuIP, Theorem 6): identical integers but within rounding of a tie."""
    n = len(H)
    layer = Layer.of(4 * generator.standard_normal((6, n)), H)
    steps = np.exp(0.3 * generator.standard_normal(n))
    problem = HPTQ(rate_bits=3, order=order, damping=damping).prepare(layer)
    L, p, W = problem.factor, problem.order, layer.weight
    integers = sic_rounding(problem.factor, problem.order, None)(problem.target, steps, np.ones(n), 0.0, -(2**30), 2**30)
    _, residual = sic_sweep(W[:, p], L, steps[p])
    # numbers of about 40 steps are compared, by factors of matrices of condition 1e4 at most
    budget = rounding(n**2 + 20, condition=1e4)
    tie = np.abs(0.5 - np.abs(residual / (np.diagonal(L) * steps[p])))
    sure = tie.min(axis=1) > 40 * budget

    damped = layer.hessian.matrix + damping * np.mean(np.diagonal(H)) * np.eye(n)
    first = p[::-1]
    textbook, _ = textbook_gptq(W[:, first], damped[np.ix_(first, first)], steps[first])
    assert (integers[:, first][sure] == textbook[sure]).all()

    values, vectors = np.linalg.eigh(damped[np.ix_(p, p)])
    root = (vectors * np.sqrt(np.maximum(values, 0))).T
    assert (integers[:, p][sure] == nearest_plane(root * steps[p], W[:, p] @ root.T)[sure]).all()

    U, rounded = feedback_matrix(L), W[:, p].copy()
    for k in range(n - 1, -1, -1):
        target = W[:, p[k]] + (W[:, p] - rounded)[:, k + 1 :] @ U[k + 1 :, k]
        rounded[:, k] = steps[p[k]] * np.rint(target / steps[p[k]])
    assert (integers[:, p][sure] == np.rint(rounded / steps[p])[sure]).all()
