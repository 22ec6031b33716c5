"""The range coder's own failures are errors of rdtools."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.coding.entropy import coder
from rdtools.coding.entropy.models import FrequencyTable
from rdtools.errors import CodingError, CorruptFile

TABLE = FrequencyTable(np.array([0, 1, 2]), np.array([1, 2, 1]))
SYMBOLS = np.array([0, 1, 1, 2])


class PanicException(BaseException):
    """As pyo3's, which cannot be imported: a panic of Rust is no `Exception`."""


@pytest.mark.parametrize(
    ("raised", "encoding", "decoding"),
    [(PanicException, CodingError, CorruptFile), (KeyboardInterrupt, KeyboardInterrupt, KeyboardInterrupt)],
)
def test_a_panic_of_the_coder_is_an_error_and_an_interrupt_stays_one(raised, encoding, decoding, monkeypatch):
    words, _ = coder.encode_runs([(SYMBOLS, TABLE)])
    (decoded,) = coder.decode_runs(words, np.zeros(0, dtype=np.int64), [(4, TABLE)], name="file")
    assert decoded.tolist() == SYMBOLS.tolist()

    def fail(table):
        raise raised("called `Option::unwrap()` on a `None` value")

    monkeypatch.setattr(coder, "_model", fail)
    with pytest.raises(encoding):
        coder.encode_runs([(SYMBOLS, TABLE)])
    with pytest.raises(decoding):
        coder.decode_runs(words, np.zeros(0, dtype=np.int64), [(4, TABLE)], name="file")
