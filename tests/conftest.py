"""Fixtures shared by all tests."""

import os
import shutil
import sys
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

HERE = Path(__file__).parent
MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30
PROCESS = (
    *("cluster", "faults", "cli/test_completion.py", "cli/test_launch_configs.py", "cli/test_submit.py"),
    *("data/loaders/test_backends.py", "distributed/test_freed_memory.py", "launch/test_last_word.py"),
    *("launch/test_launch.py", "launch/test_processes.py", "profiling/test_resident.py", "sweeps/test_kills.py"),
    *("sweeps/test_local_workers.py", "tools/test_check.py"),
)
"""Folders and files of tests/ that start processes; a single test elsewhere carries the mark itself."""
STARTERS = {"two_ranks", "zygote", "site"}
"""Fixtures that start processes."""
FAST = {
    *("data", "docs", "launch", "monitoring", "noise", "numerics", "recipes"),
    *("test_aliases.py", "test_habits.py", "test_keys.py", "test_layout.py"),
}
"""Folders and files of tests/ of which all is fast that starts no process. None of it trains."""
_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
_watched = False


def pytest_configure() -> None:
    """Put the tests' folders into memory, where there is room.

    A tiny run flushes seventy files, and the tests would wait for the disk most of the time. What they show are ends of
    processes and injected faults, for which no disk is needed.
    """
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts processes by its fixtures, and what is fast by its place."""
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        place = item.path.relative_to(HERE)
        places = {str(place), place.parts[0]}
        if places & set(PROCESS) or STARTERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")
        if places & FAST and not any(item.get_closest_marker(name) for name in ("process", "slow", "gpu", "slurm")):
            item.add_marker("fast")


def _refuse_processes(event: str, _: object) -> None:
    if _watched and event in _STARTS:
        raise AssertionError(f"{event} in a fast test: mark it `process`")


sys.addaudithook(_refuse_processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A fast test starts no process."""
    global _watched
    _watched = item.get_closest_marker("fast") is not None
    try:
        return (yield)
    finally:
        _watched = False


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
