"""Files for other tools. A tool is one module with ``check`` and ``write``, and one row here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ebomlc_dist.audit.export import cleanlab, fiftyone, imagefolder, label_studio
from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.errors import InputError, nearest


@dataclass(frozen=True)
class Export:
    """One tool.

    Attributes:
        write: writes its files into a folder that does not exist yet.
        check: raises `InputError` for class names that its files cannot hold.
    """

    write: Callable[[Findings, NoisyDataset, ImageFiles, Path], None]
    check: Callable[[Sequence[str]], None] = lambda names: None


EXPORTS = {
    "imagefolder": Export(imagefolder.write, imagefolder.check),
    "label-studio": Export(label_studio.write),
    "fiftyone": Export(fiftyone.write),
    "cleanlab": Export(cleanlab.write),
}


def check_export(name: str, class_names: Sequence[str] = ()) -> None:
    """Raise `InputError` for an unknown tool, or class names that its files cannot hold."""
    if name not in EXPORTS:
        raise InputError(f"unknown export '{name}'{nearest(name, list(EXPORTS))}; known: {', '.join(EXPORTS)}")
    EXPORTS[name].check(class_names)
