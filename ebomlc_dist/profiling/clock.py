"""Time on the device's own clock: CUDA events on a GPU, the monotonic clock on a CPU."""

import time
from itertools import pairwise
from typing import Any

import torch

from ebomlc_dist.gpu import on_gpu


class DeviceClock:
    """Marks in time, and the milliseconds between them. A mark does not wait for the device; reading does."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._on_gpu = on_gpu(device)

    def mark(self) -> Any:
        """This moment; on a GPU, the moment at which the work queued so far is done."""
        if not self._on_gpu:
            return time.perf_counter_ns()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, marks: list[Any]) -> list[float]:
        """Milliseconds from each mark to the next one."""
        self.settle()
        pairs = pairwise(marks)
        if self._on_gpu:
            return [one.elapsed_time(other) for one, other in pairs]
        return [(other - one) / 1e6 for one, other in pairs]

    def settle(self) -> None:
        """Wait until the device has nothing left to do."""
        if self._on_gpu:
            torch.cuda.synchronize(self.device)
