"""What a run writes while it goes on: metric lines, trackers, status, progress, checkpoints. Rank 0 alone writes."""

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Protocol

import safetensors.torch
from torch import Tensor

from ebomlc_dist.errors import TrainingFault
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.durable import NoSpace, make_folder, write_bytes
from ebomlc_dist.files.journal import Journal
from ebomlc_dist.files.run_folder import RunFolder, write_status
from ebomlc_dist.monitoring.goodput import AttemptLog
from ebomlc_dist.monitoring.progress import ProgressReport

log = logging.getLogger(__name__)
HEARTBEAT_S = 2.0
MAX_MISSED_CHECKPOINTS = 3


class Tracker(Protocol):
    """A tracker. It raises nothing: a run goes on without one that fails."""

    def log(self, values: dict[str, Any], step: int | None) -> None: ...

    def finish(self) -> None: ...


class RunRecord:
    """The record of one run, kept by the first rank.

    Args:
        folder: the claimed run folder.
        trackers: opened trackers.
        progress: what a person sees.
        fixed: plain values stored with every checkpoint beside the progress (fingerprint, configuration, world size).
        attempts: is told how far this attempt is.
    """

    def __init__(
        self,
        folder: RunFolder,
        trackers: Sequence[Tracker],
        progress: ProgressReport,
        fixed: Mapping[str, Any],
        attempts: AttemptLog,
    ) -> None:
        self.folder = folder
        self.store = CheckpointStore(folder.checkpoints)
        self._journal = Journal(folder.metrics)
        self._trackers = trackers
        self._progress = progress
        self._fixed = fixed
        self._attempts = attempts
        self._unwritten: list[dict[str, Any]] = []
        self._missed = 0
        self._last_heartbeat = -HEARTBEAT_S

    def wind_back(self, offset: int) -> None:
        """Remove metric lines written after the checkpoint that is continued."""
        self._journal.truncate(offset)

    def metrics(self, step: int, epoch: int, figures: Mapping[str, Any], rates: Mapping[str, float]) -> None:
        """One line of ``metrics.jsonl``; its numbers go to the trackers too.

        ``figures`` repeat exactly when a run is repeated, ``rates`` (speed) do not.
        """
        self._attempts.mark(step)
        self._unwritten.append({"step": step, "epoch": epoch, **figures, **rates})
        try:
            self._write_metrics()
        except OSError as error:
            log.warning("metrics of step %d wait for the disk: %s", step, error)
        numbers = {name: value for name, value in {**figures, **rates}.items() if isinstance(value, Real)}
        for tracker in self._trackers:
            tracker.log(numbers, step=step)
        self._progress.figures(
            F=figures.get("train/upper"),
            G=figures.get("train/lower"),
            beta=figures.get("train/barrier_coefficient"),
            accuracy=figures.get("eval/accuracy"),
            images_s=rates.get("perf/images_per_second"),
        )

    def step(self, step: int) -> None:
        """``step`` steps are done."""
        self._progress.step(step)
        now = time.monotonic()
        if now - self._last_heartbeat >= HEARTBEAT_S:
            self._last_heartbeat = now
            with contextlib.suppress(OSError):
                write_status(self.folder.root, state="running", step=step)

    def checkpoint(
        self, step: int, groups: Mapping[str, Mapping[str, Tensor]], progress: Mapping[str, Any], *, best: bool
    ) -> None:
        """Save durably. A disk that takes nothing is waited out for a few checkpoints; the last good one stays."""
        # Before too, so that a death right after the save does not take the saved steps for lost ones.
        self._attempts.mark(step)
        try:
            self._write_metrics()
            self._journal.sync()
            documents = {"progress": dict(progress), "run": {**self._fixed, "metrics_offset": self._journal.offset}}
            self.store.save(step, groups, documents, best=best)
        except OSError as error:
            self._missed += 1
            log.warning("checkpoint of step %d not written: %s", step, error)
            if self._missed < MAX_MISSED_CHECKPOINTS:
                return
            raise _fault(f"{self._missed} checkpoints in a row were not written", error) from None
        self._missed = 0
        self._attempts.mark(step)

    def epoch_scores(self, epoch: int, scores: Mapping[str, Tensor]) -> None:
        """Keep an epoch's label scores; a disk that takes nothing costs this epoch's alone."""
        try:
            make_folder(self.folder.epoch_scores)
            write_bytes(self.folder.epoch_score_file(epoch), safetensors.torch.save(dict(scores)))
        except OSError as error:
            log.warning("label scores of epoch %d not written: %s", epoch, error)

    def _write_metrics(self) -> None:
        while self._unwritten:
            self._journal.append(self._unwritten[0])
            self._unwritten.pop(0)

    def close(self) -> None:
        """Flush and close everything."""
        self._progress.close()
        for tracker in self._trackers:
            tracker.finish()
        try:
            self._write_metrics()
            self._journal.sync()
        except OSError as error:
            # Where the same disk has just ended the run, that error is on its way and tells more.
            if self._missed < MAX_MISSED_CHECKPOINTS:
                raise _fault("the last metric lines were not written", error) from None
            log.warning("the last metric lines were not written: %s", error)
        finally:
            self._journal.close()


def _fault(what: str, error: OSError) -> Exception:
    """One line for people: a full disk says for itself what to do."""
    return error if isinstance(error, NoSpace) else TrainingFault(f"{what} ({error}); the last good checkpoint is kept")


class SilentRecord:
    """The record of every other rank: it keeps nothing."""

    def metrics(self, step: int, epoch: int, figures: Mapping[str, Any], rates: Mapping[str, float]) -> None:
        """Nothing to write."""

    def step(self, step: int) -> None:
        """Nothing to show."""

    def checkpoint(
        self, step: int, groups: Mapping[str, Mapping[str, Tensor]], progress: Mapping[str, Any], *, best: bool
    ) -> None:
        """Nothing to save."""

    def epoch_scores(self, epoch: int, scores: Mapping[str, Tensor]) -> None:
        """Nothing to keep."""

    def close(self) -> None:
        """Nothing to close."""
