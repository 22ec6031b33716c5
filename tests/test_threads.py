"""The limit of BLAS belongs to the process, so threads that need it share it."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from threadpoolctl import ThreadpoolController

from rdtools import threads
from rdtools.threads import one_blas_thread


@pytest.fixture
def blas():
    """Numbers of threads of the BLAS libraries loaded by now, two each as long as no one says otherwise.

    A library that is built without threads, as solvers of other packages bring one, is left out.
    """
    controller = ThreadpoolController().select(user_api="blas")
    with controller.limit(limits=2):
        threaded = {library["filepath"] for library in controller.info() if library["num_threads"] == 2}
        assert threaded
        yield lambda: {library["num_threads"] for library in controller.info() if library["filepath"] in threaded}


def test_one_thread_inside_and_as_before_outside(blas):
    with one_blas_thread():
        assert blas() == {1}
        with one_blas_thread():
            assert blas() == {1}
        assert blas() == {1}
    assert blas() == {2}


def test_a_failure_gives_back(blas):
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError
    assert blas() == {2}


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_of_two_threads_the_last_to_leave_restores(blas, first_leaves_first):
    entered, leave, left = ([threading.Event() for _ in range(2)] for _ in range(3))

    def work(k):
        with one_blas_thread():
            entered[k].set()
            assert leave[k].wait(30)
        left[k].set()

    workers = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for worker, event in zip(workers, entered, strict=True):
        worker.start()
        assert event.wait(30)
    for k in (0, 1) if first_leaves_first else (1, 0):
        assert blas() == {1}
        leave[k].set()
        assert left[k].wait(30)
        workers[k].join()
    assert blas() == {2}


def test_many_threads_that_come_and_go(blas):
    seen = set()

    def work():
        for _ in range(200):
            with one_blas_thread():
                seen.update(blas())

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen == {1}
    assert blas() == {2}


def test_a_limit_set_around_it_is_the_one_restored(blas):
    """Also by another thread than the one that set it."""
    controller = ThreadpoolController()
    with controller.limit(limits=1, user_api="blas"):
        with one_blas_thread():
            assert blas() == {1}
        assert blas() == {1}
    assert blas() == {2}


def test_entering_again_looks_for_nothing(blas, monkeypatch):
    with one_blas_thread():
        monkeypatch.setattr(threads._limits, "set_one", None)
        for _ in range(1000):
            with one_blas_thread():
                pass


def test_a_library_that_is_loaded_inside_is_limited_at_the_next_entry():
    """SciPy brings a BLAS of its own."""
    code = (
        "import os\n"
        "os.environ['OPENBLAS_NUM_THREADS'] = '2'\n"
        "import numpy\n"
        "from threadpoolctl import threadpool_info\n"
        "from rdtools.threads import one_blas_thread\n"
        "count = lambda: [x['num_threads'] for x in threadpool_info() if x['user_api'] == 'blas']\n"
        "before = count()\n"
        "with one_blas_thread():\n"
        "    import scipy.linalg\n"
        "    later = len(count())\n"
        "    with one_blas_thread():\n"
        "        assert set(count()) == {1}, count()\n"
        "after = count()\n"
        "assert len(after) == later >= len(before) and set(after) == {2}, (before, later, after)\n"
        "print(later > len(before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_limit_of_each_thread_is_given_back_to_each(monkeypatch):
    """As where OpenBLAS is built on OpenMP: every thread sets and restores its own number."""
    numbers = threading.local()
    library = SimpleNamespace(
        filepath="libopenblas-openmp.so",
        threading_layer="openmp",
        get_num_threads=lambda: getattr(numbers, "count", 2),
        set_num_threads=lambda count: setattr(numbers, "count", count),
    )
    limits = threads._Limits()
    limits.libraries, limits.modules = [library], len(sys.modules)
    monkeypatch.setattr(threads, "_limits", limits)
    seen = []

    def work():
        with one_blas_thread():
            seen.append(library.get_num_threads())
        seen.append(library.get_num_threads())

    with one_blas_thread():
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        seen.append(library.get_num_threads())
    assert [*seen, library.get_num_threads()] == [1, 2, 1, 2]
