"""Our audit beside cleanlab's on the same probabilities, where the true labels are known.

    python -m tools.against_cleanlab RUN…

Reads ``audit/`` of runs that were audited: the main model's probabilities and given labels as cleanlab takes them, our
suspicion, and the true labels. Prints a Markdown table: AUROC and average precision of each score, precision and recall
at each side's own estimate of the number of wrong labels. Needs cleanlab, a development dependency.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ebomlc_dist.audit.summary import ranking_figures
from ebomlc_dist.errors import InputError

COLUMNS = ("auroc", "average_precision", "num_flagged", "precision", "recall")


def compare(run: Path) -> dict[str, dict[str, Any]]:
    """Name of a score → figures of `ranking_figures`.

    Raises:
        InputError: no audit there, or the truth is unknown.
    """
    from cleanlab.count import num_label_issues
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    folder = run / "audit"
    if not (folder / "summary.json").exists():
        raise InputError(f"{run} has no audit; run `ebomlc audit {run}` first")
    summary = json.loads((folder / "summary.json").read_text())
    if summary["truth"] is None:
        raise InputError(f"the true labels of {run} are unknown")
    with np.load(folder / "pred_probs.npz", allow_pickle=False) as stored:
        labels, probabilities = stored["labels"], stored["pred_probs"]
    wrong, suspicion = _ours(folder / "labels.csv", len(labels))
    found = {f"ours: {summary['scores']}": ranking_figures(suspicion, wrong, summary["num_flagged"])}
    estimated = num_label_issues(labels, probabilities)
    for method in ("self_confidence", "normalized_margin"):
        doubt = 1 - get_label_quality_scores(labels, probabilities, method=method)
        found[f"cleanlab: {method}"] = ranking_figures(doubt, wrong, estimated)
    issues = find_label_issues(labels, probabilities, n_jobs=1)
    hit = int(wrong[issues].sum())
    found["cleanlab: find_label_issues"] = dict.fromkeys(COLUMNS) | {
        "num_flagged": int(issues.sum()),
        "precision": hit / max(int(issues.sum()), 1),
        "recall": hit / max(int(wrong.sum()), 1),
    }
    return found


def _ours(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which labels are wrong, and our suspicion, in the order of the arrays."""
    wrong, suspicion = np.zeros(size, dtype=bool), np.zeros(size)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at = int(row["row"])
            wrong[at] = row["given_label"] != row["true_label"]
            suspicion[at] = float(row["suspicion"])
    return wrong, suspicion


def main(arguments: list[str]) -> int:
    """Print the table for these run folders."""
    print(f"| run | score | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 2)}")
    for name in arguments:
        try:
            for score, figures in compare(Path(name)).items():
                print(f"| {Path(name).name} | {score} | {' | '.join(_cell(figures[column]) for column in COLUMNS)} |")
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


def _cell(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
