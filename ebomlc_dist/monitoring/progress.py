"""Progress of a run, as a person sees it.

A terminal has a live bar, a notebook one line that is written over, and anything else a plain line every few seconds.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_OVERWRITTEN_S = 0.5


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def spoken_to() -> TextIO:
    """Return the stream for messages to a person: stderr, but stdout in a notebook, which shows stderr as errors."""
    return sys.stdout if in_notebook() else sys.stderr


class ProgressReport:
    """Progress of one run on the first rank; silent on the others and with ``quiet``.

    Args:
        label: what is being trained.
        total: steps of the whole run.
        steps_per_epoch: to name the epoch.
        done: steps already done by an earlier start.
        enabled: False for silence.
        bar: whether a terminal gets a live bar; a terminal has room for one.
        seconds: least time between plain lines.
        stream: by default `spoken_to`.
    """

    def __init__(
        self,
        label: str,
        total: int,
        steps_per_epoch: int,
        *,
        done: int = 0,
        enabled: bool = True,
        bar: bool = True,
        seconds: float = 5.0,
        stream: TextIO | None = None,
    ) -> None:
        self._label = label
        self._total = total
        self._steps_per_epoch = steps_per_epoch
        self._first = done
        self._enabled = enabled
        self._overwrites = enabled and stream is None and in_notebook()
        self._seconds = _OVERWRITTEN_S if self._overwrites else seconds
        self._width = 0
        self._stream = stream or spoken_to()
        self._started = self._last_line = time.monotonic()
        self._values: dict[str, float] = {}
        self._bar: Progress | None = None
        if enabled and bar and self._stream.isatty():
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}", markup=False),
            )
            self._bar = Progress(*columns, console=Console(file=self._stream))
            self._task = self._bar.add_task(label, total=total, completed=done, figures="")
            self._bar.start()

    def figures(self, **values: float | None) -> None:
        """New values of figures, by name; a figure without a new one keeps the old."""
        self._values |= {name: value for name, value in values.items() if value is not None}

    def step(self, done: int) -> None:
        """``done`` steps are done, counted from the run's start."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=self._shown())
        elif time.monotonic() - self._last_line >= self._seconds or (self._overwrites and done == self._total):
            self._line(done)

    def _shown(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in self._values.items())

    def _line(self, done: int) -> None:
        now = time.monotonic()
        self._last_line = now
        rate = (done - self._first) / max(now - self._started, 1e-9)
        left = (self._total - done) / rate if rate > 0 else float("nan")
        epoch = min(done // self._steps_per_epoch + 1, -(-self._total // self._steps_per_epoch))
        text = (
            f"{self._label}  epoch {epoch}  step {done}/{self._total}  {rate:.1f} steps/s  {left:.0f} s left  "
            f"{self._shown()}"
        )
        if not self._overwrites:
            print(text, file=self._stream, flush=True)
            return
        # A shorter line must not leave the end of a longer one.
        print("\r" + text.ljust(self._width), end="", file=self._stream, flush=True)
        self._width = len(text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
        if self._width:
            print(file=self._stream, flush=True)


@contextmanager
def counting(label: str, *, enabled: bool = True, seconds: float = 5.0) -> Iterator[Callable[[int, int], None]]:
    """A function to be told ``(done, total)`` of work that is counted in images, shown on stderr.

    A live bar on a terminal, a plain line every ``seconds`` elsewhere.
    """
    last_line = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last_line
        if time.monotonic() - last_line >= seconds:
            last_line = time.monotonic()
            print(f"{label}  {done}/{total} images", file=sys.stderr, flush=True)

    if not enabled:
        yield lambda done, total: None
    elif not sys.stderr.isatty():
        yield line
    else:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=Console(file=sys.stderr)) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def show_panel(rows: list[tuple[str, str]], stream: TextIO | None = None) -> None:
    """Show rows on ``stream`` (stderr). Values are shown as they are, never read as markup."""
    stream = stream or sys.stderr
    if not stream.isatty():
        for name, value in rows:
            print(f"{name + ':':<11}{value}", file=stream, flush=True)
        return
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value))
    Console(file=stream).print(Panel(table, expand=False))
