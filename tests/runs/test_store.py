from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import save

from rdtools.errors import CorruptFile, ModelUnreadable, OutputError, UsageError, WrongType
from rdtools.files import atomic_path, write_atomically
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.moments.spectrum import spectrum_of
from rdtools.runs.packing import pack, unpack
from rdtools.runs.run_manifest import MANIFEST
from rdtools.runs.seal import UNSEALED, sealed
from rdtools.runs.store import open_run
from rdtools.testing import second_moments


@pytest.fixture
def run(tiny_llama, tiny_tokens, tmp_path):
    return collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run")


@given(second_moments())
def test_packing_is_exact(H):
    assert (unpack(pack(H), name="x") == H).all()


@pytest.mark.parametrize("n", [1, 7, 300])
def test_packing_is_the_lower_triangle_by_rows_and_zeros_lose_their_sign(n, rng):
    H = rng.standard_normal((n, n))
    H[H < -1] = -0.0
    H = np.tril(H) + np.tril(H, -1).T
    packed = pack(H)
    assert packed.tobytes() == H[np.tril_indices(n)].tobytes()
    whole = unpack(packed, name="x")
    assert whole.tobytes() == (H + 0.0).tobytes()
    assert not np.signbit(whole[whole == 0]).any()


@pytest.mark.parametrize("size", [2, 5, 7])
def test_wrong_lengths_never_broadcast(size):
    with pytest.raises(CorruptFile, match=r"expected n\(n\+1\)/2"):
        unpack(np.zeros(size), name="x")


def test_a_run_reads_back_what_was_captured(run, tiny_llama):
    import torch
    from safetensors.torch import load_file

    assert len(run) == 14
    weights = load_file(tiny_llama / "model.safetensors")
    for name in run:
        layer = run[name]
        assert torch.equal(torch.from_numpy(layer.weight), weights[f"{name}.weight"].double())
        assert layer.hessian.n_tokens == 192
    key = run["model.layers.1.self_attn.k_proj"].key
    assert (key.model, key.type, key.block) == ("tiny", "k_proj", 1)


def test_layers_that_share_an_input_share_hessian_and_spectrum(run):
    q, k = run["model.layers.0.self_attn.q_proj"], run["model.layers.0.self_attn.k_proj"]
    assert q.hessian is k.hessian
    assert q.spectrum is k.spectrum is spectrum_of(q.hessian)


def test_manifest_states_conventions_hashes_and_versions(run):
    manifest = json.loads((run.path / MANIFEST).read_text())
    assert set(manifest["model"]["files"]) == {"model.safetensors", "config.json"}
    assert manifest["model"]["uncovered"] == []
    assert "uncentred mean over tokens" in manifest["conventions"]["hessian"]
    assert manifest["calibration"]["token_sha256"]
    assert {"rdtools", "python", "torch", "transformers", "numpy"} <= set(manifest["versions"])
    assert all(len(h["sha256"]) == 64 and h["n_tokens"] == 192 for h in manifest["hessians"])
    assert all(len(f["sha256"]) == 64 for f in manifest["model"]["files"].values())


def test_the_same_run_is_used_again_and_another_refused(run, tiny_llama, tiny_tokens, tmp_path):
    before = (run.path / MANIFEST).read_text()
    collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=run.path)
    assert (run.path / MANIFEST).read_text() == before
    np.save(tmp_path / "other.npy", np.ones((2, 8), dtype=int))
    with pytest.raises(UsageError, match="other calibration tokens; choose another directory"):
        collect(str(tiny_llama), CalibrationRequest(tokens=tmp_path / "other.npy"), out=run.path)


def test_a_flipped_bit_a_truncation_and_a_missing_file_are_told_apart(run):
    path = run.path / run.hessians[0].file
    whole = path.read_bytes()
    name = run.layers[0].name
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorruptFile, match=rf"{path.name}.*SHA-256 is not the manifest's"):
        open_run(run.path)[name]
    path.write_bytes(whole[:-8])
    with pytest.raises(CorruptFile, match=rf"{path.name}.*truncated"):
        open_run(run.path)[name]
    path.unlink()
    with pytest.raises(CorruptFile, match=rf"{path.name}.*missing"):
        open_run(run.path)[name]


