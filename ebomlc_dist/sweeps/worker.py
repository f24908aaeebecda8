"""A worker: takes one free cell after another until none is left, the time is up, or it is asked to stop.

Any number of workers may fill a store at once. A cell belongs to the holder of its lease, and is done when its result
has been published; one that comes back (its worker was killed) is continued from its checkpoint by whoever takes it.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ebomlc_dist.engine.run import INTERRUPTED_CODE, STOPPED_CODE, Stopped
from ebomlc_dist.engine.stop import STOP_FILE, Signals
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files import durable
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.sweeps.cells import Cell
from ebomlc_dist.sweeps.estimate import Estimates
from ebomlc_dist.sweeps.lease import Lease
from ebomlc_dist.sweeps.store import Failure, Result, Store
from ebomlc_dist.sweeps.tidy import Keep, tidy

log = logging.getLogger(__name__)
RunCell = Callable[[Cell, Path], tuple[dict[str, Any], dict[str, Any]]]
# The run folder may be gone soon, or lie elsewhere; a hundred classes' matrix would be most of a store.
_NOT_PUBLISHED = ("run", "correction_matrix")
_SECOND_LOOK_S = 0.3
_STOP_AGAIN_S = 2.0


@dataclass(frozen=True)
class Options:
    """How a worker works.

    Attributes:
        retries: attempts of a failing cell beyond the first, by all workers together.
        keep: what is left of a finished cell's run folder.
        deadline: `time.monotonic` at which the budget is spent; None without one.
        neighbours: workers of this sweep on this machine.
    """

    retries: int = 2
    keep: Keep = "small"
    deadline: float | None = None
    neighbours: int = 1


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
    """Fills a store's cells with ``run_cell``.

    Args:
        store: an opened store.
        cells: in the order in which they are wanted.
        run_cell: trains a cell in a folder, or continues it there; returns its summary and environment.
        options: how.
        report: told the cell that begins, and None when it has ended.
    """

    def __init__(
        self,
        store: Store,
        cells: Sequence[Cell],
        run_cell: RunCell,
        options: Options,
        report: Callable[[Cell | None], None] = lambda starts: None,
    ) -> None:
        self._store = store
        self._cells = cells
        self._run_cell = run_cell
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
                cell, lease = taken
                with lease:
                    ended = self._attempt(cell)
                self._report(None)
                if ended is not None:
                    return ended
            return Ended("stopped", INTERRUPTED_CODE if signals.reason == "SIGINT" else STOPPED_CODE)

    def _take(self) -> tuple[Cell, Lease] | Literal["empty", "busy", "budget"]:
        """The first free cell that fits, with its lease; else why there is none."""
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
            return cell, lease
        return why

    def _is_given_up(self, failures: Sequence[Failure]) -> bool:
        return len(failures) > self._options.retries or any(failure.code == 2 for failure in failures)

    def _fits(self, cell: Cell, estimates: Estimates | None) -> bool:
        if self._options.deadline is None or estimates is None:
            return True
        left = self._options.deadline - time.monotonic()
        return (estimates.seconds(cell.flat) or 0.0) <= left and left > 0

    def _attempt(self, cell: Cell) -> Ended | None:
        """Run a cell whose lease is ours. Something only where the worker has to end."""
        place = self._store.workplace(cell.key)
        durable.remove_litter(place.root)
        if self._note_death(cell) and self._is_given_up(self._store.failed()[cell.key]):
            return None
        durable.write_json(place.started, {"checkpoint": _newest(place.run)})
        self._report(cell)
        began = time.monotonic()
        try:
            with self._ending_in_time(place.run):
                summary, environment = self._run_cell(cell, place.run.root)
        except Stopped as stopped:
            place.started.unlink()
            out_of_time = stopped.reason == STOP_FILE and self._is_out_of_time()
            return Ended("budget") if out_of_time else Ended("stopped", stopped.code)
        except (InputError, TrainingFault) as error:
            # A full disk is bad input that may be mended while the sweep goes on.
            self._fail(cell, str(error), code=2 if type(error) is InputError else 1)
            return None
        except Exception as error:
            # Its traceback is in the run's log.
            self._fail(cell, f"{type(error).__name__}: {error}", code=1)
            return None
        result = Result(
            key=cell.key,
            name=cell.name,
            config=cell.flat,
            summary={key: value for key, value in summary.items() if key not in _NOT_PUBLISHED},
            environment=environment | {"cuda_graph": cell.config.train.cuda_graph},
            seconds=time.monotonic() - began,
            neighbours=self._options.neighbours,
        )
        if not self._store.publish(result):
            log.warning("%s had a result already, which stays", cell.name)
        tidy(place, self._options.keep)
        return None

    def _note_death(self, cell: Cell) -> bool:
        """Count an attempt whose worker died before it came to a further checkpoint. True where there was one."""
        place = self._store.workplace(cell.key)
        if not place.started.exists():
            return False
        before = read_json(place.started).get("checkpoint")
        died_early = before == _newest(place.run)
        if died_early:
            self._fail(cell, "its worker died before a further checkpoint (killed, or out of memory)", code=1)
        return died_early

    def _fail(self, cell: Cell, reason: str, code: int) -> None:
        line = reason.splitlines()[0] if reason else "no reason given"
        self._store.fail(cell.key, Failure(line, code, time.time()))
        self._store.workplace(cell.key).started.unlink(missing_ok=True)

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
    def _ending_in_time(self, run: RunFolder) -> Iterator[None]:
        """Within the block, ask the run for a checkpoint and an end once the budget is spent."""
        if self._options.deadline is None:
            yield
            return
        over = threading.Event()

        def ask(deadline: float) -> None:
            wait = max(0.0, deadline - time.monotonic())
            # More than once, as a run forgets what was asked before it began.
            while not over.wait(wait):
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


def _newest(run: RunFolder) -> str | None:
    """The name of the newest checkpoint."""
    latest = run.checkpoints / "latest"
    return latest.read_text().strip() if latest.exists() else None
