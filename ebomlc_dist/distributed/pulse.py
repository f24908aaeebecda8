"""How far this rank has come: written by the thread that trains, read by the one that watches."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pulse:
    """Plain fields, each written by one thread alone.

    Attributes:
        count: places passed where ranks wait for each other; a rank that is behind has a smaller one.
        step: finished steps; None before the first.
    """

    def __init__(self) -> None:
        self.count = 0
        self.step: int | None = None
        self._waits: tuple[float, float] | None = None

    @contextmanager
    def waiting(self, limit_s: float) -> Iterator[None]:
        """Within the block this rank may wait for others, for ``limit_s`` seconds at most."""
        self.count += 1
        self._waits = (time.monotonic(), limit_s)
        try:
            yield
        finally:
            self._waits = None
            self.count += 1

    def left_s(self) -> float | None:
        """Seconds until the limit of the present wait, negative after it; None where this rank does not wait."""
        waits = self._waits
        return None if waits is None else waits[0] + waits[1] - time.monotonic()
