"""Where an attempt at a run spends its time: in one phase at any moment, so that the phases add up to the whole."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Phase = Literal["start", "step", "checkpoint", "evaluation", "other"]
PHASES: tuple[Phase, ...] = get_args(Phase)


class Stopwatch:
    """Monotonic seconds of each phase, from ``start`` on.

    Args:
        synchronise: lets a device finish, so that its work is counted where it was asked for.
    """

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self._synchronise = synchronise
        self._seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._phase: Phase = "start"
        self._since = time.monotonic()

    def switch(self, phase: Phase) -> None:
        """Spend the time from now on in another phase."""
        self._synchronise()
        now = time.monotonic()
        self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    @contextmanager
    def within(self, phase: Phase) -> Iterator[None]:
        """Spend the block in another phase, and go back to the present one."""
        before = self._phase
        self.switch(phase)
        yield
        self.switch(before)

    def read(self, phase: Phase) -> float:
        """Seconds of one phase so far, the device waited for."""
        self._synchronise()
        return self.split()[phase]

    def split(self) -> dict[str, float]:
        """Seconds of every phase so far. The device is not waited for."""
        return {**self._seconds, self._phase: self._seconds[self._phase] + time.monotonic() - self._since}


def duration_text(seconds: float) -> str:
    """Return a time for people: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
