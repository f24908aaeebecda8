"""A process with torch and the engine loaded, once used and then forked, so that a run begins in milliseconds."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from tests.support.runs import alone, tiny_config, train_until

# One thread and no GPU: a process with threads cannot be forked safely.
_ALONE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "EBOMLC_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    # scikit-learn imports pandas where it is installed, pandas pyarrow, and pyarrow's allocator starts a thread.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
_PR_SET_PDEATHSIG = 1
_START_S = 300


class Zygote:
    """Forks itself on order. Its forks die with it, and it dies with the test session. Threads may share it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._lock = threading.Lock()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with patch.dict(os.environ, _ALONE):
            self._process.start()
        theirs.close()
        assert self._pipe.poll(_START_S), f"not ready within {_START_S} s"
        threads = self._pipe.recv()
        assert threads == 1, f"{threads} threads: a fork may inherit a lock that nobody gives back"

    def start(self, work: Callable[..., object], *arguments: Any) -> int:
        """The id of a new process that runs ``work(*arguments)``, a module's function; 1 if that raises."""
        return self._ask("start", work, arguments)

    def code(self, pid: int) -> int | None:
        """How a process ended (−9: killed by signal 9), or None while it lives. The id stays taken until then."""
        return self._ask("code", pid)

    def close(self) -> None:
        with self._lock:
            self._pipe.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()

    def _ask(self, *order: Any) -> Any:
        with self._lock:
            self._pipe.send(order)
            return self._pipe.recv()


def _serve(pipe: Connection) -> None:
    # The first optimiser and the first step import and set up much that the forks then have.
    with tempfile.TemporaryDirectory() as folder:
        train_until(tiny_config(train={"epochs": 1}), Path(folder), alone())
    pipe.send(len(list(Path("/proc/self/task").iterdir())))
    codes: dict[int, int] = {}
    with contextlib.suppress(EOFError):
        while True:
            kind, *order = pipe.recv()
            if kind == "start":
                pid = os.fork() or _work(pipe, *order)
                # The system gives an id again once its process has been waited for.
                codes.pop(pid, None)
                pipe.send(pid)
                continue
            (pid,) = order
            if pid not in codes:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            pipe.send(codes.get(pid))


def _work(pipe: Connection, work: Callable[..., object], arguments: tuple) -> NoReturn:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    code = 1
    try:
        pipe.close()
        work(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
