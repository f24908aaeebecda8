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
        pictures: whether its files hold the images.
    """

    write: Callable[[Findings, NoisyDataset, ImageFiles, Path], None]
    check: Callable[[Sequence[str]], None] = lambda names: None
    pictures: bool = True


EXPORTS = {
    "imagefolder": Export(imagefolder.write, imagefolder.check),
    "label-studio": Export(label_studio.write),
    "fiftyone": Export(fiftyone.write),
    "cleanlab": Export(cleanlab.write, pictures=False),
}


def check_export(name: str, class_names: Sequence[str] = (), *, features: bool = False) -> None:
    """Raise `InputError` for an unknown tool, class names that its files cannot hold, or images that are none."""
    if name not in EXPORTS:
        raise InputError(f"unknown export '{name}'{nearest(name, list(EXPORTS))}; known: {', '.join(EXPORTS)}")
    if features and EXPORTS[name].pictures:
        able = ", ".join(other for other, export in EXPORTS.items() if not export.pictures)
        raise InputError(f"--export {name} hands images on, and these data are features; take {able}")
    EXPORTS[name].check(class_names)
