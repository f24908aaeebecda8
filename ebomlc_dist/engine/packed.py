"""Several runs in one process, a step of each in turn: on a GPU their work overlaps, each on a stream of its own.

What torch and the process have only once is put in place for the run whose turn it is: the generators, the current
stream, the context that its log lies in. So each run is the one that it would be alone, and ends for itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.arithmetic import float32_in_force, put_back
from ebomlc_dist.engine.rank_log import logged_in_files
from ebomlc_dist.engine.run import Steps
from ebomlc_dist.gpu import on_gpu, own_stream
from ebomlc_dist.launch.signals import Signals

T = TypeVar("T")
Begin = Callable[[Runtime, Signals], Steps]
"""Begins a run in a place of its own; see `ebomlc_dist.engine.run.steps_of`."""


@dataclass(frozen=True)
class Ended:
    """How one of the runs ended: with a summary, or with what it raised."""

    folder: Path
    summary: dict[str, Any] | None = None
    error: Exception | None = None


def train_packed(
    runs: Sequence[tuple[Path, Begin]], runtime: Runtime, on_end: Callable[[Ended], None] = lambda ended: None
) -> list[Ended]:
    """Train all runs to their ends, in the order given. One that fails, or is stopped, leaves the others alone.

    Args:
        runs: folders, with what begins the run there.
        runtime: of a process that is alone.
        on_end: called as soon as a run ends.
    """
    found: dict[Path, Ended] = {}
    with Signals() as signals, logged_in_files():
        lanes = [_Lane(folder, begin, runtime, signals) for folder, begin in runs]
        while lanes:
            for lane in list(lanes):
                try:
                    ended = lane.step()
                except BaseException:
                    for other in lanes:
                        if other is not lane:
                            other.interrupt()
                    raise
                if ended is not None:
                    lanes.remove(lane)
                    found[lane.folder] = ended
                    on_end(ended)
    return [found[folder] for folder, _ in runs]


class _Lane:
    """One run's place in the process."""

    def __init__(self, folder: Path, begin: Begin, runtime: Runtime, signals: Signals) -> None:
        self.folder = folder
        self._context = copy_context()
        self._draws = torch.get_rng_state()
        self._float32: Mapping[str, str] = float32_in_force()
        self._gpu: torch.Generator | None = None
        self._stream: torch.cuda.Stream | None = None
        if on_gpu(runtime.device):
            index = torch.cuda.current_device() if runtime.device.index is None else runtime.device.index
            self._gpu = torch.cuda.default_generators[index]
            # A graph reads seed and offset from memory of the state that it was recorded with: each run has its own.
            self._gpu_draws = self._gpu.clone_state()
            self._stream = own_stream(runtime.device)
        self._steps: Steps = self._within(lambda: begin(runtime.apart(), signals))

    def step(self) -> Ended | None:
        """One step; how the run ended, where it did."""
        try:
            self._within(lambda: next(self._steps))
        except StopIteration as end:
            return Ended(self.folder, summary=end.value)
        except Exception as error:
            # Not the frames, which hold the run's tensors.
            return Ended(self.folder, error=error.with_traceback(None))
        return None

    def interrupt(self) -> None:
        """Record in the run's folder that it was interrupted."""
        try:
            self._within(lambda: self._steps.throw(KeyboardInterrupt()))
        except (KeyboardInterrupt, StopIteration):
            return

    def _within(self, act: Callable[[], T]) -> T:
        with torch.cuda.stream(self._stream), self._own_draws(), self._own_float32():
            return self._context.run(act)

    @contextmanager
    def _own_float32(self) -> Iterator[None]:
        others = float32_in_force()
        put_back(self._float32)
        try:
            yield
        finally:
            self._float32 = float32_in_force()
            put_back(others)

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        others = torch.get_rng_state()
        others_on_gpu = self._gpu.graphsafe_get_state() if self._gpu is not None else None
        torch.set_rng_state(self._draws)
        if self._gpu is not None:
            self._gpu.graphsafe_set_state(self._gpu_draws)
        try:
            yield
        finally:
            self._draws = torch.get_rng_state()
            torch.set_rng_state(others)
            if self._gpu is not None and others_on_gpu is not None:
                self._gpu.graphsafe_set_state(others_on_gpu)
