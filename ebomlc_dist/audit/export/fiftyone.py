"""``data/`` with ``labels.json`` (given labels) and ``proposed.json``: FiftyOneImageClassificationDataset, twice.

dataset = fiftyone.Dataset.from_dir(dataset_dir="…/audit/fiftyone", label_field="given",
    dataset_type=fiftyone.types.FiftyOneImageClassificationDataset)
dataset.merge_dir(dataset_dir="…/audit/fiftyone", labels_path="proposed.json", label_field="proposed",
    dataset_type=fiftyone.types.FiftyOneImageClassificationDataset)
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ebomlc_dist.audit.export.folders import fresh_folder, put
from ebomlc_dist.audit.files import text_file
from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.files.durable import make_folder


def write(findings: Findings, dataset: NoisyDataset, images: ImageFiles, folder: Path) -> None:
    """Copy every noisy image, and write its label, confidence, suspicion and rank."""
    table = findings.table
    with fresh_folder(folder) as place:
        make_folder(place / "data")
        for row in dataset.noisy_index.tolist():
            suffix, content = images.content(row)
            put(place / "data" / f"{_name(row)}{suffix}", content)
        rank = [0] * len(table)
        for place_in_order, position in enumerate(findings.order.tolist(), start=1):
            rank[position] = place_in_order
        rows = dataset.noisy_index.tolist()
        for name, labels, sure in (
            ("labels", table.given, table.given_probability),
            ("proposed", findings.proposed, findings.proposed_probability),
        ):
            entries = (
                (
                    _name(row),
                    {
                        "label": int(labels[at]),
                        "confidence": round(float(sure[at]), 6),
                        "attributes": {
                            "suspicion": round(float(findings.suspicion[at]), 6),
                            "rank": rank[at],
                            findings.subject.key: findings.subject.ids[at],
                        },
                    },
                )
                for at, row in enumerate(rows)
            )
            _write_labels(place / f"{name}.json", dataset.class_names, entries)


def _write_labels(path: Path, class_names: list[str], entries: Iterable[tuple[str, dict[str, Any]]]) -> None:
    with text_file(path) as text:
        text.write(f'{{"classes": {json.dumps(class_names)}, "labels": {{')
        for number, (name, entry) in enumerate(entries):
            text.write(f"{',' if number else ''}\n{json.dumps(name)}: {json.dumps(entry)}")
        text.write("\n}}\n")


def _name(row: int) -> str:
    return f"{row:07d}"
