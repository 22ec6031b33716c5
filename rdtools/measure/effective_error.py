"""The measured distortion of an effective layer, from moments alone."""

from __future__ import annotations

import numpy as np

from rdtools.errors import ShapeMismatch, UsageError
from rdtools.measure.distortion import Distortion, errors_of_matrix, over_rows, weighted_error
from rdtools.moments.layer import Layer
from rdtools.ops import quadratic_form
from rdtools.records import EffectiveLayer, InputMap, InputMoments


def error(layer: Layer, effective: EffectiveLayer, moments: InputMoments | None = None) -> Distortion:
    """``D = E‖W x − Ŵ Q(T x) − U Vᵀ x − b‖²/(m n)``: the distortion per weight of what runs in place of ``W x``.

    Where activations are not quantized, the layer is one matrix M and `moments` are those of its own input: with plain moments
    ``D = tr((W − M) H (W − M)ᵀ)/(m n)``, which is `rdtools.measure.weighted_error`; with an input x̂ that has drifted,
    ``D = E‖W x − M x̂‖²/(m n)``. Where they are, `moments` are those of x beside ``x̂ = Q(T x)``, of exactly this map and this grid.

    Both are ``E‖A x + Ŵ (T x − x̂)‖²`` with ``A = W − U Vᵀ − Ŵ T``, M in the place of Ŵ and no T for the first::

        tr(A Σ_x Aᵀ) + tr((2 A + Ŵ T) F Ŵᵀ) + tr(Ŵ G Ŵᵀ),
        F = Σ_x Tᵀ − Σ_xx̂ = E[x (T x − x̂)ᵀ],    G = Σ_x̂ − (T Σ_xx̂)ᵀ = E[x̂ (x̂ − T x)ᵀ]

    A bias b takes the mean away: ``E‖A x − b‖² = tr(A (Σ_x − μ μᵀ) Aᵀ) + ‖A μ − b‖²``, with plain moments and their mean μ only.

    Where x̂ = T x in the moments, F is exactly zero and G too but for rounding (exactly for T = I), so that nothing cancels there. With a
    residual moment S, the layer is to make up for d = r − r̂ as well: ``−2 tr(S Ŵᵀ)`` is added, and the terms ``E‖d‖² + 2 tr(W E[x dᵀ])``
    are left out, because no moment here has them and no Ŵ changes them. With it the number may therefore be negative.

    Parameters
    ----------
    layer : the original, W and the Hessian of its input
    effective : in its place
    moments : of the input, undamped; None for the plain ones that the layer's Hessian is

    Returns
    -------
    Distortion
        The mean over rows, and its standard error, which takes rows as independent draws; nan for a single row.

    Raises
    ------
    ShapeMismatch
        If weight, layer and moments do not belong together.
    UsageError
        For plain moments where activations are quantized, and for a residual moment beside a low-rank term that acts on x alone. For a
        bias beside moments without a mean, that are not plain, or with quantized activations.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4; LRC, arXiv 2412.07902, the objective; arrangement derived for this project.

    Examples
    --------
    The input is halved, so that doubled weights make up for it.

    >>> half = InputMoments.drifted(np.array([[4.0]]), np.array([[1.0]]), np.array([[2.0]]))
    >>> layer = Layer.of(np.ones((1, 1)), half.reference)
    >>> [error(layer, EffectiveLayer(np.array([[v]]), InputMap(columns=1)), half).mean for v in (1.0, 2.0)]
    [1.0, 0.0]
    """
    weight, name = layer.weight, layer.key.name if moments is None else moments.name
    if weight.shape != effective.shape:
        raise ShapeMismatch(f"{name}: weight {weight.shape} beside an effective layer {effective.shape}, expected equal shapes")
    quantized = effective.activation is not None
    if effective.bias is not None:
        return _with_bias(layer, effective, moments, name)
    if moments is None and not quantized:
        return weighted_error(weight, effective.matrix, layer.hessian.matrix)
    if moments is None:
        raise UsageError(f"{name}: no moments beside activations quantized by {effective.activation}, expected those of x and Q(T x)")
    moments.check(effective.shape)
    expected = effective.input_map.outputs if quantized else effective.input_map.inputs
    if moments.actual_inputs != expected:
        of = "of Q(T x), behind the map" if quantized else "of the layer's own inputs, before the map"
        raise ShapeMismatch(f"{moments.name}: moments of {moments.actual_inputs} actual inputs, expected {expected}, those {of}")
    if moments.is_plain and not quantized:
        return weighted_error(weight, effective.matrix, moments.reference)
    if moments.is_plain:
        raise UsageError(
            f"{name}: plain moments beside activations quantized by {effective.activation}, expected InputMoments.quantized of this map "
            "and grid"
        )
    if quantized and moments.residual is not None and effective.low_rank is not None:
        raise UsageError(
            f"{name}: a residual moment beside a low-rank term, expected one of the two: what the term has in common with the residual "
            "stream is in no moment"
        )
    if quantized:
        transform, What = effective.input_map, effective.weight
    else:
        transform, What = InputMap(columns=weight.shape[1]), effective.matrix
    pulled = transform.pull_back(What)
    A = weight - pulled
    if quantized and effective.low_rank is not None:  # else it is in the matrix
        A -= effective.low_rank.matrix
    F = transform.apply(moments.reference) - moments.cross
    G = moments.actual - transform.apply(moments.cross.T)
    rows = quadratic_form(A, moments.reference)
    pull = (2 * A + pulled) @ F + What @ G
    if moments.residual is not None:
        pull -= 2 * moments.residual
    rows += np.einsum("ij,ij->i", pull, What)
    if moments.residual is None:
        rows = np.maximum(rows, 0.0)
    return over_rows(rows, weight.shape[1])


def _with_bias(layer: Layer, effective: EffectiveLayer, moments: InputMoments | None, name: str) -> Distortion:
    """`error` beside a bias."""
    known = layer.hessian if moments is None else moments
    matrix = layer.hessian.matrix if moments is None else moments.reference
    if known.mean is None or effective.activation is not None or not (moments is None or moments.is_plain):
        raise UsageError(
            f"{name}: a bias, expected plain moments with a mean of the input, and activations that are not quantized: no other error "
            "beside a bias is known; measure with the Hessian of the layer's own input"
        )
    assert effective.bias is not None
    return errors_of_matrix(layer.weight, effective.matrix, matrix, bias=effective.bias.values, mean=known.mean).distortion
