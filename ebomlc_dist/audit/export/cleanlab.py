"""``labels.npy``, ``pred_probs.npy`` and ``label_issues.csv`` as cleanlab's functions take and give them."""

from pathlib import Path

import numpy as np

from ebomlc_dist.audit.export.folders import fresh_folder
from ebomlc_dist.audit.files import headed, write_array, write_csv
from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.files.stream import stream_file


def write(findings: Findings, dataset: NoisyDataset, images: ImageFiles, folder: Path) -> None:
    """``find_label_issues(labels, pred_probs)`` takes the arrays; the table has the columns of ``get_label_issues``, in
    the order of the arrays, with our scores and the image of each row."""
    table, names = findings.table, dataset.class_names
    flagged = np.zeros(len(table), dtype=bool)
    flagged[findings.order[: findings.num_flagged]] = True
    score = np.round(1 - findings.suspicion.astype(np.float64), 6)
    columns = (flagged, score, table.given, table.predicted)
    with fresh_folder(folder) as place:
        for name, array in (("labels", table.given.astype(np.int64)), ("pred_probs", table.probabilities)):
            with stream_file(place / f"{name}.npy") as file:
                write_array(file, array)
        header = ["is_label_issue", "label_score", "given_label", "predicted_label", findings.subject.key]
        rows = zip(*(column.tolist() for column in columns), findings.subject.ids, strict=True)
        write_csv(place / "label_issues.csv", headed(header, rows))
        write_csv(place / "classes.csv", enumerate(names))
