"""The stored summaries of one setting as a Markdown table: ``python benchmarks/table.py benchmarks/methods/digits``.

Each file is one run's ``summary.json``, named ``METHOD-seedN.json``; more runs are more files.
"""

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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


def main(folder: Path) -> None:
    """Rows by descending accuracy of the last epoch."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        runs.setdefault(path.stem.rpartition("-seed")[0], []).append(json.loads(path.read_text()))
    print("| method | seeds | " + " | ".join(heading for heading, _ in COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name, summaries in sorted(runs.items(), key=lambda item: -_mean(item[1], "accuracy_last")):
        seeds = ", ".join(str(summary["seed"]) for summary in summaries)
        print(f"| `{name}` | {seeds} | " + " | ".join(_cell(summaries, key) for _, key in COLUMNS) + " |")


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
    main(Path(sys.argv[1]))
