"""Rows of whole runs: one and several at once, the fast recipe at full size, and the loaders."""

import contextlib
import io
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ebomlc_dist.cli import run as ebomlc
from ebomlc_dist.files.journal import read_records
from ebomlc_dist.files.run_folder import RunFolder
from tools.gpu_check.carried import IMAGES, is_carried
from tools.gpu_check.place import NotHeld, Place, Take

ROOT = Path(__file__).parents[2]
PACKED, PACKED_EPOCHS, ALONE_EPOCHS, FULL_EPOCHS = 3, 8, 15, 120
STOPPED = 75


def alone_rows(place: Place) -> dict[str, Take]:
    """One run, long enough to tell its time a step."""
    return {"ebomlc": partial(_alone, epochs=2 if place.rehearsal else ALONE_EPOCHS)}


def packed_rows(place: Place) -> dict[str, Take]:
    """Several such runs in one process."""
    return {f"{PACKED} runs of ebomlc": partial(_packed, epochs=2 if place.rehearsal else PACKED_EPOCHS)}


def accuracy_rows(place: Place) -> dict[str, Take]:
    """The fast recipe from beginning to end."""
    return {"fast recipe, ebomlc": _accuracy}


def loader_rows(place: Place) -> dict[str, Take]:
    """Throughput of the loaders, beside a step."""
    return {"loaders": _loaders}


def _alone(place: Place, epochs: int) -> dict[str, Any]:
    (run,) = _train(
        place, "alone", [_recipe(place, "cifar10-uniform40")], "--method", "ebomlc", "--epochs", str(epochs)
    )
    per_epoch = run["steps"] / run["epochs"]
    # Evaluation and checkpoints are no part of it.
    return run | {"minutes_of_120_epochs": run["last_epoch_ms"] * per_epoch * FULL_EPOCHS / 60_000}


def _packed(place: Place, epochs: int) -> dict[str, Any]:
    seeds = ",".join(map(str, range(PACKED)))
    words = ("--method", "ebomlc", "--epochs", str(epochs), "--packed", "--seed", seeds)
    runs = _train(place, "packed", [_recipe(place, "cifar10-uniform40")], *words)
    if len(runs) != PACKED:
        raise NotHeld(f"{len(runs)} of {PACKED} runs came to an end")
    return {"runs": len(runs), "last_epoch_ms": statistics.fmean(run["last_epoch_ms"] for run in runs), "each": runs}


def _accuracy(place: Place) -> dict[str, Any]:
    (run,) = _train(place, "accuracy", [_recipe(place, "cifar10-fast-uniform40")], "--method", "ebomlc")
    return run | {"images": "as JPEG" if place.data and is_carried(place.data) else "as they are"}


def _recipe(place: Place, name: str) -> str:
    if place.rehearsal:
        return "digits:tiny"
    return "digits" if place.data is None else name


def _train(place: Place, part: str, recipes: Sequence[str], *words: str) -> list[dict[str, Any]]:
    """Runs of ``ebomlc train``, continued where an earlier call was stopped: their summaries, with the median time of
    a step in the last epoch.

    Raises:
        SystemExit: asked to stop; the runs have checkpoints.
    """
    folder = place.folder(part) / "runs"
    data = _data(place)
    graph = [] if place.rehearsal else ["--cuda-graph", "--precision", "bf16"]
    arguments = [*recipes, "-q", "--json", "--device", place.device, *graph, *data, "--resume", "auto"]
    printed = io.StringIO()
    said = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = ebomlc(["train", *arguments, "-o", str(folder), *words])
    if code == STOPPED:
        raise SystemExit(STOPPED)
    if code != 0:
        last = (said.getvalue().strip() or "nothing").splitlines()[-1]
        raise NotHeld(f"exit code {code}: {last}")
    found = json.loads(printed.getvalue())
    runs = found if isinstance(found, list) else [found]
    kept = ("method", "seed", "precision", "num_noisy", "num_clean", "num_test", "epochs", "steps", "accuracy_last")
    return [
        {key: run[key] for key in kept}
        | {"train_seconds": run["train_seconds"], "last_epoch_ms": last_epoch_ms(RunFolder(Path(run["run"])))}
        for run in runs
    ]


def last_epoch_ms(run: RunFolder) -> float:
    """The median over the last epoch's intervals of milliseconds a step.

    Start-up and recording are in the first epoch.
    """
    lines = [line for line in read_records(run.metrics) if "perf/step_ms" in line]
    last = max(line["epoch"] for line in lines)
    return statistics.median(line["perf/step_ms"] for line in lines if line["epoch"] == last)


def _data(place: Place) -> list[str]:
    if place.data is None or place.rehearsal:
        return []
    carried = ["--dataset", IMAGES] if is_carried(place.data) else []
    return ["--data-dir", str(place.data), *carried]


def _loaders(place: Place) -> dict[str, Any]:
    length = ["--rounds", "2", "--steps", "5"] if place.rehearsal else ["--rounds", "3", "--steps", "20"]
    words = [sys.executable, "-m", "benchmarks.loaders", "--json", "--device", place.device, *length]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise NotHeld(f"exit code {ended.returncode}: {(ended.stderr.strip() or 'nothing').splitlines()[-1]}")
    found = json.loads(ended.stdout)
    rates = {name: statistics.median(values) for name, values in found["images_per_second"].items()}
    return {"images_per_second": rates, "step_ms": 1000 * found["step_seconds"]}
