from __future__ import annotations

import struct

import numpy as np
import pytest
from foreign.writers import interleaved, write_gguf

from rdtools.errors import RdtoolsError
from rdtools.foreign.formats import open_foreign
from rdtools.foreign.gguf import halves_together
from rdtools.foreign.gguf_header import read_gguf
from rdtools.foreign.gguf_types import TYPES, named_type, type_note
from rdtools.foreign.matching import decoded
from rdtools.model.layer_names import CapturedLayer

gguf = pytest.importorskip("gguf", reason="the package gguf decodes GGUF files: pip install 'rdtools[import]'")
Q_PROJ, UP_PROJ = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"


def test_blocks_have_the_sizes_of_the_library_and_more_bits_than_codes():
    for number, kind in TYPES.items():
        library = gguf.GGMLQuantizationType(number)
        assert (library.name, *gguf.GGML_QUANT_SIZES[library]) == kind[:3]
        assert 0 < kind.codes <= 8 * kind.bytes
    assert TYPES[10].bpw == 2.625


@pytest.mark.parametrize("number", [number for number, kind in TYPES.items() if kind.block > 1])
def test_random_blocks_of_every_type_are_decoded_as_by_the_library(number, rng, tmp_path):
    kind, library = TYPES[number], gguf.GGMLQuantizationType(number)
    blocks = rng.integers(0, 256, (6, 2 * kind.bytes), dtype=np.uint8)
    path = write_gguf(tmp_path / "x.gguf", {"blk.0.ffn_up.weight": (blocks, library)}, heads=(2, 1))
    stored = open_foreign(path).find(UP_PROJ)
    judge = gguf.GGUFReader(path).tensors[0]
    with np.errstate(all="ignore"):  # scales of random bytes
        values = next(iter(stored.readings.values()))()
        assert np.array_equal(values, gguf.quants.dequantize(judge.data, judge.tensor_type), equal_nan=True)
    assert (stored.shape, stored.type, stored.bits.total) == ((6, 2 * kind.block), kind.name, 8 * blocks.size)


def test_the_library_and_the_header_agree(rng, tmp_path):
    tensors = {
        "blk.0.ffn_up.weight": (rng.standard_normal((4, 8)).astype(np.float32), None),
        "output.weight": (rng.standard_normal((4, 8)).astype(np.float16), None),
    }
    path = write_gguf(tmp_path / "x.gguf", tensors, heads=(4, 2))
    file, judge = read_gguf(path), gguf.GGUFReader(path)
    assert {t.name: (t.shape, t.offset, t.bytes) for t in file.tensors.values()} == {
        t.name: (tuple(t.shape[::-1].tolist()), t.data_offset, t.n_bytes) for t in judge.tensors
    }
    assert file.metadata["general.architecture"] == "llama"
    assert file.metadata["llama.attention.head_count_kv"] == 2
    assert file.metadata["tokenizer.ggml.tokens"] is None  # a vocabulary is not kept


@pytest.mark.parametrize("order", ["interleaved", "as stored"])
def test_rows_of_queries_are_read_in_the_order_of_the_original(order, rng, tmp_path):
    weight = rng.standard_normal((16, 32))
    rows = interleaved(weight, 2) if order == "interleaved" else weight
    assert np.array_equal(halves_together(interleaved(weight, 2), 2), weight)
    blocks = gguf.quants.quantize(rows.astype(np.float32), gguf.GGMLQuantizationType.Q4_0)
    path = write_gguf(tmp_path / "x.gguf", {"blk.0.attn_q.weight": (blocks, gguf.GGMLQuantizationType.Q4_0)}, heads=(2, 1))
    stored, layer = open_foreign(path).find(Q_PROJ), CapturedLayer(Q_PROJ, f"{Q_PROJ}.weight", (16, 32))
    values, reading = decoded(stored, layer, weight)
    assert order in reading
    assert np.square(values - weight).mean() < 0.02
    with pytest.raises(RdtoolsError, match=r"attn_q.weight: relative errors of its readings are .* too near to tell which is meant"):
        decoded(stored, layer, rng.standard_normal((16, 32)))


