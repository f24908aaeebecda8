"""An attempt at a cell: what is noted before it, and what becomes of its outcome."""

import logging
import time
from typing import Any, Literal

from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files import durable
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.sweeps.cells import Cell
from ebomlc_dist.sweeps.store import Failure, Result, Store, Workplace

log = logging.getLogger(__name__)
Outcome = tuple[dict[str, Any], dict[str, Any]] | Exception
"""Summary and environment of a cell, or what it raised."""
# A hundred classes' matrices would be most of a store.
_PUBLISHED_CLASSES = 20
Keep = Literal["none", "small", "all"]


class Attempts:
    """Attempts at cells whose leases are ours.

    Args:
        store: an opened store.
        keep: what is left of a finished cell's run folder.
        neighbours: cells of this sweep that are trained on this machine at once.
    """

    def __init__(self, store: Store, keep: Keep, neighbours: int) -> None:
        self._store = store
        self._keep = keep
        self._neighbours = neighbours
        self._began: dict[str, float] = {}

    def note_death(self, cell: Cell) -> None:
        """Count as a failure that the cell's last worker died before it came to a further checkpoint."""
        place = self._store.workplace(cell.key)
        durable.remove_litter(place.root)
        if place.started.exists() and read_json(place.started).get("checkpoint") == _newest(place.run):
            self._fail(cell, "its worker died before a further checkpoint (killed, or out of memory)", code=1)

    def begin(self, cell: Cell) -> None:
        """Note that the cell is begun, and from which checkpoint."""
        place = self._store.workplace(cell.key)
        durable.write_json(place.started, {"checkpoint": _newest(place.run)})
        self._began[cell.key] = time.monotonic()

    def stop(self, cell: Cell) -> None:
        """The cell was asked to stop, and left a checkpoint."""
        self._store.workplace(cell.key).started.unlink(missing_ok=True)

    def settle(self, cell: Cell, outcome: Outcome) -> None:
        """Publish the result, or note the failure."""
        if isinstance(outcome, InputError | TrainingFault):
            # A full disk is bad input that may be mended while the sweep goes on.
            self._fail(cell, str(outcome), code=2 if type(outcome) is InputError else 1)
        elif isinstance(outcome, Exception):
            # Its traceback is in the run's log.
            self._fail(cell, f"{type(outcome).__name__}: {outcome}", code=1)
        else:
            self._publish(cell, *outcome)

    def _publish(self, cell: Cell, summary: dict[str, Any], environment: dict[str, Any]) -> None:
        result = Result(
            key=cell.key,
            name=cell.name,
            config=cell.flat,
            summary={key: value for key, value in summary.items() if _is_published(key, value)},
            environment=environment | {"cuda_graph": cell.config.train.cuda_graph},
            seconds=time.monotonic() - self._began[cell.key],
            neighbours=self._neighbours,
        )
        if not self._store.publish(result):
            log.warning("%s had a result already, which stays", cell.name)
        tidy(self._store.workplace(cell.key), self._keep)

    def _fail(self, cell: Cell, reason: str, code: int) -> None:
        line = reason.splitlines()[0] if reason else "no reason given"
        self._store.fail(cell.key, Failure(line, code, time.time()))
        self._store.workplace(cell.key).started.unlink(missing_ok=True)


def _is_published(key: str, value: Any) -> bool:
    """Not the run folder, which may be gone soon or lie elsewhere, nor a large matrix."""
    return key != "run" and not (key.endswith("_matrix") and value is not None and len(value) > _PUBLISHED_CLASSES)


def _newest(run: RunFolder) -> str | None:
    """The name of the newest checkpoint."""
    latest = run.checkpoints / "latest"
    return latest.read_text().strip() if latest.exists() else None


def tidy(place: Workplace, keep: Keep) -> None:
    """Remove what is not kept, for the holder of the cell's lease. May be done again after a death in its midst.

    Args:
        place: the workplace of a cell whose result is published.
        keep: ``all``; ``small``: configuration, environment, metrics, summary and status; ``none``.
    """
    run = place.run
    if run.root.is_dir() and keep == "none":
        durable.remove_tree(run.root)
    elif run.root.is_dir() and keep == "small":
        kept = {run.config, run.environment, run.metrics, run.summary, run.status, run.lock}
        for path in sorted(run.root.iterdir()):
            if path in kept:
                continue
            if path.is_dir() and not path.is_symlink():
                durable.remove_tree(path)
            else:
                path.unlink()
    durable.remove_litter(place.root)
    place.started.unlink(missing_ok=True)
