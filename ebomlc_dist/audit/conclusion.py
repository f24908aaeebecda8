"""What an audit found, in one sentence each: how many labels are wrong, and what became of the proposals."""

import numpy as np

from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.pages.templating import visible

_NAMED = 2


def conclusion(findings: Findings) -> str:
    """Return how many labels look wrong, and how sure that is."""
    noise, total = findings.noise, len(findings.table)
    value, low, high = (float(end) for end in (noise.rate.value, noise.rate.low, noise.rate.high))
    if not np.isfinite(value):
        return (
            f"How many of the {total:,} labels are wrong cannot be told: on the trusted images the model is hardly "
            "better than chance."
        )
    if not noise.uses_trusted:
        return f"At most {_count(high, total)} of {total:,} labels are wrong. Trusted images would tell more."
    if not noise.is_told:
        least = f"At least {_count(low, total)} and at" if low > 0 else "At"
        return (
            f"{least} most {_count(high, total)} of {total:,} labels are wrong: {_trusted(findings)} cannot tell more."
        )
    return (
        f"About {_count(value, total)} of {total:,} labels look wrong ({_count(low, total)} to {_count(high, total)}). "
        "Start with the first ones of the list."
    )


def relabelling(findings: Findings) -> str:
    """Return what became of the proposed labels, and what would help where none is taken."""
    changed = int((findings.final_labels() != findings.table.given).sum())
    asked, vouched = findings.subject.confidence, findings.vouched
    if asked is not None:
        return f"{changed:,} labels are replaced in corrected.csv, at a probability of {asked:g} or more, as asked."
    if vouched is not None:
        low, value, high = (100 * float(getattr(vouched.precision, end)) for end in ("low", "value", "high"))
        return (
            f"{changed:,} labels are replaced in corrected.csv, at a probability of {vouched.confidence:g} or more. "
            f"By the trusted images {value:.0f} % of them are right afterwards ({low:.0f} to {high:.0f} %)."
        )
    if not len(findings.cases):
        return "No label is replaced: no trusted image vouches for a proposal. Check some by hand, and trust them."
    if findings.by_heart:
        return (
            "No label is replaced: the model was trained on the trusted images, which therefore cannot vouch for it. "
            "Audit with --cross-fit 5, or train ebomlc-s with --audit, which holds some out."
        )
    return (
        "No label is replaced: the trusted images do not vouch that enough proposals are right. "
        f"A stronger model helps, and more trusted images{_of_classes(findings)}."
    )


def _count(share: float, total: int) -> str:
    return f"{round(share * total):,}"


def _trusted(findings: Findings) -> str:
    number = len(np.unique(findings.cases.image))
    return f"{number:,} trusted image{'s' * (number != 1)}"


def _of_classes(findings: Findings) -> str:
    """`` of A and B first``: the classes of which least is known."""
    by_class = findings.noise.by_class
    width = np.nan_to_num(by_class.high - by_class.low)
    if not width.any():
        return ""
    first = np.argsort(-width, kind="stable")[:_NAMED]
    return f", of {' and '.join(visible(findings.subject.class_names[k]) for k in first)} first"
