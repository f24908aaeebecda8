"""The user's own images: ``DIR/{train,clean,test}/<class>/*``, or CSV files ``path,label`` in the place of each part.

The labels of ``train`` are the noisy ones, those of ``clean`` and ``test`` are trusted. The classes, and their order,
are the sorted folders of ``train`` (torchvision's order), or else those that ``noisy_csv`` and the trusted part use. An
image that is in both the noisy and the trusted part, by whatever name, is taken as trusted, with its trusted label; one
that is also in the test part is refused, as it would flatter the result. The label that a trusted image had before it
was checked is that of the noisy part, where it is there too, or stands in a column ``noisy_label`` of ``clean_csv``.

A class may have trusted images alone, such as one whose noisy labels were all corrected. Its folder in ``clean`` is no
slip of the pen where ``classes.txt`` beside the parts names it, one class a line.
"""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import Source
from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.inputs.class_names import Classes, classes_of, composed, merged
from ebomlc_dist.data.inputs.csv_table import MAX_BYTES, Table
from ebomlc_dist.data.inputs.grey_levels import FULL, Levels
from ebomlc_dist.data.inputs.image_side import chosen_side
from ebomlc_dist.data.inputs.label_check import check_labels
from ebomlc_dist.data.inputs.label_files import read_table
from ebomlc_dist.data.inputs.lazy import ImageFiles, file_digest, keeps_own_size, open_images
from ebomlc_dist.data.inputs.listing import Listing, list_csv, list_tree
from ebomlc_dist.data.inputs.read import Probe, common_size, decode_images, probe_images
from ebomlc_dist.data.inputs.same_picture import Parts, settle
from ebomlc_dist.data.inputs.tree import is_folder, is_folder_or_absent, subfolders, subfolders_if_readable
from ebomlc_dist.data.loaders.auto_select import held_in_memory
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.reading import read_bytes

CLASSES_FILE = "classes.txt"

_OTHER_NAMES = {
    "train": ("training",),
    "clean": ("trusted", "verified", "gold"),
    "test": ("testing", "val", "valid", "validation", "dev", "eval", "evaluation", "holdout"),
}
"""What people call the parts, in small letters."""
_FLAG = {"train": "--noisy-csv", "clean": "--trusted", "test": "--test-csv"}
log = logging.getLogger(__name__)


def load(config: DataConfig, progress: Progress | None = None, model: str | None = None) -> Source:
    """Read the folder ``config.data_dir``. Raises `InputError` for anything that is missing or does not fit.

    ``model``: the main model's name, which ``image_size`` ``auto`` follows.
    """
    root = config.data_dir.resolve()
    if not is_folder(root):
        raise InputError(f"{config.data_dir} is not a folder; give the folder of your images with --data-dir")
    files = {"train": config.noisy_csv, "clean": config.clean_csv, "test": config.test_csv}
    tables = {part: read_table(path) for part, path in files.items() if path is not None}
    folders = _folders(root, tables)
    _tell_other_names(root, tables)
    classes = _classes(root, tables, folders)
    skip = config.skip_unreadable
    noisy, clean, test = (_part(root, name, tables, folders, classes, skip) for name in ("train", "clean", "test"))
    counts = np.bincount(noisy.labels + clean.labels, minlength=len(classes.names)).tolist()
    remarks = check_labels(classes.names, counts, noisy.origin)
    parts = Parts(noisy, clean, test, {})
    parts, probe = settle(root, parts, probe_images(root, parts.names, max_pixels=config.max_pixels))
    return replace(read_parts(parts, probe, classes.names, config, progress, model), remarks=tuple(remarks))


def read_parts(
    parts: Parts,
    probe: Probe,
    class_names: list[str],
    config: DataConfig,
    progress: Progress | None,
    model: str | None = None,
) -> Source:
    """Read the listed images, all parts in one size and one number of channels. A part may be empty.

    They are decoded here where memory is to hold them, else when they are asked for.

    Returns:
        A `Source` whose first images are the noisy part and the next ones the trusted part. Its ids are the paths.
    """
    noisy, clean = parts.noisy, parts.clean
    names, labels = parts.names, np.array(parts.labels, dtype=np.int64)
    num_listed = len(noisy.names) + len(clean.names)
    config = config.model_copy(update={"image_size": chosen_side(config, probe, num_listed, model)})
    levels = probe.levels(num_listed)
    images, readable = _images(probe, config, levels, progress)
    part_of = np.repeat(np.arange(3), [len(part.names) for part in (noisy, clean, parts.test)])[readable]
    num_train, num_noisy = int((part_of < 2).sum()), int((part_of == 0).sum())
    kept = torch.from_numpy(labels[readable])
    rows = np.flatnonzero(readable)
    own_size = keeps_own_size(images)
    geometry = f"{tuple(images.shape[2:])}" + (f" cut out of at most {config.max_side}" if own_size else "")
    # Nothing is said of the usual levels, so that fingerprints of sets without others stay as they are.
    geometry += "" if levels == FULL else f" of values {levels.low}…{levels.top}"
    return Source(
        images=_part_of(images, 0, num_train),
        labels=kept[:num_train],
        ids=[_printable(name) for name, read in zip(names, readable, strict=True) if read][:num_train],
        test_images=_part_of(images, num_train, len(images)),
        test_labels=kept[num_train:],
        class_names=[_printable(name) for name in class_names],
        trusted=None if not clean.names else torch.arange(num_noisy, num_train),
        trusted_old_labels=_old_labels(clean, readable[len(noisy.names) : len(noisy.names) + len(clean.names)]),
        labels_are_true=False,
        image_digests=(
            file_digest(probe, rows[:num_train], geometry),
            file_digest(probe, rows[num_train:], geometry),
        ),
        aliases={_printable(name): _printable(listed) for name, listed in parts.aliases.items()},
        levels=levels,
    )


