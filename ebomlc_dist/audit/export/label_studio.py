"""``tasks.json`` and ``labeling.xml`` for Label Studio: every noisy image with the proposed label as a prediction.

Label Studio serves a local file to those who may see a project with a local storage whose folder holds it. The storage
must lie below the document root, so that is the folder of the audit, and addresses begin with the export's own folder:
start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=…/audit, and add …/audit/label-studio/images as a source storage of local files.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from ebomlc_dist.audit.export.folders import fresh_folder, put
from ebomlc_dist.audit.files import text_file
from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.files.durable import make_folder

_FILES = "/data/local-files/?d="


def write(findings: Findings, dataset: NoisyDataset, images: ImageFiles, folder: Path) -> None:
    """Write one task an image, the most suspicious first."""
    with fresh_folder(folder) as place:
        make_folder(place / "images")
        names: dict[int, str] = {}
        for position, row in enumerate(dataset.noisy_index.tolist()):
            suffix, content = images.content(row)
            names[position] = f"images/{row:07d}{suffix}"
            put(place / names[position], content)
        with text_file(place / "tasks.json") as text:
            addresses = {position: _FILES + quote(f"{folder.name}/{name}") for position, name in names.items()}
            for number, task in enumerate(_tasks(findings, addresses)):
                text.write(f"{',' if number else '['}\n{json.dumps(task)}")
            text.write("\n]\n")
        put(place / "labeling.xml", _labeling(dataset.class_names).encode())


def _tasks(findings: Findings, addresses: dict[int, str]) -> Iterator[dict[str, Any]]:
    subject, table = findings.subject, findings.table
    for rank, position in enumerate(findings.order.tolist(), start=1):
        sure = round(float(findings.proposed_probability[position]), 6)
        choice = {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [subject.class_names[findings.proposed[position]]]},
        }
        yield {
            "data": {
                "image": addresses[position],
                subject.key: subject.ids[position],
                "given_label": subject.class_names[table.given[position]],
                "suspicion": round(float(findings.suspicion[position]), 6),
                "rank": rank,
            },
            "predictions": [{"model_version": subject.title, "score": sure, "result": [choice]}],
        }


def _labeling(class_names: list[str]) -> str:
    # Characters that XML has no way to write stay away; Label Studio could not show them either.
    choices = "".join(f"    <Choice value={quoteattr(_allowed(name))}/>\n" for name in class_names)
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        '  <Header value="given: $given_label, suspicion $suspicion"/>\n'
        f'  <Choices name="label" toName="image" choice="single">\n{choices}  </Choices>\n</View>\n'
    )


def _allowed(text: str) -> str:
    return "".join(c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in text)
