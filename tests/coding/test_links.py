from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records.map_cases import link, pairs

from rdtools.coding import round_to_bfloat16
from rdtools.coding.fields import Reader
from rdtools.coding.links import decode_links, encode_links
from rdtools.errors import CorruptFile
from rdtools.records import InputMap
from rdtools.testing import generators
from rdtools.transforms.links import Merge, Permute, Principal, Select, Split


def read(data, inputs, most=2**20):
    reader = Reader(data, "some.rdtq")
    links = decode_links(reader, inputs, most)
    reader.finish()
    return links


@st.composite
def maps(draw):
    """Select, Merge with scales or without, Principal and Split, each there or not."""
    generator, n = draw(generators()), draw(st.integers(1, 40))
    links = [link("select", n, generator)] if draw(st.booleans()) else []
    width = links[-1].outputs if links else n
    if draw(st.booleans()):
        groups = pairs(width, generator)
        scales = round_to_bfloat16(np.exp(generator.standard_normal(len(groups)))) if draw(st.booleans()) else None
        links.append(Merge(groups, width, scales))
        width = links[-1].outputs
    if width > 1 and draw(st.booleans()):
        links.append(link("principal", width, generator))
    if draw(st.booleans()):
        links.append(Split(generator.integers(1, draw(st.sampled_from((2, 3, 900))), width), draw(st.booleans())))
    return InputMap(links, columns=n)


@given(maps())
def test_links_are_read_as_written_and_take_the_bits_that_they_say(chain):
    """Besides a byte for their number, and for each its kind, at most 7 bytes of counts and flags, and what fills up a byte."""
    data = encode_links(chain.links)
    found = read(data, chain.inputs)
    assert encode_links(found) == data
    x, W = np.random.default_rng(0).standard_normal((2, 3, chain.inputs))
    again = InputMap(found, columns=chain.inputs)
    assert np.array_equal(again.apply(x), chain.apply(x))
    assert np.array_equal(again.weight(W), chain.weight(W))
    assert (again.shifts is None) == (chain.shifts is None)
    assert again.shifts is None or np.array_equal(again.shifts, chain.shifts)
    masks = sum(part.inputs for part in chain.links if isinstance(part, Select) and part.bits == 0)
    assert 0 <= 8 * len(data) - chain.bits - masks <= 8 + 8 * 8 * len(chain.links)


SPLIT = encode_links([Split(np.array([1, 3, 1, 2, 1]))])
PRINCIPAL = encode_links([Principal(np.array([[1.0, 0.5, 0.0, 0.0, -2.0]]), 2.0)])
MERGE = encode_links([Merge([(0, 2), (1, 3)], 5, [1.0, 2.0])])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x01\x07", "kind of link 7, expected one of 0 select"),
        (SPLIT[:2] + b"\x02" + SPLIT[3:], "staggered copies 2"),
        (SPLIT[:3] + b"\x0c" + SPLIT[4:], "split channels 6, expected 0 to 5"),
        (SPLIT[:4] + b"\x20" + SPLIT[5:], "numbers of copies of 32 bits"),
        (SPLIT[:5] + b"\xff\xc0", "split channels 7 to 7 of 5"),
        (SPLIT[:-1] + bytes([SPLIT[-1] | 1]), "bits after a link"),
        (MERGE[:2] + b"\x0c" + MERGE[3:], "merged channels 6"),
        (MERGE[:3] + b"\x03" + MERGE[4:], "presence of scales of merged channels 3"),
        (MERGE[:4] + b"\x00\x00" + MERGE[6:], "channel 0 merged into 0, expected a channel before it"),
        (MERGE[:-4] + b"\x00\x00" + MERGE[-2:], "merge: a scale of 0"),
        (MERGE[:-1], "ends inside a field"),
        (PRINCIPAL[:2] + b"\x0a" + PRINCIPAL[3:], "channels of a subspace 5, expected 0 to 4"),
        (PRINCIPAL[:2] + b"\x00" + PRINCIPAL[3:5], r"principal: vectors \(0, 5\)"),
        (PRINCIPAL[:3] + b"\x00\x00" + PRINCIPAL[5:], "principal: a gain of 0"),
        (PRINCIPAL[:-2] + b"\x00\x7e", "principal: vectors"),
        (PRINCIPAL[:-1], "ends inside a field"),
        (b"\x01\x00\x01", "bits after a link"),
        (b"\x02\x00\x00" + SPLIT[1:], "without channels"),
    ],
)
def test_forged_links_are_refused(data, message):
    with pytest.raises(CorruptFile, match=f"^some.rdtq: .*{message}"):
        read(data, 5)


def test_a_forged_number_of_copies_takes_no_memory():
    data = encode_links([Split(np.array([2**31, 1]))])
    with pytest.raises(CorruptFile, match=r"2147483649 channels after splitting, expected at most 1048576 \(argument max_weights\)"):
        read(data, 2)


def test_other_links_are_not_stored_here():
    with pytest.raises(TypeError, match="links of type Permute cannot be stored between basis and weights, expected select, merge, split"):
        encode_links([Permute(np.array([1, 0]))])
