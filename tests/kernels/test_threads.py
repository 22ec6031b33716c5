from __future__ import annotations

import threading

import pytest
from rdtools.kernels import _threads
from threadpoolctl import ThreadpoolController


@pytest.fixture
def blas():
    """The BLAS libraries loaded by now, with two threads each as long as no one says otherwise."""
    controller = ThreadpoolController().select(user_api="blas")
    with controller.limit(limits=2):
        yield lambda: {library["num_threads"] for library in controller.info()}


def test_every_item_is_done_once_with_blas_on_one_thread(blas):
    seen = []
    _threads.for_each(lambda item: seen.append((item, *blas())), range(3, 40, 5), 3)
    assert sorted(seen) == [(item, 1) for item in range(3, 40, 5)]
    assert blas() == {2}


def test_a_failure_gives_everything_back(blas):
    def work(item):
        raise KeyError(item)

    for _ in range(2):
        with pytest.raises(KeyError):
            _threads.for_each(work, range(4), 2)
        assert blas() == {2}
        assert not _threads._busy.locked()


def test_a_second_call_meanwhile_runs_in_its_own_thread(blas):
    threads = []

    def outer(item):
        _threads.for_each(lambda _: threads.append((item, threading.get_ident())), range(3), 2)

    _threads.for_each(outer, range(2), 2)
    assert len(threads) == 6
    assert all(len({ident for item, ident in threads if item == k}) == 1 for k in range(2))
    assert blas() == {2}


def test_one_thread_leaves_blas_alone(blas):
    seen = []
    _threads.for_each(lambda item: seen.append((threading.get_ident(), *blas())), range(3), 1)
    assert seen == [(threading.get_ident(), 2)] * 3
