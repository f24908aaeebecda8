"""Operations that record, and operations that fail, and a small set of checkpoints to try them on."""

import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.operations import Operations, using

OPERATION_NAMES = [name for name in vars(Operations) if not name.startswith("_")]
NEEDS_ROOM = ("open", "write", "mkdir", "fsync")


class Intercepted(Operations):
    """Counts the calls and keeps them; what happens at each is `at`'s to say."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def at(self, count: int, name: str, act: Callable[[], Any], args: tuple[Any, ...]) -> Any:
        return act()


def _intercept(name: str) -> Callable[..., Any]:
    def method(self: Intercepted, *args: Any) -> Any:
        self.calls.append((name, args))
        return self.at(len(self.calls), name, lambda: getattr(Operations, name)(self, *args), args)

    return method


for _name in OPERATION_NAMES:
    setattr(Intercepted, _name, _intercept(_name))


class Faulty(Intercepted):
    """Does harm at the k-th call.

    ``die``: the process ends before the call; ``die_short``: after half of a write. ``no_space``, ``io_error``: the
    call fails; ``late_error``: it is done and reported as failed; ``short``: half of a write is done and reported so.
    ``full``: from then on nothing finds room; ``broken``: from then on every call fails.
    """

    def __init__(self, kind: str, k: int) -> None:
        super().__init__()
        self.kind, self.k = kind, k

    def at(self, count: int, name: str, act: Callable[[], Any], args: tuple[Any, ...]) -> Any:
        if count > self.k and self.kind == "broken":
            raise OSError(errno.EIO, "injected")
        if count >= self.k and self.kind == "full" and name in NEEDS_ROOM:
            raise OSError(errno.ENOSPC, "injected")
        if count != self.k:
            return act()
        if self.kind == "die":
            os._exit(9)
        if self.kind in ("no_space", "io_error", "broken"):
            raise OSError(errno.ENOSPC if self.kind == "no_space" else errno.EIO, "injected")
        if name == "write" and self.kind in ("short", "die_short"):
            written = Operations.write(self, args[0], args[1][: max(1, len(args[1]) // 2)])
            if self.kind == "die_short":
                os._exit(9)
            return written
        result = act()
        if self.kind == "late_error" and name not in ("open", "read", "write", "free_bytes"):
            raise OSError(errno.EIO, "injected")
        return result


def tensors_of(step: int) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(step)
    return {
        "main": {
            "vector": torch.randn(40, generator=generator),
            "statistics": torch.randn(12, generator=generator, dtype=torch.float64),
            "count": torch.tensor(step),
        },
    }


def documents_of(step: int, note: str = "") -> dict[str, dict[str, Any]]:
    return {"loop": {"step": step, "journal_offset": 17 * step, "note": note}}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 1 (the best), 2 and 3."""
    folder = tmp_path_factory.mktemp("template") / "checkpoints"
    store = CheckpointStore(folder)
    for step in (1, 2, 3):
        store.save(step, tensors_of(step), documents_of(step), best=step == 1)
    return folder


@pytest.fixture
def checkpoints(template: Path, tmp_path: Path) -> Path:
    """A copy of `template` to spoil."""
    return shutil.copytree(template, tmp_path / "checkpoints")


def in_child(action: Callable[[], object], operations: Operations) -> int:
    """Run ``action`` under ``operations`` in a forked process; its exit code: 0, 9 (died as told), 1 (raised)."""
    with warnings.catch_warnings():
        # The runner may have threads of its own; the child only writes files and ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with using(operations):
                action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the faults are injected, so no real disk need turn for them."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def saved_as() -> Callable[[CheckpointStore, int], Path]:
    """Save the test checkpoint of a step, as ``saved_as(store, step, note=…, best=…)``."""
    return lambda store, step, note="", **more: store.save(step, tensors_of(step), documents_of(step, note), **more)


@pytest.fixture
def faulty() -> type[Faulty]:
    return Faulty


@pytest.fixture
def intercepted() -> type[Intercepted]:
    return Intercepted


@pytest.fixture
def run_in_child() -> Callable[[Callable[[], object], Operations], int]:
    return in_child
