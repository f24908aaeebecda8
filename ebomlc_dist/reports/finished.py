"""Finished runs as their files tell it: configuration, summary, and what was measured at every epoch."""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ebomlc_dist.config import RunConfig
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.journal import read_records
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json

log = logging.getLogger(__name__)
_SUMMARY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes:
        number: from 1, over all stages.
        seconds: training time up to its end, evaluation and checkpoints left out.
        values: metric → value; ``train/`` figures are means over the epoch's steps (``…_max`` the largest), the others
            are of its end.
    """

    number: int
    seconds: float
    values: Mapping[str, Any]


@dataclass(frozen=True)
class FinishedRun:
    """A run that is over.

    Attributes:
        folder: where it lies.
        config: what it was.
        summary: the figures it ended with (`ebomlc_dist.engine.run_summary`).
        epochs: what was measured on the way.
        class_names: in label order.
        environment: versions and devices (`ebomlc_dist.monitoring.versions`); empty where the run kept none.
    """

    folder: Path
    config: RunConfig
    summary: Mapping[str, Any]
    epochs: tuple[Epoch, ...]
    class_names: tuple[str, ...]
    environment: Mapping[str, Any]

    @property
    def method(self) -> str:
        """The method's registered name."""
        return self.config.method.name

    @property
    def last_stage(self) -> tuple[Epoch, ...]:
        """The epochs of the method's last stage, which is what its scores are of."""
        return self.epochs[-self.config.train.epochs :]

    def series(self, key: str) -> list[float]:
        """One value for each epoch of the last stage. Raises `InputError` where an epoch has none."""
        values = [epoch.values.get(key) for epoch in self.last_stage]
        if not values or any(not isinstance(value, int | float) for value in values):
            raise InputError(f"the run in {self.folder} has no {key} for every epoch; train it again")
        return [float(value) for value in values if value is not None]


def read_run(folder: Path) -> FinishedRun:
    """A finished run. Raises `InputError` for a folder that holds none, or for damaged files."""
    paths = RunFolder(folder)
    if not paths.summary.exists():
        raise InputError(f"{folder} holds no finished run (no {paths.summary.name} in it); train or resume it first")
    try:
        config = RunConfig.model_validate(read_json(paths.config))
    except ValidationError as error:
        raise InputError(f"{paths.config} is no configuration of a run: {error.errors()[0]['msg']}") from None
    summary, names = read_json(paths.summary, _SUMMARY_BYTES), read_json(paths.classes)
    if not isinstance(summary, dict) or not isinstance(names, list):
        raise InputError(f"{folder} is damaged: {paths.summary.name} or {paths.classes.name} is not what a run writes")
    environment = read_json(paths.environment) if paths.environment.exists() else {}
    return FinishedRun(Path(folder), config, summary, _epochs(paths), tuple(map(str, names)), environment)


def find_runs(folders: Iterable[Path]) -> list[FinishedRun]:
    """Every finished run in these folders and below, in order, each once. Unfinished ones are left out, with a warning.

    Raises:
        InputError: a folder that is none, or holds no finished run.
    """
    found: dict[Path, FinishedRun] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; give run folders, or a folder that holds some")
        below = [path for path in _run_folders(folder) if RunFolder(path).summary.exists()]
        if not below:
            raise InputError(f"{folder} holds no finished run (no summary.json in it or below)")
        for path in below:
            key = path.resolve()
            if key not in found:
                found[key] = read_run(path)
    return list(found.values())


def _run_folders(folder: Path) -> Iterable[Path]:
    for place, inner, files in os.walk(folder):
        if RunFolder(Path(place)).config.name in files and RunFolder(Path(place)).metrics.name in files:
            inner.clear()
            if RunFolder(Path(place)).summary.name not in files:
                log.warning("%s is not finished and left out", place)
            yield Path(place)
        inner[:] = sorted(name for name in inner if not name.startswith("."))


def _epochs(paths: RunFolder) -> tuple[Epoch, ...]:
    epochs: list[Epoch] = []
    sums: dict[str, float] = {}
    largest: dict[str, float] = {}
    last_step, counted, seconds = 0, 0, 0.0
    for line in read_records(paths.metrics):
        try:
            if "perf/step_ms" not in line:
                means = {key: value / counted for key, value in sums.items()} if counted else {}
                rest = {key: value for key, value in line.items() if key not in ("step", "epoch")}
                epochs.append(Epoch(int(line["epoch"]), seconds, means | largest | rest))
                sums, largest, counted = {}, {}, 0
                continue
            steps = int(line["step"]) - last_step
            last_step = int(line["step"])
            seconds += steps * float(line["perf/step_ms"]) / 1000
            applied = steps - int(line["train/skipped_steps"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{paths.metrics} is damaged: {type(error).__name__} {error}") from None
        counted += applied
        for key, value in line.items():
            if not key.startswith("train/") or value is None:
                continue
            if key.endswith("_max"):
                largest[key] = max(value, largest.get(key, value))
            else:
                sums[key] = sums.get(key, 0.0) + applied * value
    return tuple(epochs)
