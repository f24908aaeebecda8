"""What a person sees of a sweep: a live bar on a terminal, a line for every cell that ends elsewhere."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ebomlc_dist.sweeps.estimate import Estimates, shown
from ebomlc_dist.sweeps.store import Listed, Store


class SweepProgress:
    """Tells of the cells of one grid as they end, whoever ran them.

    Args:
        store: the store.
        cells: the cells that are wanted.
        workers: how many work at them, for the time left.
        enabled: False for silence.
    """

    def __init__(
        self,
        store: Store,
        cells: Sequence[Listed],
        *,
        workers: int = 1,
        enabled: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self._store = store
        self._cells = {cell.key: cell for cell in cells}
        self._workers = workers
        self._enabled = enabled
        self._stream = stream or sys.stderr
        self._told: set[str] = store.done()
        self._told_failures = {key: len(failures) for key, failures in store.failed().items()}
        self._left = self._time_left()
        self._bar: Progress | None = None
        if enabled and self._stream.isatty():
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}", markup=False),
            )
            self._bar = Progress(*columns, console=Console(file=self._stream))
            self._task = self._bar.add_task("", total=len(self._cells), completed=self._num_done(), left=self._left)
            self._bar.start()

    def update(self, starts: Listed | None = None) -> None:
        """Tell what has ended since the last time; ``starts``: the cell that begins here."""
        if not self._enabled:
            return
        for key in sorted(self._store.done() & self._cells.keys() - self._told):
            self._told.add(key)
            self._left = self._time_left()
            self._say(f"{self._cells[key].name}: {self._outcome(key)}")
        for key, failures in self._store.failed().items():
            for failure in failures[self._told_failures.get(key, 0) :]:
                self._say(f"{self._cells[key].name if key in self._cells else key}: failed: {failure.reason}")
            self._told_failures[key] = len(failures)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._num_done(), left=self._left)
            if starts is not None:
                self._bar.update(self._task, description=_visible(starts.name))

    def _say(self, line: str) -> None:
        line = _visible(line)
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            place = f"{self._num_done()}/{len(self._cells)}"
            print(f"{place}  {line}{f'; {self._left}' if self._left else ''}", file=self._stream, flush=True)

    def _outcome(self, key: str) -> str:
        result = self._store.result(key)
        accuracy = result.summary.get("accuracy_last")
        figure = "no test set" if accuracy is None else f"{accuracy:.2f} %"
        return f"{figure} in {shown(result.seconds)}"

    def _num_done(self) -> int:
        return len(self._told & self._cells.keys())

    def _time_left(self) -> str:
        rest = [cell.config for key, cell in self._cells.items() if key not in self._told]
        total = Estimates(self._store.results()).total(rest) if rest else None
        return "" if total is None else f"about {shown(total / self._workers)} left"

    def __enter__(self) -> "SweepProgress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.update()
        if self._bar is not None:
            self._bar.stop()


def _visible(text: str) -> str:
    """Names may hold what moves the cursor; it is shown as a sign instead."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
