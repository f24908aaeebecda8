"""Signals that ask a process to stop: its handlers only set a flag."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

from ebomlc_dist.distributed.launcher import outlive_launcher
from ebomlc_dist.distributed.requests import REQUESTS, is_ignored

SIGNALS = (*REQUESTS, signal.SIGINT)


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