def test_other_weights_than_the_hessians_were_made_with_are_refused(run, tiny_llama):
    shard = tiny_llama / "model.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(CorruptFile, match=r"model\.safetensors"):
        open_run(run.path)[run.layers[0].name]


def test_a_manifest_cannot_point_outside_the_run(run):
    path = run.path / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["hessians"][0]["file"] = "hessians/../../secret"
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorruptFile, match=r"hessians\.0\.file.*not the name of a file"):
        open_run(run.path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "rdtools-run", "version": 99}', '{"format": "rdtools-run", "version": 1}'])
def test_damaged_manifests_are_refused(run, text):
    """See also the next test for single fields."""
    (run.path / MANIFEST).write_text(text)
    with pytest.raises(CorruptFile, match=MANIFEST):
        open_run(run.path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("calibration",), None),
        (("model", "directory"), 5),
        (("model", "files", "model.safetensors"), {}),
        (("model", "files"), {"../x": {"bytes": 1, "sha256": "0" * 64}}),
        (("layers", 0, "shape"), [1]),
        (("layers", 0, "hessian"), 99),
        (("hessians", 0, "n_tokens"), "x"),
        (("layers",), []),
    ],
)
def test_a_wrong_field_is_named(run, path, value):
    manifest = json.loads((run.path / MANIFEST).read_text())
    target = manifest
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    (run.path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CorruptFile, match=f"{MANIFEST}: not a manifest of this rdtools: .*collect the run again"):
        open_run(run.path)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("hessians", 0, "columns"), 17, "has 16 columns, its Hessian 17"),
        (("layers", 0, "shape"), [7, -3], "greater than or equal to 1"),
        (("layers", 0, "shape"), [7, 16], None),
        (("layers", 1, "name"), "model.layers.0.self_attn.q_proj", "is listed twice"),
        (("hessians", 1, "file"), "hessians/0000.safetensors", "is listed twice"),
        (("sha256",), None, "a checksum is missing"),
    ],
)
def test_a_forged_manifest_contradicts_itself_or_the_files(run, path, value, words):
    """With a checksum that is right."""
    manifest = json.loads((run.path / MANIFEST).read_text())
    target = manifest
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    if value is not None:
        manifest["sha256"] = UNSEALED
    (run.path / MANIFEST).write_bytes(sealed(json.dumps(manifest).encode()))
    with pytest.raises(CorruptFile, match=words or r"is \(16, 16\) in the model and \(7, 16\) in the manifest"):
        open_run(run.path)["0.q_proj"]


def test_an_altered_manifest_is_refused_though_every_field_could_be(run):
    """Two layers change their Hessians, which are of the same width; and a space."""
    path = run.path / MANIFEST
    text = path.read_text()
    for old, new in (('"hessian": 0', '"hessian": 2'), ('"version": 2', '"version":  2')):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(CorruptFile, match="altered since it was written: its checksum is not that of its contents"):
            open_run(run.path)


