"""Which image carries which label: from a tree of class folders, or from a CSV file ``path,label``."""

import logging
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ebomlc_dist.data.inputs.class_names import MISSING, Classes
from ebomlc_dist.data.inputs.csv_table import Table, stop_on
from ebomlc_dist.data.inputs.decode import COMMON_FORMATS
from ebomlc_dist.data.inputs.safe_paths import MissingFileError, RefusedPathError, listed, resolve_under, shown
from ebomlc_dist.data.inputs.tree import Found, check_inside, find_images, loose_images, subfolders
from ebomlc_dist.errors import InputError, nearest

OLD_LABEL = "noisy_label"
log = logging.getLogger(__name__)


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


def list_tree(root: Path, folder: Path, classes: Classes) -> Listing:
    """Return the images in ``folder/<class>/``, at any depth, by their suffix; hidden files and linked folders are left
    out.

    What is left out and not hidden is logged.

    Raises:
        InputError: a class folder that is not among ``classes``, a folder that cannot be read or a link that leaves
            ``root``, or no image at all.
    """
    check_inside(root, folder)
    found = Found()
    labels: list[int] = []
    for class_name in subfolders(folder):
        label = classes.folder(class_name)
        if label is None:
            raise InputError(
                f"{folder / class_name} is no class of the training set{nearest(class_name, classes.names)}; its "
                f"classes are {listed([shown(name) for name in classes.names], 20)}"
            )
        check_inside(root, folder / class_name)
        find_images(folder / class_name, root, found)
        labels += [label] * (len(found.images) - len(labels))
    for line in found.passed_over():
        log.warning("%s", line)
    if loose := loose_images(folder):
        log.warning(
            "%d images in %s lie in no class folder and are left out: %s",
            len(loose),
            folder,
            listed([shown(name) for name in loose], 10),
        )
    if not found.images:
        raise InputError(f"{folder} holds no images; put them into {folder}/<class>/ as files of {COMMON_FORMATS}")
    return Listing(found.images, labels, folder)


def list_csv(root: Path, table: Table, classes: Classes, *, skip_missing: bool = False) -> Listing:
    """Return the images of a CSV file with the columns ``path`` (or ``file_name``), ``label`` and perhaps
    ``noisy_label``.

    ``path`` is relative to the data folder; ``file_name`` to the folder of the CSV file where that lies in the data
    folder (Hugging Face's metadata.csv), else to the data folder. A label is read by `Classes`. ``noisy_label`` is
    written alike, or left blank. With ``skip_missing`` rows of files that do not exist are left out, with one warning.

    Raises:
        InputError: missing columns, or bad rows: no such file, a path that leaves the data folder, an unknown label, an
            image named twice. All bad rows are listed by file and line.
    """
    texts = table.column("label")
    old_texts = table.column(OLD_LABEL) if OLD_LABEL in table.columns else None
    column = table.column("path", "file_name")
    folder = table.path.resolve().parent
    base = folder if table.first_of("path", "file_name") == "file_name" and folder.is_relative_to(root) else root
    first_row: dict[str, int] = {}
    labels: list[int] = []
    old_labels: list[int] = []
    bad: list[str] = []
    missing: list[str] = []
    for row, (cell, text) in enumerate(zip(column, texts, strict=True)):
        old_text = old_texts[row] if old_texts is not None else ""
        label, old = classes.label(text), classes.label(old_text) if old_text.strip() else -1
        if label is None or old is None:
            what, wrong = ("label", text) if label is None else (OLD_LABEL, old_text)
            bad.append(f"{table.where(row)}{_no_label(what, wrong.strip(), classes)}")
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
    return Listing(list(first_row), labels, table.path, None if old_texts is None else old_labels)


def _no_label(what: str, text: str, classes: Classes) -> str:
    """Return what is wrong with a cell that is no label."""
    if not text:
        return f" has no {what}"
    if text.lower() in MISSING:
        return f": {what} {shown(text)} stands for a missing value; remove the row, or name its class otherwise"
    known = listed([shown(name) for name in classes.names], 10)
    return f": unknown {what} {shown(text)}{nearest(text, classes.names)}; known: {known}"


def _resolved(root: Path, base: Path, cell: str) -> Path:
    """Return the file a cell names: as it stands, without blanks around it, or in another Unicode form."""
    refused: RefusedPathError | None = None
    for form in _forms(cell):
        try:
            return resolve_under(root, base / form)
        except RefusedPathError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _forms(cell: str) -> Iterator[str]:
    yield cell
    stripped = cell.strip()
    if stripped != cell:
        yield stripped
    if not cell.isascii():
        yield from (unicodedata.normalize(form, stripped) for form in ("NFC", "NFD"))
