"""A worker: takes free cells, one or several at once, until none is left, the time is up, or it is asked to stop.

Any number of workers may fill a store at once. A cell belongs to the holder of its lease, and is done when its result
has been published; one that comes back (its worker was killed) is continued from its checkpoint by whoever takes it.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ebomlc_dist.engine.run_status import INTERRUPTED_CODE, STOPPED_CODE, Stopped
from ebomlc_dist.engine.stop import STOP_FILE
from ebomlc_dist.files import durable
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.launch.signals import Signals
from ebomlc_dist.sweeps.attempt import Attempts, Keep, Outcome, tidy
from ebomlc_dist.sweeps.cells import Cell
from ebomlc_dist.sweeps.estimate import Estimates
from ebomlc_dist.sweeps.lease import Lease
from ebomlc_dist.sweeps.store import Failure, Store

RunCells = Callable[[Sequence[tuple[Cell, Path]], Callable[[Cell, Outcome], None]], None]
_SECOND_LOOK_S = 0.3
_STOP_AGAIN_S = 2.0


@dataclass(frozen=True)
class Options:
    """How a worker works.

    Attributes:
        retries: attempts of a failing cell beyond the first, by all workers together.
        keep: what is left of a finished cell's run folder.
        deadline: `time.monotonic` at which the budget is spent; None without one.
        neighbours: cells of this sweep that are trained on this machine at once.
        packed: cells that this worker trains at once.
    """

    retries: int = 2
    keep: Keep = "small"
    deadline: float | None = None
    neighbours: int = 1
    packed: int = 1


@dataclass(frozen=True)
class Ended:
    """How a worker ended.

    Attributes:
        why: ``empty``: no free cell is left; ``budget``: none that fits is; ``stopped``: it was asked to.
        code: exit code of a stop.
    """

    why: Literal["empty", "budget", "stopped"]
    code: int = 0


class Worker:
    """Fills a store's cells with ``run_cells``.

    Args:
        store: an opened store.
        cells: in the order in which they are wanted.
        run_cells: trains cells in folders, or continues them there, and tells how each has ended.
        options: how.
        report: told the cell that begins, and None when it has ended.
    """

    def __init__(
        self,
        store: Store,
        cells: Sequence[Cell],
        run_cells: RunCells,
        options: Options,
        report: Callable[[Cell | None], None] = lambda starts: None,
    ) -> None:
        self._store = store
        self._cells = cells
        self._run_cells = run_cells
        self._attempts = Attempts(store, options.keep, options.neighbours)
        self._options = options
        self._report = report

    def work(self) -> Ended:
        """Until there is nothing left to do here."""
        with Signals() as signals:
            self._tidy_after_the_dead()
            while signals.reason is None:
                taken = self._take()
                if taken == "busy":
                    # Who only asks for the state of a cell has its lease for an instant.
                    time.sleep(_SECOND_LOOK_S)
                    taken = self._take()
                if isinstance(taken, str):
                    return Ended("budget" if taken == "budget" else "empty")
                with ExitStack() as leases:
                    for _, lease in taken:
                        leases.enter_context(lease)
                    ended = self._attempt([cell for cell, _ in taken])
                if ended is not None:
                    return ended
            return Ended("stopped", INTERRUPTED_CODE if signals.reason == "SIGINT" else STOPPED_CODE)

    def _take(self) -> list[tuple[Cell, Lease]] | Literal["empty", "busy", "budget"]:
        """The first free cells that fit, with their leases; else why there is none."""
        taken: list[tuple[Cell, Lease]] = []
        done, failed = self._store.done(), self._store.failed()
        estimates = Estimates(self._store.results()) if self._options.deadline is not None else None
        why: Literal["empty", "busy", "budget"] = "empty"
        for cell in self._cells:
            if cell.key in done or self._is_given_up(failed.get(cell.key, [])):
                continue
            if not self._fits(cell, estimates):
                why = "budget"
                continue
            lease = self._store.lease(cell.key)
            if not lease.take():
                why = "busy" if why == "empty" else why
                continue
            # Somebody may have finished it, or given it up, since we looked.
            if cell.key in self._store.done() or self._is_given_up(self._store.failed().get(cell.key, [])):
                lease.give_back()
                continue
            taken.append((cell, lease))
            if len(taken) == self._options.packed:
                break
        return taken or why

    def _is_given_up(self, failures: Sequence[Failure]) -> bool:
        return len(failures) > self._options.retries or any(failure.code == 2 for failure in failures)

    def _fits(self, cell: Cell, estimates: Estimates | None) -> bool:
        if self._options.deadline is None or estimates is None:
            return True
        left = self._options.deadline - time.monotonic()
        return (estimates.seconds(cell.flat) or 0.0) <= left and left > 0

    def _attempt(self, taken: Sequence[Cell]) -> Ended | None:
        """Run cells whose leases are ours. Something only where the worker has to end."""
        for cell in taken:
            self._attempts.note_death(cell)
        failed = self._store.failed()
        cells = [cell for cell in taken if not self._is_given_up(failed.get(cell.key, []))]
        endings: list[Ended] = []

        def on_end(cell: Cell, outcome: Outcome) -> None:
            if isinstance(outcome, Stopped):
                self._attempts.stop(cell)
                out_of_time = outcome.reason == STOP_FILE and self._is_out_of_time()
                endings.append(Ended("budget") if out_of_time else Ended("stopped", outcome.code))
            else:
                self._attempts.settle(cell, outcome)
            self._report(None)

        for cell in cells:
            self._attempts.begin(cell)
            self._report(cell)
        runs = [self._store.workplace(cell.key).run for cell in cells]
        with self._ending_in_time(runs):
            self._run_cells([(cell, run.root) for cell, run in zip(cells, runs, strict=True)], on_end)
        return endings[0] if endings else None

    def _tidy_after_the_dead(self) -> None:
        """Finish what a worker that died after publishing left to do."""
        for key in self._store.done():
            place = self._store.workplace(key)
            if place.started.exists():
                lease = self._store.lease(key)
                if lease.take():
                    with lease:
                        tidy(place, self._options.keep)

    def _is_out_of_time(self) -> bool:
        return self._options.deadline is not None and time.monotonic() >= self._options.deadline

    @contextmanager
    def _ending_in_time(self, runs: Sequence[RunFolder]) -> Iterator[None]:
        """Within the block, ask the runs for checkpoints and an end once the budget is spent."""
        if self._options.deadline is None:
            yield
            return
        over = threading.Event()

        def ask(deadline: float) -> None:
            wait = max(0.0, deadline - time.monotonic())
            # More than once, as a run forgets what was asked before it began.
            while not over.wait(wait):
                for run in runs:
                    # Not before the run has claimed its folder, which holds nothing else then.
                    if run.status.exists():
                        with contextlib.suppress(OSError):
                            durable.write_bytes(run.stop, b"", durable=False)
                wait = _STOP_AGAIN_S

        watch = threading.Thread(target=ask, args=(self._options.deadline,), daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()
