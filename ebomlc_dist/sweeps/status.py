"""Where a sweep stands. Reads the store alone, without torch."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import read_status
from ebomlc_dist.sweeps.estimate import Estimates
from ebomlc_dist.sweeps.lease import is_held
from ebomlc_dist.sweeps.store import Listed, Store, Workplace

State = Literal["done", "running", "failed", "waiting"]


@dataclass(frozen=True)
class CellStatus:
    """One cell.

    Attributes:
        state: ``running`` by some worker; ``failed``: every attempt so far; ``waiting``: free.
        step: of a cell that was begun and is not done.
        attempts: failed ones.
        reason: of the last failed attempt.
    """

    cell: Listed
    state: State
    step: int | None = None
    attempts: int = 0
    reason: str | None = None


def survey(store: Store, cells: Iterable[Listed]) -> list[CellStatus]:
    """Return the state of each cell, in order."""
    done, failed = store.done(), store.failed()
    found = []
    for cell in cells:
        failures = failed.get(cell.key, [])
        last = failures[-1].reason if failures else None
        if cell.key in done:
            found.append(CellStatus(cell, "done", attempts=len(failures), reason=last))
            continue
        place = store.workplace(cell.key)
        state: State = "running" if _is_running(place) else "failed" if failures else "waiting"
        found.append(CellStatus(cell, state, _step(store, cell.key), len(failures), last))
    return found


def counts(cells: Iterable[CellStatus]) -> dict[str, int]:
    """Return how many cells are in each state."""
    found = Counter(cell.state for cell in cells)
    return {state: found[state] for state in get_args(State)}


def seconds_left(store: Store, cells: Iterable[CellStatus]) -> float | None:
    """Return the estimated seconds until all cells are done, by the present workers; None where unknown."""
    cells = list(cells)
    rest = [cell.cell.config for cell in cells if cell.state in ("waiting", "running")]
    total = Estimates(store.results()).total(rest)
    workers = max(1, sum(cell.state == "running" for cell in cells))
    return None if total is None else total / workers


def _is_running(place: Workplace) -> bool:
    try:
        return is_held(place.lease)
    except InputError:
        # Another user's store, which may be read but not locked.
        return place.started.exists()


def _step(store: Store, key: str) -> int | None:
    run = store.workplace(key).run
    try:
        return read_status(run.root).step if run.status.exists() else None
    except InputError:
        return None
