"""Training time without the time spent beside it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Monotonic seconds while running. ``synchronise`` lets a device finish before the time is read."""

    def __init__(self, synchronise: Callable[[], None], seconds: float = 0.0) -> None:
        self._synchronise = synchronise
        self._seconds = seconds
        self._since: float | None = None

    def start(self) -> None:
        """Run from now on."""
        self._synchronise()
        self._since = time.monotonic()

    def read(self) -> float:
        """Seconds so far."""
        self._synchronise()
        return self._seconds + (time.monotonic() - self._since if self._since is not None else 0.0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stand still for what is not training."""
        self._seconds, self._since = self.read(), None
        yield
        self.start()
