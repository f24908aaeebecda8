"""How good an audit is, where the true labels are known: figures that need them and nothing else does."""

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.audit.findings import Findings

Figures = dict[str, float | int | None]


def ranking_figures(suspicion: NDArray[np.floating], wrong: NDArray[np.bool_], num_flagged: int) -> Figures:
    """Return how well a score (n,) finds wrong labels (n,): AUROC, average precision, and its top ``num_flagged``.

    Precision and recall are None where nothing is flagged or nothing is wrong, AUROC and average precision where only
    right or only wrong labels are there.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    num_wrong = int(wrong.sum())
    both = 0 < num_wrong < len(wrong)
    found = int(wrong[np.argsort(-suspicion, kind="stable")[:num_flagged]].sum())
    return {
        "auroc": float(roc_auc_score(wrong, suspicion)) if both else None,
        "average_precision": float(average_precision_score(wrong, suspicion)) if both else None,
        "num_flagged": num_flagged,
        "precision": found / num_flagged if num_flagged else None,
        "recall": found / num_wrong if num_wrong else None,
    }


def correction_figures(findings: Findings, true: NDArray[np.int64]) -> dict[str, Figures]:
    """Share of wrong labels corrected and of right labels kept: by the corrector, by the main model's predictions, by
    all proposed labels, and by the labels for a next round, which are the confident ones of these."""
    table = findings.table
    chosen = {
        "corrector": table.corrected,
        "prediction": table.predicted,
        "proposed": findings.proposed,
        "next_round": findings.final_labels(),
    }
    wrong = table.given != true
    return {
        name: {
            "wrong_labels_corrected": _share(labels == true, wrong),
            "right_labels_kept": _share(labels == true, ~wrong),
        }
        for name, labels in chosen.items()
    }


def _share(hit: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(hit[among].mean()) if among.any() else None
