"""Several runs in one process, a step of each in turn: on a GPU their work overlaps, each on a stream of its own.

What torch and the process have only once is put in place for the run whose turn it is: the generators, the current
stream, the context that its log lies in. So each run is the one that it would be alone, and ends for itself.
"""

from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.run import Steps, logged_in_files
from ebomlc_dist.engine.stop import Signals

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
    runs: Sequence[tuple[Path, Begin]], runtime: Runtime, told: Callable[[Ended], None] = lambda ended: None
) -> list[Ended]:
    """Train all runs to their ends, in the order given. One that fails, or is stopped, leaves the others alone.

    Args:
        runs: folders, with what begins the run there.
        runtime: of a process that is alone.
        told: called as soon as a run ends.
    """
    found: dict[Path, Ended] = {}
    with Signals() as signals, logged_in_files():
        lanes = [_Lane(folder, begin(runtime.apart(), signals), runtime.device) for folder, begin in runs]
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
                    told(ended)
    return [found[folder] for folder, _ in runs]


class _Lane:
    """One run's place in the process."""

    def __init__(self, folder: Path, steps: Steps, device: torch.device) -> None:
        self.folder = folder
        self._steps = steps
        self._device = device
        self._context = copy_context()
        self._draws = _generators(device)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

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
        """Let the run note that it was interrupted."""
        try:
            self._within(lambda: self._steps.throw(KeyboardInterrupt()))
        except (KeyboardInterrupt, StopIteration):
            return

    def _within(self, act: Callable[[], T]) -> T:
        others = _generators(self._device)
        _put(self._draws, self._device)
        try:
            with torch.cuda.stream(self._stream):
                return self._context.run(act)
        finally:
            self._draws = _generators(self._device)
            _put(others, self._device)


def _generators(device: torch.device) -> list[Tensor]:
    on_gpu = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_gpu]


def _put(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
