"""The figures of an audit as plain values: ``audit/summary.json``. Rates are in per cent, as in a run's own summary."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.audit.conclusion import conclusion, relabelling
from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.noise.precision import precision_interval
from ebomlc_dist.noise.rates import Estimate, confusion


def summarise(findings: Findings, run: Path) -> dict[str, Any]:
    """Return the summary. Intervals are 95 %; unknown figures are None."""
    subject, table, noise = findings.subject, findings.table, findings.noise
    names = subject.class_names
    given = np.bincount(table.given, minlength=len(names))
    errors = noise.joint.copy()
    np.fill_diagonal(errors, 0)
    by_class = [
        {
            "class": name,
            "num_images": int(given[k]),
            "noise_rate": _per_cent(noise.by_class, k),
            "most_often_instead": names[int(errors[k].argmax())] if errors[k].max() > 0.5 else None,
        }
        for k, name in enumerate(names)
    ]
    summary: dict[str, Any] = {
        "run": str(run),
        "title": subject.title,
        "conclusion": conclusion(findings),
        "relabelling": relabelling(findings),
        "scores": findings.kind,
        "cross_fit": subject.folds,
        "in_sample": subject.in_sample,
        "num_images": len(table),
        "trusted_purity": subject.purity,
        "num_trusted": len(np.unique(findings.cases.image)),
        "noise_rate": _per_cent(noise.rate),
        "noise_rate_is_told": noise.is_told,
        "noise_rate_uses_trusted": noise.uses_trusted,
        "num_flagged": findings.num_flagged,
        "estimated_precision_of_flagged": _precision_of_flagged(findings),
        "relabelled_by": findings.relabel,
        "confidence": findings.confidence,
        "expected_precision_of_relabelled": _vouched_precision(findings),
        "num_relabelled": int((findings.final_labels() != table.given).sum()),
        "by_class": by_class,
        "truth": None if subject.true is None else _truth(findings, subject.true),
    }
    return summary


def given_to_corrected(findings: Findings) -> NDArray[np.int64]:
    """Return the counts (K, K) [given, corrected] of all corrected labels, whatever their confidence."""
    return confusion(findings.table.given, findings.table.corrected, len(findings.subject.class_names))


def _truth(findings: Findings, true: NDArray[np.int64]) -> dict[str, Any]:
    wrong = findings.table.given != true
    figures: dict[str, Any] = {
        "noise_rate": 100.0 * float(wrong.mean()),
        **ranking_figures(findings.suspicion, wrong, findings.num_flagged),
        **correction_figures(findings, true),
    }
    return figures


def _precision_of_flagged(findings: Findings) -> dict[str, float] | None:
    if not findings.num_flagged:
        return None
    threshold = findings.suspicion[findings.order[findings.num_flagged - 1]]
    flagged = float((findings.suspicion >= threshold).mean())
    found = precision_interval(float(threshold), flagged, findings.cases, findings.noise)
    return None if found is None else _per_cent(found)


def _vouched_precision(findings: Findings) -> dict[str, float] | None:
    """Return how many of the labels in corrected.csv that were changed are right, where trusted images vouch for it."""
    vouched = findings.vouched
    return _per_cent(vouched.precision) if vouched is not None and findings.confidence == vouched.confidence else None


def _per_cent(estimate: Estimate, at: Any = ()) -> dict[str, float] | None:
    values = {name: 100.0 * float(getattr(estimate, name)[at]) for name in ("value", "low", "high")}
    return values if all(map(np.isfinite, values.values())) else None


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
