"""Signals that ask a process to stop. They only set a flag. Also the line that it prints when it has stopped."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType

from ebomlc_dist.launch.environment import is_orphan, outlive_launcher, silent_launcher, under_launcher

# A person's Ctrl-C is not among them: a second one is in a hurry.
REQUESTS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
SIGNALS = (*REQUESTS, signal.SIGINT)
_WAIT_S = 30.0
_TELLER = """
import os, select, sys
try:
    select.select([os.pidfd_open(int(sys.argv[1]))], [], [], float(sys.argv[2]))
except (OSError, AttributeError):
    pass  # gone already, or no Linux
os.write(2, sys.argv[3].encode("utf-8", "surrogateescape") + b"\\n")
"""


def is_ignored(number: signal.Signals) -> bool:
    """Return whether the process was told to ignore it: under ``nohup`` a run goes on when its terminal closes."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


class Signals:
    """The signals that ask the process to stop, noted while in its block. A second Ctrl-C interrupts at once.

    Blocks nest: one within another counts what the outer one has noted, and passes on what it notes itself. In a thread
    other than the main one there is nothing to note: Python runs handlers in the main one alone.

    Attributes:
        reason: name of the last one; None where there was none.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._previous: dict[int, Callable | int | None] = {}
        self._outer: Signals | None = None

    def __enter__(self) -> "Signals":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in SIGNALS:
            if not is_ignored(number):
                self._previous[number] = signal.signal(number, self._note)
        owner = getattr(self._previous[SIGNALS[0]], "__self__", None)
        if isinstance(owner, Signals):
            self._outer, self.reason = owner, self.reason or owner.reason
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._outer is not None:
            self._outer.reason = self._outer.reason or self.reason

    def ignore_later_ones(self) -> None:
        """After the block too, a request to stop does nothing any more. A second Ctrl-C still interrupts.

        For a process that ends because all ranks have agreed to: its launcher tells them one after another, and may
        not have told this one yet.
        """
        for number in REQUESTS:
            self._previous[number] = signal.SIG_IGN
        if self._outer is not None:
            self._outer.ignore_later_ones()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.reason == "SIGINT":
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name
        if number == signal.SIGINT:
            outlive_launcher()


def say_last(line: str, *, interrupted: bool) -> None:
    """Print ``line`` on stderr; after Ctrl-C (``interrupted``) once the launcher, where there is one, has ended.

    After Ctrl-C the launcher prints a traceback of its own wait, when it has seen its workers end or at once. A line of
    a worker would stand above it. So a small process of its own waits until the launcher is gone, and says it then.
    Where it is gone already, init is the parent, for which nobody need wait.
    """
    if not interrupted or not under_launcher() or silent_launcher() or is_orphan():
        print(line, file=sys.stderr, flush=True)
        return
    # Isolated, without site packages: it starts in hundredths of a second. Its stderr is ours.
    command = [sys.executable, "-I", "-S", "-c", _TELLER, str(os.getppid()), str(_WAIT_S), line]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
