"""The runs of one setting as a Markdown table: ``python -m benchmarks.table benchmarks/methods/digits [STORE …]``.

Each file of the folder is one run's ``summary.json``, named ``METHOD-seedN.json``; more runs are more files. From the
stores come the finished cells of the same recipe, named as `benchmarks.corrector` names variants, where the folder has
no run of that name and seed.
"""

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.corrector import variant_of

COLUMNS = (
    ("last", "accuracy_last"),
    ("mean of last 10", "accuracy_last10_mean"),
    ("at best validation", "accuracy_at_best_validation"),
    ("best", "accuracy_best"),
    ("wrong corrected", "wrong_labels_corrected"),
    ("right kept", "right_labels_kept"),
    ("wrong corrected by prediction", "prediction_wrong_labels_corrected"),
    ("train s", "train_seconds"),
)


def main(folder: Path, *stores: Path) -> None:
    """Rows by descending accuracy of the last epoch."""
    runs = runs_of(folder, *stores)
    print("| method | seeds | " + " | ".join(heading for heading, _ in COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name, summaries in sorted(runs.items(), key=lambda item: -_mean(item[1], "accuracy_last")):
        seeds = ", ".join(str(summary["seed"]) for summary in summaries)
        print(f"| `{name}` | {seeds} | " + " | ".join(_cell(summaries, key) for _, key in COLUMNS) + " |")


def runs_of(folder: Path, *stores: Path) -> dict[str, list[dict[str, Any]]]:
    """Name of a row → the summaries of its runs, by seed."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for path in folder.glob("*.json"):
        summary = json.loads(path.read_text())
        found[path.stem.rpartition("-seed")[0], summary["seed"]] = summary
    recipes = {summary["recipe"] for summary in found.values()}
    for store in stores:
        for path in (store / "cells").glob("*.json"):
            cell = json.loads(path.read_text())
            # An imported one is a file of the folder.
            if cell["config"]["recipe"] in recipes and "imported" not in cell["environment"]:
                found.setdefault((variant_of(cell["config"]), cell["summary"]["seed"]), cell["summary"])
    runs: dict[str, list[dict[str, Any]]] = {}
    for (name, _), summary in sorted(found.items(), key=lambda item: item[0]):
        runs.setdefault(name, []).append(summary)
    return runs


def _mean(summaries: Iterable[dict[str, Any]], key: str) -> float:
    return statistics.fmean(summary[key] for summary in summaries)


def _cell(summaries: list[dict[str, Any]], key: str) -> str:
    values = [summary[key] for summary in summaries if summary.get(key) is not None]
    if not values:
        return "–"
    if key == "train_seconds":
        return f"{statistics.fmean(values):.0f}"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
