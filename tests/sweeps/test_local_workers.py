"""Workers as children: successors of the killed, signals for all, codes, threads, GPUs."""

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from ebomlc_dist.sweeps.local_workers import gather, log_file, told_neighbours
from ebomlc_dist.sweeps.store import Store
from tests.sweeps.support import opened

WAITS = "import pathlib, sys, time, os; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(60)"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "store")


def child(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-S", "-c", code, *map(str, arguments)]


def in_turn(*steps: Callable[[], object]) -> Callable[[], None]:
    """A look that makes one step each time that the one before has come true."""
    left = list(steps)

    def look() -> None:
        while left and left[0]():
            left.pop(0)

    return look


def started(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir()]


def kill(pid: int, number: int) -> bool:
    os.kill(pid, number)
    return True


def test_the_highest_code_counts_and_what_they_say_is_kept(store: Store) -> None:
    code = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); print('said'); sys.exit(1 if p.exists() else p.touch())"
    asked, worst = gather(child(code, store.root / "first"), 2, store, [], lambda: None)
    assert (asked, worst) == (0, 1)
    assert {log_file(store, place).read_text() for place in (0, 1)} == {"said\n"}


def test_a_killed_worker_gets_a_successor_and_a_signal_reaches_all(store: Store, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    look = in_turn(
        lambda: len(started(marks)) == 2,
        lambda: kill(started(marks)[0], signal.SIGKILL),
        lambda: len(started(marks)) == 3,
        lambda: kill(os.getpid(), signal.SIGTERM),
    )
    handler = signal.getsignal(signal.SIGTERM)
    assert gather(child(WAITS, marks), 2, store, [], look) == (75, 1)
    assert len(started(marks)) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in started(marks))
    assert signal.getsignal(signal.SIGTERM) is handler


def test_workers_that_die_at_once_are_not_replaced_for_ever(store: Store) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert gather(child(code), 1, store, [], lambda: None) == (0, 1)


def test_gpus_and_cores_are_shared_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    code = "import os, sys; print(*(os.environ[name] for name in sys.argv[1:]))"
    names = ("CUDA_VISIBLE_DEVICES", "EBOMLC_NUM_THREADS", "EBOMLC_SWEEP_WORKERS")
    gather(child(code, *names), 3, store, ["4", "5"], lambda: None)
    assert [log_file(store, place).read_text() for place in range(3)] == ["4 2 3\n", "5 2 3\n", "4 2 3\n"]
    monkeypatch.setenv("EBOMLC_SWEEP_WORKERS", "3")
    assert told_neighbours() == 3


def test_workers_do_not_outlive_their_parent(store: Store, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with warnings.catch_warnings():
        # The runner may have threads of its own; the child only starts another one.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            gather(child(WAITS, marks), 1, store, [], lambda: None)
        finally:
            os._exit(1)
    end = time.monotonic() + 30
    while not started(marks):
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while Path(f"/proc/{started(marks)[0]}").exists() and b"Z" not in _state(started(marks)[0]):
        assert time.monotonic() < end, "an orphan goes on"
        time.sleep(0.02)


def _state(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return b"Z"