def test_types_that_are_not_the_named_one_are_said_and_fallbacks_told_from_mixtures():
    q2, q4, iq4 = (named_type(f"x.{name}.gguf") for name in ("Q2_K", "Q4_K_M", "IQ4_NL"))
    assert type_note(q2, q2, 100) == ("", False)
    assert type_note(q4, None, 100) == ("", False)
    sentence, fallback = type_note(iq4, q2, 2880)
    assert fallback
    assert sentence.startswith("IQ4_NL of 4.5 bpw where the name says Q2_K of 2.625: 2880 columns are no multiple of 256")
    assert type_note(TYPES[14], q4, 4096) == ("Q6_K of 6.562 bpw where the name says Q4_K of 4.5", False)


def _header(tensors: int = 0, keys: int = 0, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + body


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


TENSOR = _text("blk.0.ffn_up.weight") + struct.pack("<I", 2)
HUGE = 2**60


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGML" + bytes(20), "does not begin with GGUF"),
        (b"GGUF", r"the version takes 4 bytes, 0 are left"),
        (_header(version=2**24 * 3), "in the other order of bytes"),
        (_header(version=1), "GGUF of version 1, expected 2 or 3"),
        (_header(tensors=HUGE), f"a list of 0 keys and {HUGE} tensors takes .* bytes, 0 are left"),
        (_header(keys=HUGE), f"a list of {HUGE} keys"),
        (_header(keys=1, body=struct.pack("<Q", HUGE) + bytes(30)), f"the name of key 0 takes {HUGE} bytes"),
        (_header(keys=1, body=_text("k") + struct.pack("<IIQ", 9, 6, HUGE)), f"the value of 'k' takes {4 * HUGE} bytes"),
        (_header(keys=1, body=_text("k") + struct.pack("<IIQ", 9, 8, HUGE)), f"the value of 'k' takes {8 * HUGE} bytes"),
        (_header(keys=1, body=_text("k") + struct.pack("<I", 77) + bytes(8)), "the value of 'k' is of kind 77"),
        (_header(keys=1, body=_text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9), "of kind 9, expected a number"),
        (_header(tensors=1, body=_text("t") + struct.pack("<I", 2**31) + bytes(20)), "'t' has 2147483648 dimensions"),
        (_header(tensors=1, body=TENSOR + struct.pack("<QQIQ", 256, HUGE, 12, 0)), "blk.0.ffn_up.weight ends at byte .*truncated"),
        (
            _header(tensors=1, body=TENSOR + struct.pack("<QQIQ", 100, 2, 12, 0)),
            r"of type Q4_K has shape \(2, 100\), expected rows of a mul",
        ),
        (_header(tensors=2, body=(TENSOR + struct.pack("<QQIQ", 32, 1, 2, 0)) * 2 + bytes(64)), "is listed twice"),
        (_header(tensors=1, body=TENSOR + struct.pack("<QQIQ", 0, 0, 12, 0)), r"has shape \(0, 0\), expected rows"),
        (_header(keys=1, body=_text("general.alignment") + struct.pack("<II", 4, 0) + bytes(64)), "general.alignment 0"),
        (_header(tensors=1, body=TENSOR + struct.pack("<QQIQ", 32, 4, 99, 0) + bytes(64)), "has type 99, which is not read here"),
        (_header(), "no matrix of a Llama-like model"),
    ],
)
def test_a_forged_file_is_refused_in_a_sentence_before_anything_is_allocated(data, message, tmp_path):
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(RdtoolsError, match=message):
        next(iter(open_foreign(tmp_path / "x.gguf").find(UP_PROJ).readings.values()))()


def test_parts_of_a_split_file_are_read_together_and_missing_ones_named(rng, tmp_path):
    for number, name in enumerate(("blk.0.ffn_up.weight", "blk.0.ffn_gate.weight"), 1):
        data = rng.standard_normal((4, 8)).astype(np.float32)
        write_gguf(tmp_path / f"m-F32-{number:05d}-of-00002.gguf", {name: (data, None)}, heads=(1, 1))
    model = open_foreign(tmp_path)
    assert (sorted(model.matrices), model.named_type) == (["model.layers.0.mlp.gate_proj.weight", f"{UP_PROJ}.weight"], "F32")
    (tmp_path / "m-F32-00002-of-00002.gguf").unlink()
    with pytest.raises(RdtoolsError, match=r"one of 2 parts, of which m-F32-00002-of-00002.gguf is not there; copy it"):
        open_foreign(tmp_path)
    (tmp_path / "other.gguf").write_bytes(b"")
    with pytest.raises(RdtoolsError, match=r"2 GGUF files \(m-F32-00001-of-00002.gguf, other.gguf, …\); give one of them"):
        open_foreign(tmp_path)