def test_a_hessian_of_another_width_is_refused(run, tmp_path):
    """Another file, of which manifest and checksums are right."""
    data = save({"packed": np.zeros(15 * 16 // 2)})
    (run.path / "hessians/0000.safetensors").write_bytes(data)
    manifest = json.loads((run.path / MANIFEST).read_text())
    manifest["hessians"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["sha256"] = UNSEALED
    (run.path / MANIFEST).write_bytes(sealed(json.dumps(manifest).encode()))
    with pytest.raises(CorruptFile, match=r"0000\.safetensors: 120 numbers, expected the triangle of 16 columns"):
        open_run(run.path).hessian(0)


def test_a_changed_configuration_is_another_model(run, tiny_llama, tiny_tokens):
    config = tiny_llama / "config.json"
    config.write_text(config.read_text().replace("silu", "relu"))
    with pytest.raises(UsageError, match="other model files"):
        collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=run.path)


def test_a_moved_model_is_followed(run, tiny_llama, tiny_tokens):
    place = tiny_llama.rename(tiny_llama.parent / "moved")
    with pytest.raises(ModelUnreadable, match=r"if the model has moved, run rdtools report --model NEW_PLACE"):
        open_run(run.path)[run.layers[0].name]
    collect(str(place), CalibrationRequest(tokens=tiny_tokens), out=run.path)
    assert open_run(run.path)[run.layers[0].name].weight.shape == (16, 16)


def test_a_folder_of_somebodys_hessians_is_not_written_to(tiny_llama, tiny_tokens, tmp_path):
    mine = tmp_path / "mine" / "hessians" / "0000.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UsageError, match="not a run of rdtools"):
        collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "mine")
    assert mine.read_text() == "mine"


def test_a_folder_with_something_else_is_not_written_to(tiny_llama, tiny_tokens, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not a run of rdtools"):
        collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_unknown_layer_names_are_refused(run):
    with pytest.raises(KeyError, match="no layer 'lm_head'"):
        run["lm_head"]
    assert "lm_head" not in run
    assert run.layers[0].name in run


def test_a_run_is_a_mapping(run):
    from collections.abc import Mapping

    assert isinstance(run, Mapping)
    assert list(run.keys()) == list(run) == [entry.name for entry in run.layers]
    first = next(iter(run.items()))
    assert (first[0], first[1].key.name) == (run.layers[0].name, run.layers[0].name)
    assert next(iter(run.values())).key.name == run.layers[0].name
    assert run.get("lm_head") is None
    assert run == run
    assert run != open_run(run.path)
    assert len({run, open_run(run.path)}) == 2


def test_layers_are_found_by_parts_of_their_names(run):
    full = "model.layers.0.self_attn.q_proj"
    for short in ("0.q_proj", "layers.0.q_proj", "0.self_attn.q_proj", full):
        assert run[short].key.name == full
        assert short in run
    for absent in ("2.q_proj", "0.q", "q_proj.0", "0.self_attn", "", "0.self_attn.0.q_proj"):
        assert absent not in run
        with pytest.raises(KeyError, match="no layer"):
            run[absent]
    assert "q_proj" not in run
    with pytest.raises(UsageError, match=r"'q_proj' may be any of 2 layers: model\.layers\.0\.self_attn\.q_proj, model\.layers\.1\."):
        run["q_proj"]


def test_representations_are_short_and_name_shapes(run):
    layer = run["0.down_proj"]
    assert repr(run) == f"Run({str(run.path)!r}, model='tiny', 14 layers, 8 Hessians)"
    assert repr(layer) == "Layer(model.layers.0.mlp.down_proj: 16×24, 192 tokens)"
    assert "matrix=float64(24, 24), n_tokens=192," in repr(layer.hessian)
    assert "eigenvalues=float64(24,)" in repr(layer.spectrum)
    assert max(len(repr(item)) for item in (run, layer, layer.hessian, layer.spectrum)) < 400


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupted():
        with atomic_path(path) as scratch:
            scratch.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rdtools.files.os.fsync", no_space)
    with pytest.raises(OutputError, match="No space left on device"):
        write_atomically(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


def test_shards_are_read_through_the_index(tmp_path, tiny_tokens):
    from conftest import make_tiny_llama

    folder = make_tiny_llama(tmp_path / "sharded", shards=True)
    assert len(list(folder.glob("*.safetensors"))) > 1
    run = collect(str(folder), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run")
    assert run["model.layers.1.mlp.down_proj"].weight.shape == (16, 24)
    next(folder.glob("*.safetensors")).unlink()
    with pytest.raises(ModelUnreadable, match="missing model-0"):
        open_run(tmp_path / "run")[run.layers[0].name]


def test_what_names_no_layer_or_run_is_refused_in_a_sentence(run):
    with pytest.raises(WrongType, match=r"run: layer 5, expected a name, such as 'model\.layers\.0\."):
        run[5]
    for read in (run.hessian, run.heldout):
        for index in (99, 8, -1, 1.0, "0"):
            with pytest.raises(WrongType, match=r"no Hessian .*, expected a whole number from 0 to 7, such as the `hessian` of"):
                read(index)
    assert run.hessian(np.int64(7)) is run.hessian(7)
    for path in (None, 5, ["a"]):
        with pytest.raises(WrongType, match=r"open_run: got .*, expected the path of a run directory"):
            open_run(path)
