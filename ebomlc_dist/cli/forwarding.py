"""Requests to stop that reach a command, handed on to the launcher that it has started."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import Any

from ebomlc_dist.distributed.requests import REQUESTS, is_ignored

_FORWARDED = (*REQUESTS, signal.SIGINT, signal.SIGQUIT)
_PR_SET_PDEATHSIG = 1


class Requests:
    """The signals that a command has got since its first child began. At the end of the block all is as before.

    Attributes:
        first: the first one; None where there was none.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._early: list[int] = []
        self._child: subprocess.Popen | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Requests":
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str], environment: dict[str, str]) -> int:
        """Run a child in a session of its own, so that a signal reaches it once: through us. Returns its exit code."""
        # A request that came since the last child ended is this one's.
        self._child, self._early = None, [] if self.first is None else [int(self.first)]
        for number in _FORWARDED:
            if number not in self._previous and not is_ignored(number):
                self._previous[number] = signal.signal(number, self._forward)
        end = partial(_end_with_parent, os.getpid())
        self._child = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=end)
        for early in self._early:
            self._child.send_signal(early)
        return self._child.wait()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.first = self.first or signal.Signals(number)
        if self._child is None:
            self._early.append(number)
        else:
            self._child.send_signal(number)


def _end_with_parent(parent: int) -> None:
    """In the child: ask Linux for a SIGTERM when the parent is gone, whatever ended it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
