"""Goodput: the share of a run's wall time in steps that counted, over its first start and every resume.

Each attempt leaves lines in ``attempts.jsonl``, the first with the step that it went on from. A line says how far the
attempt was and how its seconds were spent until then, so that one which is missing costs nothing but detail. What an
attempt did after its last line nobody knows; that time counts as idle.

Within an attempt time is monotonic. Only between two attempts wall time decides, and a clock that was put back makes a
pause of 0 seconds, not of fewer. A `Stopwatch` is in one phase at any moment, so that the phases add up to the whole.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.journal import Journal, read_records

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
        """Return seconds of one phase so far, the device waited for."""
        self._synchronise()
        return self.split()[phase]

    def split(self) -> dict[str, float]:
        """Return seconds of every phase so far. The device is not waited for."""
        return {**self._seconds, self._phase: self._seconds[self._phase] + time.monotonic() - self._since}


def duration_text(seconds: float) -> str:
    """Return a time for people: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


log = logging.getLogger(__name__)
Line = Mapping[str, Any]


class AttemptLog:
    """The lines of one attempt; the first rank writes them.

    Args:
        path: ``attempts.jsonl`` of the run folder.
        watch: of this attempt.
    """

    def __init__(self, path: Path, watch: Stopwatch) -> None:
        self._path = path
        self._watch = watch

    def begin(self, step: int) -> None:
        """The attempt goes on from ``step``, 0 at the beginning.

        Raises:
            InputError, OSError: the file cannot be written.
        """
        self._append(step, resumed_at=step)

    def mark(self, step: int) -> None:
        """``step`` steps are done. A disk that takes nothing costs this line alone."""
        with suppress(OSError, InputError):
            self._append(step)

    def finish(self, step: int) -> dict[str, Any] | None:
        """Mark the run as finished and return its `goodput`; None, with a warning, where the file was damaged."""
        with suppress(OSError, InputError):
            self._append(step, finished=True)
        try:
            return read_goodput(self._path)
        except InputError as error:
            log.warning("no goodput: %s", error)
            return None

    def _append(self, step: int, **more: Any) -> None:
        with Journal(self._path) as journal:
            journal.append({"step": step, "wall": time.time(), "seconds": self._watch.split(), **more})


def read_goodput(path: Path) -> dict[str, Any] | None:
    """Return `goodput` of a run's ``attempts.jsonl``, which may be one that is being written; None where there is none.

    Raises:
        InputError: a damaged file.
    """
    if not path.exists():
        return None
    try:
        return goodput(read_records(path))
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__} {error}") from None


def goodput(lines: Sequence[Line]) -> dict[str, Any]:
    """Return the account of a run, from the lines of its attempts in order.

    Returns:
        share: useful seconds of all, in per cent.
        attempts: how many; those after the one that finished the run are left out.
        lost_steps: done, and done again by a later attempt.
        total_seconds: from the first start to the last line, and the sum of the following.
        useful_seconds: in steps whose result was kept.
        lost_seconds: in lost steps.
        start_seconds, checkpoint_seconds, evaluation_seconds, other_seconds: of all attempts.
        idle_seconds: between attempts.
    """
    attempts = _attempts(lines)
    seconds = dict.fromkeys(("useful", "lost", *PHASES[:1], *PHASES[2:], "idle"), 0.0)
    lost_steps, kept_to = 0, float("inf")
    for attempt in reversed(attempts):
        last = attempt[-1]
        kept = [line for line in attempt if line["step"] <= kept_to]
        useful = kept[-1]["seconds"]["step"] if kept else 0.0
        seconds["useful"] += useful
        seconds["lost"] += last["seconds"]["step"] - useful
        lost_steps += int(max(0, last["step"] - max(kept_to, attempt[0]["step"])))
        for phase in seconds.keys() & last["seconds"].keys():
            seconds[phase] += last["seconds"][phase]
        kept_to = min(kept_to, attempt[0]["resumed_at"])
    for before, after in pairwise(attempts):
        began = after[0]["wall"] - sum(after[0]["seconds"].values())
        seconds["idle"] += max(0.0, began - before[-1]["wall"])
    total = sum(seconds.values())
    return {
        "share": 100.0 * seconds["useful"] / total if total else None,
        "attempts": len(attempts),
        "lost_steps": lost_steps,
        "total_seconds": total,
        **{f"{name}_seconds": value for name, value in seconds.items()},
    }


def goodput_text(figures: Mapping[str, Any]) -> str:
    """Return `goodput` in words."""
    share = "-" if figures["share"] is None else f"{figures['share']:.1f} %"
    attempts = "1 attempt" if figures["attempts"] == 1 else f"{figures['attempts']} attempts"
    return f"{share}, {attempts}"


def _attempts(lines: Sequence[Line]) -> list[list[Line]]:
    attempts: list[list[Line]] = []
    for line in lines:
        if "resumed_at" in line:
            attempts.append([])
        attempts[-1].append(line)
        if line.get("finished"):
            break
    return attempts
