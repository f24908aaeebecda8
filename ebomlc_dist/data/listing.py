"""Which image carries which label: from a tree of class folders, or from a CSV file ``path,label``."""

import os
from dataclasses import dataclass
from pathlib import Path

from ebomlc_dist.data.image_file import SUFFIXES
from ebomlc_dist.data.images import log
from ebomlc_dist.data.paths import MissingFileError, RefusedPathError, listed, resolve_under, shown
from ebomlc_dist.data.tables import Table, read_table, stop_on
from ebomlc_dist.errors import InputError, nearest

OLD_LABEL = "noisy_label"


@dataclass(frozen=True)
class Listing:
    """Images and their labels, before anything is decoded.

    Attributes:
        names: paths relative to the data folder, each once.
        labels: class indices, beside ``names``.
        origin: the folder or file they come from, for messages.
        old_labels: beside ``names``, the noisy label each had before it was trusted, −1 where none is given; None where
            the list says nothing of it.
    """

    names: list[str]
    labels: list[int]
    origin: Path
    old_labels: list[int] | None = None


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders in ``folder``, in torchvision's order (sorted); hidden ones are passed over."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def list_tree(root: Path, folder: Path, class_names: list[str]) -> Listing:
    """The images in ``folder/<class>/``, at any depth, by their suffix; hidden files and linked folders are left out.

    Raises:
        InputError: a class folder that is not among ``class_names``, or no image at all.
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    names: list[str] = []
    labels: list[int] = []
    ignored: list[str] = []
    for class_name in class_folders(folder):
        if class_name not in label_of:
            raise InputError(
                f"{folder / class_name} is no class of the training set{nearest(class_name, class_names)}; its classes "
                f"are {listed([shown(name) for name in class_names], 20)}"
            )
        for place, folders, files in os.walk(folder / class_name):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for file in sorted(name for name in files if not name.startswith(".")):
                name = os.path.relpath(os.path.join(place, file), root)  # noqa: PTH118 (a Path for each file is slow)
                if os.path.splitext(file)[1].lower() in SUFFIXES:  # noqa: PTH122
                    names.append(name)
                    labels.append(label_of[class_name])
                else:
                    ignored.append(shown(name))
    if ignored:
        log.warning("%d files are no images by their names and are left out: %s", len(ignored), listed(ignored, 10))
    if not names:
        raise InputError(
            f"{folder} holds no images; put them into {folder}/<class>/ as {', '.join(sorted(SUFFIXES))} files"
        )
    return Listing(names, labels, folder)


def labels_in(table: Table) -> list[str]:
    """The label of each row of a ``path,label`` file, as it is written there."""
    return [cell.strip() for cell in table.column("label")]


def classes_of(table: Table) -> list[str]:
    """The classes that a ``path,label`` file uses: its names sorted, or 0…K−1 where all labels are whole numbers.

    Raises:
        InputError: rows without a label, below 0, or above a number that no row uses, all of them by line.
    """
    texts = labels_in(table)
    stop_on([f"{table.where(row)} has no label" for row, text in enumerate(texts) if not text])
    if not all(_is_whole(text) for text in texts):
        return sorted(set(texts))
    used = {int(text) for text in texts}
    count = next(number for number in range(len(used) + 1) if number not in used)
    stop_on(
        [
            f"{table.where(row)}: label {text} is out of range: whole-number labels must be 0…K−1 without a gap, and "
            f"no row has {count}"
            for row, text in enumerate(texts)
            if not 0 <= int(text) < count
        ]
    )
    return [str(number) for number in range(count)]


def list_csv(root: Path, path: Path, class_names: list[str], *, skip_missing: bool = False) -> Listing:
    """The images of a CSV file with the columns ``path`` (or ``file_name``), ``label`` and perhaps ``noisy_label``.

    ``path`` is relative to the data folder; ``file_name`` to the folder of the CSV file where that lies in the data
    folder (Hugging Face's metadata.csv), else to the data folder. A label is a class name, or a class index where no
    class name is a number itself. ``noisy_label`` is written alike, or left blank. With ``skip_missing`` rows of files
    that do not exist are left out, with one warning.

    Raises:
        InputError: missing columns, or bad rows: no such file, a path that leaves the data folder, an unknown label, an
            image named twice. All bad rows are listed by file and line.
    """
    table = read_table(path)
    texts = table.column("label")
    old_texts = table.column(OLD_LABEL) if OLD_LABEL in table.columns else None
    column = table.column("path", "file_name")
    folder = path.resolve().parent
    base = folder if table.first_of("path", "file_name") == "file_name" and folder.is_relative_to(root) else root
    classes = _Classes(class_names)
    first_row: dict[str, int] = {}
    labels: list[int] = []
    old_labels: list[int] = []
    bad: list[str] = []
    missing: list[str] = []
    for row, (cell, text) in enumerate(zip(column, texts, strict=True)):
        old_text = old_texts[row] if old_texts is not None else ""
        label, old = classes.label(text), classes.label(old_text) if old_text.strip() else -1
        if label is None or old is None:
            wrong = text if label is None else old_text
            known = listed([shown(name) for name in class_names], 10)
            bad.append(
                f"{table.where(row)}: unknown {'label' if label is None else OLD_LABEL} {shown(wrong.strip())}"
                f"{nearest(wrong.strip(), class_names)}; known: {known}"
            )
            continue
        try:
            name = os.path.relpath(_resolved(root, base, cell), root)
        except RefusedPathError as error:
            line = f"{table.where(row)}: {shown(cell)} {error}"
            if is_missing := isinstance(error, MissingFileError):
                missing.append(line)
            if not (is_missing and skip_missing):
                bad.append(line)
            continue
        if name in first_row:
            bad.append(f"{table.where(row)}: {shown(cell)} stands already in line {table.lines[first_row[name]]}")
            continue
        first_row[name] = row
        labels.append(label)
        old_labels.append(old)
    stop_on(bad, "--skip-unreadable leaves out the rows of files that do not exist" if missing else "")
    if missing:
        log.warning("%d rows are left out, as their files do not exist: %s", len(missing), listed(missing))
    return Listing(list(first_row), labels, path, None if old_texts is None else old_labels)


class _Classes:
    """Class names by which labels are read."""

    def __init__(self, names: list[str]) -> None:
        self._label_of = {name: label for label, name in enumerate(names)}
        self._by_index = not any(_is_whole(name) for name in names)

    def label(self, text: str) -> int | None:
        """The label that a cell says, None where it is none."""
        # A name may begin or end with blanks of its own; others are the writer's.
        exact, text = text, text.strip()
        label = self._label_of.get(exact, self._label_of.get(text))
        if label is None and self._by_index and _is_whole(text) and 0 <= int(text) < len(self._label_of):
            return int(text)
        return label


def _resolved(root: Path, base: Path, cell: str) -> Path:
    """The file a cell names, as it stands or without blanks around it."""
    try:
        return resolve_under(root, base / cell)
    except RefusedPathError:
        return resolve_under(root, base / cell.strip())


def _is_whole(text: str) -> bool:
    """A whole number as it is usually written: ``7`` and ``-1``, but ``07`` is a name."""
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10 and str(int(text)) == text
