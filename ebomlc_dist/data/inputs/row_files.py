"""Files that say something of rows of features: labels, trusted or test rows, and what a row was made of.

A row is named by its id, or is known by its place in the file. Every bad row is told of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.data.inputs.array_source import Labels
from ebomlc_dist.data.inputs.arrays import as_labels
from ebomlc_dist.data.inputs.class_names import MISSING
from ebomlc_dist.data.inputs.csv_table import stop_on
from ebomlc_dist.data.inputs.feature_files import ID_NAMES, LABEL_NAMES, read_arrays
from ebomlc_dist.data.inputs.label_files import read_table
from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.errors import InputError

_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_ARRAYS = (".npy", ".npz", ".parquet")


@dataclass(frozen=True)
class RowFile:
    """What a file says of rows.

    Attributes:
        path: the file, for messages.
        ids: one text a row, where the file names its rows.
        labels: one a row: whole numbers or texts; None where the file has none.
        chosen: row numbers, where the file is an array of these (or a mask) and no labels.
    """

    path: Path
    ids: list[str] | None = None
    labels: Labels | None = None
    chosen: NDArray[np.int64] | None = None

    def places(self, ids: Sequence[str], named: bool) -> NDArray[np.int64]:
        """Return which rows of the features the file's rows are, (m,) int64.

        Args:
            ids: of the features.
            named: whether these come from elsewhere, so that this file's ids are looked up. Else its rows are in the
                features' order, and as many.

        Raises:
            InputError: another number of rows, or ids that are unknown or stand twice.
        """
        if self.chosen is not None:
            outside = [row for row in self.chosen.tolist() if not 0 <= row < len(ids)]
            stop_on([f"{self.path}: row {row} is outside 0…{len(ids) - 1}" for row in outside])
            return self.chosen
        if self.ids is not None and named:
            place = {name: row for row, name in enumerate(ids)}
            stop_on(
                [f"{self.path}: id {shown(name)} is no row of the features" for name in self.ids if name not in place]
            )
            check_ids(self.ids, str(self.path))
            return np.fromiter((place[name] for name in self.ids), np.int64, len(self.ids))
        number = len(self.ids) if self.ids is not None else 0 if self.labels is None else len(self.labels)
        if number != len(ids):
            raise InputError(
                f"{self.path} has {number} rows and the features have {len(ids)}: row {min(number, len(ids))} is "
                f"without {'a label' if number < len(ids) else 'features'}; give one row for each, in the same order, "
                "or name rows by a column id"
            )
        return np.arange(len(ids))


def check_ids(ids: Sequence[str], what: str) -> None:
    """Raise `InputError` listing ids that stand twice, and empty ones."""
    if len(set(ids)) == len(ids) and "" not in ids:
        return
    first: dict[str, int] = {}
    bad = []
    for row, name in enumerate(ids):
        if not name:
            bad.append(f"{what}, row {row} has an empty id")
        elif name in first:
            bad.append(f"{what}, row {row} has the id {shown(name)} of row {first[name]}")
        first.setdefault(name, row)
    stop_on(bad)


def read_rows(path: Path, *, labelled: bool) -> RowFile:
    """Read labels, or which rows are meant.

    Args:
        path: CSV or JSON with a column ``label``, ``id``, or both; ``.npy``, ``.npz`` or ``.parquet`` of the same.
        labelled: an array without a name holds labels; else it holds row numbers, or a mask.

    Raises:
        InputError: a file that is missing or damaged, holds objects, or says neither; empty labels, by row.
    """
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        return _of_table(path, labelled)
    if suffix not in _ARRAYS:
        raise InputError(f"{path} is not read: give {', '.join((*_TABLES, *_ARRAYS))}")
    arrays = read_arrays(path)
    ids = next((arrays[name] for name in ID_NAMES if name in arrays), None)
    labels = next((arrays[name] for name in LABEL_NAMES if name in arrays), None)
    if ids is None and labels is None:
        others = [value for value in arrays.values() if value.ndim == 1 or (value.ndim == 2 and value.shape[1] == 1)]
        if len(others) != 1:
            held = listed([f"{shown(name)} {value.shape}" for name, value in arrays.items()], 8)
            raise InputError(f"{path} holds {held or 'nothing'}; give one array (N,), or name it {LABEL_NAMES[0]}")
        values = np.asarray(others[0]).reshape(-1)
        if not labelled and values.dtype == bool:
            return RowFile(path, chosen=np.flatnonzero(values))
        if not labelled:
            if values.dtype.kind not in "iu":
                raise InputError(f"{path} holds {values.dtype}; give row numbers, a mask of booleans, or ids in a CSV")
            return RowFile(path, chosen=np.unique(values.astype(np.int64)))
        labels = values
    return RowFile(
        path,
        None if ids is None else [str(name) for name in ids.reshape(-1).tolist()],
        checked_labels(labels, str(path)),
    )


def checked_labels(labels: NDArray | None, what: str) -> Labels | None:
    """Return labels as whole numbers or texts, see `as_labels`. Raises `InputError` for missing ones, by row."""
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.dtype.kind == "f":
        stop_on([f"{what}, row {row} has no label" for row in np.flatnonzero(~np.isfinite(array.reshape(-1))).tolist()])
    found = as_labels(array, what)
    if found.dtype.kind != "U":
        return found
    texts = np.char.strip(found.astype(str))
    empty = np.flatnonzero(np.isin(np.char.lower(texts), ["", *MISSING]))
    stop_on([f"{what}, row {row} has no label" for row in empty.tolist()])
    return texts


def _of_table(path: Path, labelled: bool) -> RowFile:
    table = read_table(path)
    label = table.first_of(*LABEL_NAMES)
    ids = table.first_of(*ID_NAMES)
    if label is None and (labelled or ids is None):
        wanted = "label" if labelled else "id, or id and label"
        raise InputError(f"{path} has no column {wanted}; its header reads {shown(','.join(table.columns))}")
    return RowFile(
        path,
        None if ids is None else [cell.strip() for cell in table.column(ids)],
        None if label is None else checked_labels(np.array(table.column(label)), str(path)),
    )
