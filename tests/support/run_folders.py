"""Run folders with figures that a test chose, in the form that a real run leaves."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ebomlc_dist.config import RunConfig
from ebomlc_dist.keys import nest, plain
from tests.support.runs import tiny_config

STEP = {
    "upper_main_norm": 2.0,
    "upper_meta_norm": 1.0,
    "upper_gap_main": -3.0,
    "alignment": 0.5,
    "gap_main_norm": 3.0,
    "gap_meta_norm": 1.0,
    "barrier_coefficient": 0.25 + 3.0 / 10.0,
}
"""One step's inner products that fit together: β = δ − ⟨∇_wF, ∇_wQ⟩/‖∇Q‖² with δ = 0.25."""
MATRIX = [[9 if row == column else 1 for column in range(10)] for row in range(10)]


def make_config(method: str, recipe: str = "digits", **settings: Any) -> RunConfig:
    """A digits configuration of 3 epochs; ``settings``: dotted keys with ``__`` for the dot."""
    base = tiny_config(method).model_copy(update={"recipe": recipe})
    known = plain(base) | {"train.epochs": 3, "model.name": "digits-cnn"}
    return RunConfig.model_validate(nest(known | {key.replace("__", "."): value for key, value in settings.items()}))


def make_run(
    folder: Path,
    method: str,
    accuracies: Sequence[float] = (50.0, 60.0, 70.0),
    *,
    recipe: str = "digits",
    drop: Sequence[str] = (),
    summary: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """A finished run: two metric lines of 10 and 4 steps an epoch, and one of its end. ``drop``: metrics it lacks."""
    config = make_config(method, recipe, **settings)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.model_dump_json())
    (folder / "classes.json").write_text(json.dumps([str(digit) for digit in range(10)]))
    lines: list[dict[str, Any]] = []
    for epoch, accuracy in enumerate(accuracies, start=1):
        begin = 14 * (epoch - 1)
        for steps, done in ((10, 10), (4, 14)):
            value = 1.0 / epoch + (0.7 if steps == 4 else 0.0)
            train = {f"train/{name}": value for name in ("upper", "lower", "upper_main_norm", "gap_main_norm")}
            lines.append(
                {"step": begin + done, "epoch": epoch, **train, "train/barrier_coefficient": value}
                | {"train/barrier_coefficient_max": value, "train/skipped_steps": 0, "perf/step_ms": 100.0 * epoch}
            )
        evaluation = {"eval/accuracy": accuracy, "eval/clean_loss": 2.0 / epoch, "eval/clean_accuracy": accuracy}
        step = {f"step/{name}": value for name, value in STEP.items()}
        lines.append({"step": begin + 14, "epoch": epoch, **evaluation, **step})
    kept = [{key: value for key, value in line.items() if key not in drop} for line in lines]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    figures = {
        "run": str(folder),
        "method": method,
        "accuracy_last": accuracies[-1],
        "accuracy_best": max(accuracies),
        "accuracy_last10_mean": sum(accuracies) / len(accuracies),
        "wrong_labels_corrected": 40.0,
        "right_labels_kept": 90.0,
        "correction_matrix": MATRIX,
        "given_correction_matrix": [row[::-1] for row in MATRIX],
        "noise_rate_realised": 40.5,
        "num_noisy": 1342,
        "num_clean": 100,
        "num_test": 355,
        "steps": 14 * len(accuracies),
        "train_seconds": 8.4,
        "images_per_second": 1000.0,
        "world_size": 1,
        "finished": True,
    }
    (folder / "summary.json").write_text(json.dumps(figures | (summary or {})))
    return folder
