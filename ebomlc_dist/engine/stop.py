"""Stopping in order: a request only sets a flag, and the ranks agree on one step.

The flag rides in a buffer that is reduced anyway, so every rank learns of it at the same step and writes the same
checkpoint there.
"""

import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

STOP_FILE = "STOP file"
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


class Signals:
    """The signals that ask the process to stop, noted while in its block. A second Ctrl-C interrupts at once.

    Blocks nest: one within another counts what the outer one has noted, and passes on what it notes itself.

    Attributes:
        reason: name of the last one; None where there was none.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._previous: dict[int, Callable | int | None] = {}
        self._outer: Signals | None = None

    def __enter__(self) -> "Signals":
        for number in SIGNALS:
            # Ignored under `nohup`, which is to go on when its terminal closes.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
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
        for number in SIGNALS:
            if number != signal.SIGINT:
                self._previous[number] = signal.SIG_IGN

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.reason == "SIGINT":
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name


class StopRequests:
    """What asks one run of this process to stop: signals, and the run folder's ``STOP`` file.

    Attributes:
        reason: what asked; None where nothing did.
    """

    def __init__(self, signals: Signals, stop_file: Path | None) -> None:
        self.reason: str | None = None
        self._signals = signals
        self._stop_file = stop_file

    def asked(self) -> bool:
        """Whether this rank was asked to stop."""
        self.reason = self.reason or self._signals.reason
        if self.reason is None and self._stop_file is not None and self._stop_file.exists():
            self.reason = STOP_FILE
        return self.reason is not None


class AgreedFlag:
    """Reads a device flag that is equal on all ranks, without making the device wait for the host.

    On a GPU the value read at step s is that of step s − 2: the copy runs beside the work, and since every rank reads
    the same old value, they still agree.
    """

    def __init__(self, device: torch.device) -> None:
        self._asynchronous = device.type == "cuda"
        self._pending: deque[tuple[Tensor, torch.cuda.Event]] = deque()

    def read(self, flag: Tensor) -> bool:
        """Note this step's ``flag`` (0-dim) and return the one that is due."""
        if not self._asynchronous:
            return bool(flag > 0)
        copy = torch.empty((), dtype=flag.dtype, pin_memory=True)
        copy.copy_(flag, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._pending.append((copy, event))
        if len(self._pending) <= 2:
            return False
        due, done = self._pending.popleft()
        done.synchronize()
        return bool(due > 0)
