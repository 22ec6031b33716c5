from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from rdtools.errors import DataError, NotPositiveSemidefinite, ShapeMismatch, WrongType
from rdtools.moments.heldout import HeldoutMoment
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import ar1_moment


def _frozen(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


def test_a_writable_array_is_copied(rng):
    W, H = rng.standard_normal((3, 4)), ar1_moment(4, 0.5)
    layer = Layer.of(W, H)
    before = layer.weight.copy(), layer.hessian.matrix.copy()
    W[:], H[:] = 0, 0
    assert (layer.weight == before[0]).all()
    assert (layer.hessian.matrix == before[1]).all()


def test_a_read_only_view_of_a_writable_array_is_copied(rng):
    W, H = rng.standard_normal((3, 4)), ar1_moment(4, 0.5)
    views = W[:], H[:]
    for view in views:
        view.flags.writeable = False
    layer = Layer.of(*views)
    assert not np.shares_memory(layer.weight, W)
    assert not np.shares_memory(layer.hessian.matrix, H)


def test_a_tensor_is_copied(rng):
    W, H = torch.from_numpy(rng.standard_normal((3, 4))), torch.from_numpy(ar1_moment(4, 0.5))
    layer = Layer.of(W, H)
    assert not np.shares_memory(layer.weight, W.numpy())
    assert not np.shares_memory(layer.hessian.matrix, H.numpy())


def test_a_read_only_array_is_kept(rng):
    W, H = _frozen(rng.standard_normal((3, 4))), _frozen(ar1_moment(4, 0.5))
    layer = Layer.of(W, H)
    assert layer.weight is W
    assert layer.hessian.matrix is H
    data = W.tobytes()
    kept = Layer.of(np.frombuffer(data).reshape(3, 4), H)
    assert not kept.weight.flags.owndata
    assert (kept.weight == W).all()
    assert Layer.of(_frozen(np.asfortranarray(W)), H).weight is not W


@pytest.mark.parametrize("kind", ["float64, read-only", "float32"])
def test_a_layer_is_made_with_little_memory_beside_its_arrays(kind):
    """At most a tenth of n² beside the arrays that the layer keeps."""
    n = 2048
    H = ar1_moment(n, 0.5)
    W = np.ones((4, n))
    expected = 0.0
    if kind == "float32":
        H, W = H.astype(np.float32), W.astype(np.float32)
        expected = 1.0
    else:
        H, W = _frozen(H), _frozen(W)
    tracemalloc.start()
    layer = Layer.of(W, H)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert layer.weight.shape == (4, n)
    assert peak <= (expected + 0.1) * 8 * n**2


def test_a_run_trusts_what_it_wrote_and_still_looks_at_the_diagonal(tiny_llama, tiny_tokens, tmp_path, monkeypatch):
    """Files whose hashes agree are not compared with their transposes again; a negative mean of squares is seen all the same."""
    import hashlib

    from safetensors.numpy import save

    from rdtools.jobs.calibration import CalibrationRequest
    from rdtools.jobs.collect import collect
    from rdtools.runs.packing import pack
    from rdtools.runs.run_manifest import write_manifest
    from rdtools.runs.store import open_run

    run = collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("rdtools.linalg._symmetric", lambda *_args, **_kwargs: pytest.fail("checked again"))
        patch.setattr("rdtools.linalg._check_correlations", lambda *_args, **_kwargs: pytest.fail("checked again"))
        hessian = run.hessian(0)
    matrix = hessian.matrix.copy()
    matrix[3, 3] *= -1
    data = save({"packed": pack(matrix)})
    (run.path / run.hessians[0].file).write_bytes(data)
    entry = run.hessians[0].model_copy(update={"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    write_manifest(run.path, run.manifest.model_copy(update={"hessians": [entry, *run.hessians[1:]]}))
    with pytest.raises(NotPositiveSemidefinite, match="diagonal entry 3"):
        open_run(run.path).hessian(0)


@pytest.mark.parametrize("tokens", ["5", -5, 5.5, True, None, np.float64(5)])
def test_a_number_of_tokens_is_a_whole_number(tokens):
    for made in (lambda: Layer.of(np.eye(2), np.eye(2), n_tokens=tokens), lambda: HeldoutMoment.of(np.eye(2), n_tokens=tokens)):
        with pytest.raises(WrongType, match=r"`n_tokens` .*: expected a whole number from 0 on, such as 4096"):
            made()
    assert Layer.of(np.eye(2), np.eye(2), n_tokens=np.int32(7)).hessian.n_tokens == 7


@pytest.mark.parametrize(
    ("weight", "hessian", "name", "message"),
    [
        ([[1.0, 2.0], [3.0]], np.eye(2), "q", "q: rows of unequal length, expected an array"),
        (np.eye(2), [[1.0, 2.0], [3.0]], "q", "q: Hessian: rows of unequal length, expected an array"),
        (np.eye(2), np.eye(2), 3, "`name` 3: expected a string, such as '0.q_proj'"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(weight, hessian, name, message):
    with pytest.raises(DataError if name == "q" else WrongType, match=message):
        Layer.of(weight, hessian, name=name)


@pytest.mark.parametrize(
    ("weight", "inputs"), [([[1.0, 2.0], [3.0]], np.eye(2)), (1.0, np.eye(2)), (np.eye(2), np.ones(2)), (np.eye(2), np.eye(3))]
)
def test_inputs_that_do_not_fit_the_weights_are_refused(weight, inputs):
    with pytest.raises(ShapeMismatch, match="expected"):
        Layer.from_activations(weight, inputs)