def _images(
    probe: Probe, config: DataConfig, levels: Levels, progress: Progress | None
) -> tuple[Tensor | ImageFiles, NDArray[np.bool_]]:
    """Return the probed images, and which they are."""
    own_size = config.augment == "resized-crop-flip"
    if own_size and config.image_size is None:
        raise InputError("data.augment=resized-crop-flip needs --image-size, the side that parts of images are cut to")
    if own_size and config.loader == "resident":
        raise InputError(
            "--loader resident holds images of one size and data.augment=resized-crop-flip keeps their own; choose "
            "--loader dataloader or ffcv, or another augmentation"
        )
    side = config.given_side
    height, width = common_size(probe, side)
    if own_size or not held_in_memory(config, len(probe.headers) * probe.channels * height * width):
        return open_images(
            probe,
            image_size=side,
            max_side=config.max_side if own_size else None,
            max_pixels=config.max_pixels,
            skip_unreadable=config.skip_unreadable,
            levels=levels,
            progress=progress,
        )
    return decode_images(
        probe,
        image_size=side,
        max_pixels=config.max_pixels,
        skip_unreadable=config.skip_unreadable,
        levels=levels,
        progress=progress,
    )


def _old_labels(clean: Listing, readable: NDArray[np.bool_]) -> Tensor | None:
    """Return the noisy labels that trusted images had, of those that can be read; None where none is given."""
    if max(clean.old_labels or (), default=-1) < 0:
        return None
    return torch.tensor(clean.old_labels, dtype=torch.int64)[torch.from_numpy(readable)]


def _part_of(images: Tensor | ImageFiles, begin: int, end: int) -> Tensor | ImageFiles:
    return images.part(begin, end) if isinstance(images, ImageFiles) else images[begin:end]


def _folders(root: Path, tables: dict[str, Table]) -> dict[str, list[str]]:
    """Return the class folders of each part that is read from a folder.

    Those of ``train`` are read beside a CSV file too: the file's numbers may count them.
    """
    parts = [part for part in ("train", "clean", "test") if part not in tables]
    found = {part: subfolders(root / part) for part in parts if is_folder_or_absent(root / part)}
    return found if "train" not in tables else found | {"train": subfolders_if_readable(root / "train")}


def named_classes(root: Path) -> set[str]:
    """Return the lines of `CLASSES_FILE`, composed; none where there is no such file, or one that is no text."""
    path = root / CLASSES_FILE
    if not path.is_file():
        return set()
    return {composed(line) for line in read_bytes(path, MAX_BYTES).decode("utf-8", "surrogateescape").split("\n")}


def _classes(root: Path, tables: dict[str, Table], folders: dict[str, list[str]]) -> Classes:
    train = folders.get("train", [])
    if "train" in tables:
        given = [tables[part] for part in ("train", "clean") if part in tables]
        return classes_of(given, merged(train), merged(folders.get("clean", [])))
    if not train:
        near = [name for name in subfolders_if_readable(root) if name.lower() in ("train", *_OTHER_NAMES["train"])]
        found = f"; {root / near[0]} is there: name it train" if near and near[0] != "train" else ""
        raise InputError(
            f"{root / 'train'} has no class folders{found}; put images into {root / 'train'}/<class>/, or give "
            "--noisy-csv"
        )
    named = named_classes(root)
    return Classes(merged([*train, *(name for name in folders.get("clean", []) if composed(name) in named)]))


def _tell_other_names(root: Path, tables: dict[str, Table]) -> None:
    """Log folders that look like a part under another name and are not read."""
    for name in subfolders_if_readable(root):
        for part, others in _OTHER_NAMES.items():
            if part not in tables and name != part and name.lower() in (part, *others):
                log.warning(
                    "%s is not read: rename it to %s, or name its images with %s", root / name, part, _FLAG[part]
                )


def _part(
    root: Path,
    name: str,
    tables: dict[str, Table],
    folders: dict[str, list[str]],
    classes: Classes,
    skip_missing: bool,
) -> Listing:
    """One part of the data, empty where there is neither a CSV file nor a folder."""
    if name in tables:
        return list_csv(root, tables[name], classes, skip_missing=skip_missing)
    return list_tree(root, root / name, classes) if name in folders else Listing([], [], root / name)


def _printable(name: str) -> str:
    """Return a name as text that can be written everywhere: undecodable bytes become escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
