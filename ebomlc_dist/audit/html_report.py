"""``audit/report.html``: one self-contained page a person opens, without a network and without trusting any name in it.

Class names, paths and pixels are a stranger's. Text goes through jinja2's autoescape or, by the page's own script,
through ``textContent``; data lie in a JSON block whose ``<``, ``>`` and ``&`` are escaped; the content security policy
allows this one script and this one style by their hashes, images as ``data:`` URLs, and no connection at all.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.audit.summary import given_to_corrected
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.files.durable import write_bytes
from ebomlc_dist.monitoring.purity import purity_text
from ebomlc_dist.pages.templating import source_hash, source_of, templates_of, visible

HEAT_CLASSES = 20
_SHADES = 9


def write_page(
    findings: Findings, summary: dict[str, Any], dataset: NoisyDataset, images: ImageFiles, gallery: int, path: Path
) -> None:
    """Write the page with the ``gallery`` most suspicious images; its size does not depend on the number of images."""
    cards = _cards(findings, dataset, images, gallery)
    data = {
        "key": findings.subject.key,
        "classes": findings.subject.class_names,
        "cards": cards,
        "trusted": _trusted(dataset),
        "store": hashlib.sha256(json.dumps([summary, [card["id"] for card in cards]]).encode()).hexdigest()[:16],
    }
    write_bytes(path, render(findings, summary, data).encode())


def _trusted(dataset: NoisyDataset) -> list[tuple[str, int, int]]:
    """Id, label and old noisy label (−1 where unknown) of the trusted images; nothing of those nobody has checked."""
    if dataset.from_noisy:
        return []
    old: dict[int, int] = {}
    if dataset.clean_old_labels is not None:
        old = dict(zip(dataset.clean_index.tolist(), dataset.clean_old_labels.tolist(), strict=True))
    return [(dataset.ids[row], label, old.get(row, -1)) for row, label in dataset.trusted_labels().items()]


def render(findings: Findings, summary: dict[str, Any], data: dict[str, Any], *, escape: bool = True) -> str:
    """Return the page as text. ``escape`` False is for a test's negative control: it lets every name be markup."""
    environment = templates_of("ebomlc_dist.audit", autoescape=escape)
    environment.filters |= {
        "shown": visible,
        "per_cent": _per_cent,
        "interval": _interval,
        "count": _count,
        "purity": purity_text,
    }
    script, style = (source_of(environment, name) for name in ("report.js", "report.css"))
    policy = (
        f"default-src 'none'; img-src data:; script-src '{source_hash(script)}'; style-src '{source_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    text = json.dumps(data, allow_nan=False)
    return environment.get_template("report.html").render(
        summary=summary,
        heat=_heat(findings),
        policy=policy if escape else "",
        script=script,
        style=style,
        data=Markup(_inert(text) if escape else text),
    )


def _inert(text: str) -> str:
    """JSON in which nothing can end or begin an element; all beyond ASCII is escaped by `json` already."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _cards(findings: Findings, dataset: NoisyDataset, images: ImageFiles, number: int) -> list[dict[str, Any]]:
    table = findings.table
    cards = []
    for rank, position in enumerate(findings.order[:number].tolist(), start=1):
        given, probabilities = int(table.given[position]), table.probabilities[position]
        others = probabilities.copy()
        others[given] = -1
        proposed = int(findings.proposed[position])
        if proposed == given:
            # Suspicious all the same: the best of the other classes.
            proposed = int(others.argmax())
        cards.append(
            {
                "id": findings.subject.ids[position],
                "rank": rank,
                "given": given,
                "proposed": proposed,
                "suspicion": round(float(findings.suspicion[position]), 4),
                "given_probability": round(float(probabilities[given]), 4),
                "proposed_probability": round(float(probabilities[proposed]), 4),
                "image": images.thumbnail(int(dataset.noisy_index[position])),
            }
        )
    return cards


def _heat(findings: Findings) -> dict[str, Any]:
    """Two small matrices as rows of (text, shade): estimated [true, given] and counted [given, corrected], for the
    classes with the most estimated errors where there are too many to be seen."""
    names, joint = findings.subject.class_names, findings.noise.joint
    errors = joint.sum(axis=0) + joint.sum(axis=1) - 2 * np.diag(joint)
    shown = np.sort(np.argsort(-errors, kind="stable")[:HEAT_CLASSES])
    matrices = {
        "transition": findings.noise.transition,
        "corrected": _rows_as_shares(given_to_corrected(findings)),
    }
    return {
        "names": [names[k] for k in shown],
        "all": len(names) <= HEAT_CLASSES,
        "num_classes": len(names),
        **{
            name: [[(f"{100 * value:.0f}", round(float(value) ** 0.5 * _SHADES)) for value in row] for row in part]
            for name, part in ((name, matrix[np.ix_(shown, shown)]) for name, matrix in matrices.items())
        },
    }


def _rows_as_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %"


def _interval(estimate: dict[str, float] | None) -> str:
    return "–" if estimate is None else f"{estimate['low']:.1f} – {estimate['high']:.1f} %"


def _count(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")
