"""Fixtures shared by all tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

# Many tests run several processes on few cores; threads that spin for one another would cost them most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

from tests.support.pool import RankPool

# The same examples on every machine: a red run can be repeated.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30
STARTERS = {"two_ranks", "zygote", "site"}
"""Fixtures that start processes."""
FAST = ("data", "files", "launch", "models", "monitoring", "noise", "numerics", "recipes")
"""Folders whose tests are fast where they start no process."""


def pytest_configure() -> None:
    """Put the tests' folders into memory, where there is room.

    A tiny run flushes seventy files, and the tests would wait for the disk most of the time. What they show are ends of
    processes and injected faults, for which no disk is needed.
    """
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")


@pytest.fixture(scope="session")
def two_ranks() -> Iterator[RankPool]:
    """Two gloo ranks, started once."""
    pool = RankPool(2)
    yield pool
    pool.close()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread for torch, as in the pool's ranks, so that both sum in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets, named by EBOMLC_DATA_DIR; the test is skipped without it."""
    folder = os.environ.get("EBOMLC_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("EBOMLC_DATA_DIR names no folder with CIFAR data")
    return Path(folder)
