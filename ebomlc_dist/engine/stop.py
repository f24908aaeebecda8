"""Stopping in order: a request only sets a flag, and the ranks agree on one step.

The flag rides in a buffer that is reduced anyway, so every rank learns of it at the same step and writes the same
checkpoint there.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.launch.signals import Signals

STOP_FILE = "STOP file"
LOOK_S = 0.5
"""Seconds between two looks for the file: on a parallel file system each one asks a server."""


class StopRequests:
    """What asks one run of this process to stop: signals, and the run folder's ``STOP`` file.

    Attributes:
        reason: what asked; None where nothing did.
    """

    def __init__(self, signals: Signals, stop_file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.reason: str | None = None
        self._signals = signals
        self._stop_file = stop_file
        self._clock = clock
        self._looks_from = -math.inf

    def asked(self) -> bool:
        """Return whether this rank was asked to stop."""
        self.reason = self.reason or self._signals.reason
        if self.reason is None and self._stop_file is not None and self._clock() >= self._looks_from:
            self._looks_from = self._clock() + LOOK_S
            if self._stop_file.exists():
                self.reason = STOP_FILE
        return self.reason is not None


class AgreedFlag:
    """Reads a device flag that is equal on all ranks, without making the device wait for the host.

    On a GPU the value read at step s is that of step s − 2: the copy runs beside the work, and since every rank reads
    the same old value, they still agree.
    """

    def __init__(self, device: torch.device) -> None:
        self._asynchronous = on_gpu(device)
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
