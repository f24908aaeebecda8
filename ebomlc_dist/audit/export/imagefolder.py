"""``train/<class>/`` and ``clean/<class>/`` with the labels for a next round, as torchvision's ImageFolder reads them.

``ebomlc train folder --data-dir …/audit/imagefolder`` does so too. Images in files are copied as they are; others
become PNG files, and with them the test images come along as ``test/<class>/``.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from ebomlc_dist.audit.export.folders import fresh_folder, put
from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.audit.images import ImageFiles, png
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.datasets.folder import CLASSES_FILE
from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import make_folder

_NAME_BYTES = 255


def check(class_names: Sequence[str]) -> None:
    """Raise `InputError` for class names that cannot be folders."""
    bad = [
        shown(name)
        for name in class_names
        if not name or name.startswith(".") or "/" in name or "\0" in name or len(name.encode()) > _NAME_BYTES
    ]
    if bad:
        raise InputError(
            f"--export imagefolder: classes become folders, and these names cannot be one: {listed(bad, 20)}"
        )


def write(findings: Findings, dataset: NoisyDataset, images: ImageFiles, folder: Path) -> None:
    """Write every training image under its label, named by its row.

    A part or a class without images has no folder: torchvision refuses empty ones.
    """
    names = dataset.class_names
    parts = {
        "train": zip(dataset.noisy_index.tolist(), findings.final_labels().tolist(), strict=True),
        "clean": dataset.trusted_labels().items(),
    }
    with fresh_folder(folder) as place:
        # A class that has trusted images alone is read all the same.
        lines = "".join(f"{name}\n" for name in names)
        put(place / CLASSES_FILE, lines.encode("utf-8", "surrogateescape"))
        for part, pairs in parts.items():
            for row, label in pairs:
                suffix, content = images.content(row)
                make_folder(place / part / names[label])
                put(place / part / names[label] / f"{row:07d}{suffix}", content)
        if images.root is None and len(dataset.test_labels):
            for row, label in enumerate(dataset.test_labels.tolist()):
                make_folder(place / "test" / names[label])
                put(place / "test" / names[label] / f"{row:07d}.png", png(dataset.test_images[torch.tensor([row])][0]))
