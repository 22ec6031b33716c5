"""Random links and chains of links from a seeded generator, their dense matrices written out, and scales of their rounding errors."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.coding import round_to_bfloat16
from rdtools.records import InputMap, Rotation
from rdtools.testing import generators
from rdtools.transforms import is_hadamard_order, rotate
from rdtools.transforms.links import Merge, Permute, Principal, Rotate, Scale, Select, Split

LOSSLESS = ("scale", "permute", "split", "principal", "haar", "kronecker", "hadamard")
LOSSY = ("select", "merge")


def pairs(n, generator):
    order = generator.permutation(n)
    count = int(generator.integers(0, n // 2 + 1))
    return [(int(order[2 * k]), int(order[2 * k + 1])) for k in range(count)]


def link(kind, n, generator):
    """A link on n ≥ 1 inputs; a Hadamard rotation becomes a Haar one where there is none of that order."""
    if kind == "scale":
        return Scale(round_to_bfloat16(np.exp(generator.standard_normal(n))))
    if kind == "permute":
        return Permute(generator.permutation(n))
    if kind == "split":
        return Split(generator.integers(1, 4, n))
    if kind == "select":
        active = generator.random(n) < 0.7
        active[generator.integers(n)] = True
        return Select(active)
    if kind == "principal":
        if n == 1:
            return Scale(np.ones(1))
        axes = np.linalg.qr(generator.standard_normal((n, int(generator.integers(1, n)))))[0]
        return Principal.spanning(axes, float(np.exp(generator.standard_normal())))
    if kind == "merge":
        return Merge(pairs(n, generator), n)
    known = kind != "hadamard" or is_hadamard_order(n)
    return Rotate(Rotation(kind if known else "haar", n, int(generator.integers(2**32))))


@st.composite
def chains(draw, *, kinds=LOSSLESS + LOSSY, links=4, max_columns=9):
    """A chain of so many links on random inputs, and the generator to go on with."""
    generator = draw(generators())
    n = width = draw(st.integers(1, max_columns))
    chain = []
    for _ in range(links):
        chain.append(link(draw(st.sampled_from(kinds)), width, generator))
        width = chain[-1].outputs
    return InputMap(chain, columns=n), generator


def dense(item):
    """T as an (n′, n) matrix, by its definition and not by the code that is tested."""
    eye = np.eye(item.inputs)
    if isinstance(item, InputMap):
        for part in item.links:
            eye = dense(part) @ eye
        return eye
    if isinstance(item, Select):
        return np.array([eye[i] for i in range(item.inputs) if item.active[i]])
    if isinstance(item, Scale):
        return np.diag(item.scales)
    if isinstance(item, Permute):
        return np.array([eye[i] for i in item.order])
    if isinstance(item, Split):
        return np.array([eye[i] / T for i, T in enumerate(item.counts) for _ in range(T)])
    if isinstance(item, Merge):
        rows = []
        for i in range(item.inputs):
            group = next((g for g in item.groups if i in g), (i,))
            if i == group[0]:
                rows.append(sum(eye[j] for j in group) / len(group))
        return np.array(rows)
    if isinstance(item, Principal):
        for u in item.vectors:
            eye = eye - 2 * np.outer(eye @ u, u) / (u @ u)
        return np.diag([item.gain] * item.channels + [1.0] * (item.inputs - item.channels)) @ eye.T
    return rotate(eye, item.rotation).T


def tolerance(item, left, right):
    """Absolute rounding error of ``left · T · right`` computed link by link, for any left (…, n′) and right (n, …).

    Each link makes relative errors of at most its number of inputs or outputs, of what stands on both sides of it at that point.
    """
    matrices = [dense(part) for part in (item.links if isinstance(item, InputMap) else (item,))]
    widest = max([item.inputs, item.outputs, *map(len, matrices)])
    ends = [np.linalg.norm(right)]
    for T in matrices:
        right = T @ right
        ends.append(np.linalg.norm(right))
    starts = [np.linalg.norm(left)]
    for T in reversed(matrices):
        left = left @ T
        starts.append(np.linalg.norm(left))
    return rounding(widest + 10) * float(np.dot(starts[::-1], ends))
