from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS

from rdtools import seeds
from rdtools.errors import UsageError

LABELS = st.lists(st.text(max_size=3), max_size=3).map(tuple)


@pytest.mark.parametrize(
    ("seed", "labels", "rotation", "words"),
    [
        (0, (), 0xDC3CF126435D5B07, (0x7C2E40A73EFB0976, 0x152DB5E5CC1B05A7)),
        (1, ("rotation", "model.layers.0.self_attn.q_proj"), 0x490DD65F50D18110, (0x1DB0831FB593C6C5, 0x1FA8E14D71BA986A)),
        (2**63 - 1, ("rounding", "é"), 0xAAD931C2AD1DFE97, (0x3E42150C54C729C5, 0x573B3744A9E2484F)),
    ],
)
def test_seeds_are_the_same_for_ever(seed, labels, rotation, words):
    """What a run draws must not change with a version: raw words of the generator, and the seed that is stored with a rotation."""
    assert seeds.rotation_seed(seed, *labels) == rotation
    assert tuple(int(word) for word in seeds.generator(seed, *labels).bit_generator.random_raw(2)) == words


def test_key_is_the_hash_of_length_prefixed_labels():
    """Second route, by hand: 'rdtools seeds 1', a zero byte, the seed, then each label after its length in UTF-8."""
    encoded = b"rdtools seeds 1\0" + bytes([5, 1, 0, 0, 0, 0, 0, 0]) + bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"\xc3\xa9"
    assert seeds.rotation_seed(261, "é") == int.from_bytes(hashlib.sha256(encoded).digest()[:8], "little")


@given(st.integers(0, 2**63 - 1), LABELS, st.integers(0, 2**63 - 1), LABELS)
def test_only_equal_seeds_and_labels_share_numbers(seed, labels, other_seed, other_labels):
    same = (seed, labels) == (other_seed, other_labels)
    assert (seeds.rotation_seed(seed, *labels) == seeds.rotation_seed(other_seed, *other_labels)) == same
    draws = [seeds.generator(s, *names).integers(2**63) for s, names in ((seed, labels), (other_seed, other_labels))]
    assert (draws[0] == draws[1]) == same


def test_where_a_label_ends_matters():
    """Nothing that a plain concatenation would confuse."""
    alike = [("a", "bc"), ("ab", "c"), ("abc",), ("abc", ""), ("", "abc"), ("a", "b", "c"), ("bc", "a"), ("abc\0",)]
    assert len({seeds.rotation_seed(0, *labels) for labels in alike}) == len(alike)


def test_numbers_of_different_labels_are_uncorrelated():
    x = np.array([seeds.generator(0, "layer", str(k)).standard_normal(4000) for k in range(6)])
    assert (np.abs(np.corrcoef(x)[~np.eye(6, dtype=bool)]) < STANDARD_ERRORS / 4000**0.5).all()


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, None, "0"])
@pytest.mark.parametrize("use", [seeds.generator, seeds.rotation_seed])
def test_a_seed_outside_its_range_is_refused(use, seed):
    with pytest.raises(UsageError, match="expected an integer from 0 to 9223372036854775807"):
        use(seed, "a")


@pytest.mark.parametrize("label", [0, b"a", None])
def test_a_label_that_is_not_a_string_is_refused(label):
    with pytest.raises(UsageError, match="expected str"):
        seeds.generator(0, "a", label)


def test_numpy_integers_are_seeds():
    assert seeds.rotation_seed(np.int64(7), "a") == seeds.rotation_seed(7, "a")
