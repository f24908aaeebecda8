"""Real commands in processes of their own: found by a mark in their environment, bounded in time, none left behind."""

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ebomlc_dist.files.run_folder import RunFolder, read_status

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "launch_configs" / "accelerate"
MARK = "EBOMLC_TEST_MARK"
_PR_SET_PDEATHSIG = 1
# A start imports torch in every process; on a machine with other work that takes long.
START_S = 180.0
ACCELERATE = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
EBOMLC = [sys.executable, "-m", "ebomlc_dist.cli"]


class Command:
    """A running command and all processes that descend from it, by a mark that they inherit."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.mark = secrets.token_hex(8)
        # OMP_NUM_THREADS is what the launcher has an opinion on. One thread: two fight where others use the cores too.
        kept = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTHONPATH")}
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env=kept
            | {MARK: self.mark, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1", "EBOMLC_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_end_with_tests,
        )

    def wait(self, seconds: float = START_S) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def alive(self) -> list[int]:
        """Ids of its processes that still run."""
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and self._is_marked(path)]

    def _is_marked(self, process: Path) -> bool:
        try:
            marked = f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes().split(b"\0")
            return marked and (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False


def _end_with_tests() -> None:
    """In the child: ask Linux for a SIGKILL when the test session is gone, whatever ended it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def command(words: list[str], folder: Path) -> Iterator[Command]:
    """Start ``words`` in ``folder``; whatever is left of it at the end is killed."""
    started = Command(words, folder)
    try:
        yield started
    finally:
        for _ in range(3):
            for pid in started.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        started.process.communicate()


def wait_for(what: str, condition: Callable[[], bool], seconds: float = START_S) -> float:
    """Wait until ``condition`` holds; returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


def is_training(folder: Path) -> bool:
    """Whether a run is past its first step."""
    return RunFolder(folder).status.exists() and read_status(folder).step is not None
