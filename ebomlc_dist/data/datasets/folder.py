"""The user's own images: ``DIR/{train,clean,test}/<class>/*``, or CSV files ``path,label`` in the place of each part.

The labels of ``train`` are the noisy ones, those of ``clean`` and ``test`` are trusted. The classes, and their order,
are the sorted folders of ``train`` (torchvision's order), or else those that ``noisy_csv`` uses. An image that both the
noisy and the trusted part name is taken as trusted, with its trusted label; one that is also in the test part is
refused, as it would flatter the result. The label that a trusted image had before it was checked is that of the noisy
part, where it is named there, or stands in a column ``noisy_label`` of ``clean_csv``.

A class may have trusted images alone, such as one whose noisy labels were all corrected. Its folder in ``clean`` is no
slip of the pen where ``classes.txt`` beside the parts names it, one class a line.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.choice import held_in_memory
from ebomlc_dist.data.dataset import Source
from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.image_files import ImageFiles, file_digest, keeps_own_size, open_images
from ebomlc_dist.data.images import Probe, common_size, decode_images, probe_images
from ebomlc_dist.data.listing import Listing, class_folders, classes_of, list_csv, list_tree
from ebomlc_dist.data.paths import listed, shown
from ebomlc_dist.data.tables import MAX_BYTES, read_table
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.reading import read_bytes

CLASSES_FILE = "classes.txt"


def load(config: DataConfig, progress: Progress | None = None) -> Source:
    """Read the folder ``config.data_dir``. Raises `InputError` for anything that is missing or does not fit."""
    root = config.data_dir.resolve()
    if not root.is_dir():
        raise InputError(f"{config.data_dir} is not a folder; give the folder of your images with --data-dir")
    classes = _classes(root, config.noisy_csv)
    skip = config.skip_unreadable
    noisy = _part(root, "train", config.noisy_csv, classes, skip)
    clean = _part(root, "clean", config.clean_csv, classes, skip)
    test = _part(root, "test", config.test_csv, classes, skip)
    return read_parts(root, classes, _without(noisy, set(clean.names)), _dated(clean, noisy), test, config, progress)


def read_parts(
    root: Path,
    classes: list[str],
    noisy: Listing,
    clean: Listing,
    test: Listing,
    config: DataConfig,
    progress: Progress | None,
) -> Source:
    """Read the listed images, all parts in one size and one number of channels. A part may be empty.

    They are decoded here where memory is to hold them, else when they are asked for.

    Returns:
        A `Source` whose first images are the noisy part and the next ones the trusted part. Its ids are the paths.
    """
    _check_apart(test, noisy, clean)
    parts = (noisy, clean, test)
    names = [name for part in parts for name in part.names]
    labels = np.array([label for part in parts for label in part.labels], dtype=np.int64)
    probe = probe_images(root, names, max_pixels=config.max_pixels)
    images, readable = _images(probe, config, progress)
    part_of = np.repeat(np.arange(3), [len(part.names) for part in parts])[readable]
    num_train, num_noisy = int((part_of < 2).sum()), int((part_of == 0).sum())
    kept = torch.from_numpy(labels[readable])
    rows = np.flatnonzero(readable)
    own_size = keeps_own_size(images)
    geometry = f"{tuple(images.shape[2:])}" + (f" cut out of at most {config.max_side}" if own_size else "")
    return Source(
        images=_part_of(images, 0, num_train),
        labels=kept[:num_train],
        ids=[_printable(name) for name, read in zip(names, readable, strict=True) if read][:num_train],
        test_images=_part_of(images, num_train, len(images)),
        test_labels=kept[num_train:],
        class_names=[_printable(name) for name in classes],
        trusted=None if not clean.names else torch.arange(num_noisy, num_train),
        trusted_old_labels=_old_labels(clean, readable[len(noisy.names) : len(noisy.names) + len(clean.names)]),
        labels_are_true=False,
        image_digests=(
            file_digest(probe, rows[:num_train], geometry),
            file_digest(probe, rows[num_train:], geometry),
        ),
    )


def _images(
    probe: Probe, config: DataConfig, progress: Progress | None
) -> tuple[Tensor | ImageFiles, NDArray[np.bool_]]:
    """The probed images, and which they are."""
    own_size = config.augment == "resized-crop-flip"
    if own_size and config.image_size is None:
        raise InputError("data.augment=resized-crop-flip needs --image-size, the side that parts of images are cut to")
    if own_size and config.loader == "resident":
        raise InputError(
            "--loader resident holds images of one size and data.augment=resized-crop-flip keeps their own; choose "
            "--loader dataloader or ffcv, or another augmentation"
        )
    height, width = common_size(probe, config.image_size)
    if own_size or not held_in_memory(config, len(probe.headers) * probe.channels * height * width):
        return open_images(
            probe,
            image_size=config.image_size,
            max_side=config.max_side if own_size else None,
            max_pixels=config.max_pixels,
            skip_unreadable=config.skip_unreadable,
            progress=progress,
        )
    return decode_images(
        probe,
        image_size=config.image_size,
        max_pixels=config.max_pixels,
        skip_unreadable=config.skip_unreadable,
        progress=progress,
    )


def _old_labels(clean: Listing, readable: NDArray[np.bool_]) -> Tensor | None:
    """The noisy labels that trusted images had, of those that can be read; None where none is given."""
    if max(clean.old_labels or (), default=-1) < 0:
        return None
    return torch.tensor(clean.old_labels, dtype=torch.int64)[torch.from_numpy(readable)]


def _part_of(images: Tensor | ImageFiles, begin: int, end: int) -> Tensor | ImageFiles:
    return images.part(begin, end) if isinstance(images, ImageFiles) else images[begin:end]


def _classes(root: Path, noisy_csv: Path | None) -> list[str]:
    train = root / "train"
    found = class_folders(train) if train.is_dir() else []
    if found and (root / "clean").is_dir():
        named = named_classes(root)
        found = sorted({*found, *(name for name in class_folders(root / "clean") if name in named)})
    if not found and noisy_csv is not None:
        found = classes_of(read_table(noisy_csv))
    if not found:
        raise InputError(f"{train} has no class folders; put images into {train}/<class>/, or give --noisy-csv")
    return found


def named_classes(root: Path) -> set[str]:
    """The lines of `CLASSES_FILE`; none where there is no such file, or one that is no text."""
    path = root / CLASSES_FILE
    if not path.is_file():
        return set()
    return set(read_bytes(path, MAX_BYTES).decode("utf-8", "surrogateescape").split("\n"))


def _part(root: Path, name: str, table: Path | None, classes: list[str], skip_missing: bool) -> Listing:
    """One part of the data, empty where there is neither a CSV file nor a folder."""
    if table is not None:
        return list_csv(root, table, classes, skip_missing=skip_missing)
    return list_tree(root, root / name, classes) if (root / name).is_dir() else Listing([], [], root / name)


def _dated(clean: Listing, noisy: Listing) -> Listing:
    """``clean`` with the old labels that it does not give itself, of images that the noisy part names as well."""
    noisy_label = dict(zip(noisy.names, noisy.labels, strict=True))
    given = clean.old_labels or [-1] * len(clean.names)
    old = [noisy_label.get(name, -1) if label < 0 else label for name, label in zip(clean.names, given, strict=True)]
    return replace(clean, old_labels=old)


def _without(part: Listing, names: set[str]) -> Listing:
    kept = [(name, label) for name, label in zip(part.names, part.labels, strict=True) if name not in names]
    return Listing([name for name, _ in kept], [label for _, label in kept], part.origin)


def _check_apart(test: Listing, *others: Listing) -> None:
    for other in others:
        if common := sorted(set(test.names) & set(other.names)):
            raise InputError(
                f"{len(common)} test images are training images too: {listed([shown(name) for name in common], 10)} "
                f"({test.origin} and {other.origin}); take them out of one of the two"
            )


def _printable(name: str) -> str:
    """A name as text that can be written everywhere: undecodable bytes become escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
