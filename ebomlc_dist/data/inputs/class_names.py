"""The classes of a data set and how labels are read: by name, or by number.

Names are compared in Unicode's composed form (NFC), so that a folder written by macOS and a file written elsewhere
speak of one class. Where every class is named by a whole number (``0`` … ``11``, ``007``), a number is the class of
that value, whatever the order of the names. Where no class is, a number counts the classes from 0.
"""

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence

from ebomlc_dist.data.inputs.csv_table import Table, stop_on
from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.errors import nearest

log = logging.getLogger(__name__)

_WHOLE = re.compile(r"-?[0-9]{1,9}")
_WHOLE_FLOAT = re.compile(r"(-?[0-9]{1,9})\.0+")
MISSING = frozenset({"nan", "<na>", "nat", "null"})
"""What programs write for no label, in small letters."""


class Classes:
    """The classes of a data set.

    Attributes:
        names: K names, in label order.
    """

    def __init__(self, names: Sequence[str], counted: Sequence[str] | None = None) -> None:
        """Take the classes.

        Args:
            names: in label order.
            counted: the names that a number counts from 0 where it is no name; ``names`` unless these are only some.
        """
        self.names = list(names)
        self._by_name = {composed(name): label for label, name in enumerate(names)}
        values = [value_of(name) for name in names]
        self._by_value = {value: label for label, value in enumerate(values) if value is not None}
        self._all_numbers = len(self._by_value) == len(names) > 0
        order = self.names if counted is None else counted
        self._counted = [] if self._by_value else [self._by_name.get(composed(name)) for name in order]

    def label(self, text: str) -> int | None:
        """Return the label that a cell says, None where it is none."""
        # A name may begin or end with blanks of its own; others are the writer's.
        for form in (composed(text), composed(text.strip())):
            if form in self._by_name:
                return self._by_name[form]
        # Programs that know missing values write whole numbers as 1.0.
        whole = _WHOLE_FLOAT.fullmatch(text.strip())
        number = value_of(whole[1] if whole else text.strip())
        return None if number is None else self.of_number(number)

    def folder(self, name: str) -> int | None:
        """Return the label of a class folder, None where it is none."""
        return self._by_name.get(composed(name))

    def of_number(self, number: int) -> int | None:
        """Return the label that a number says: by value, or by count; None where it is none."""
        if self._by_value:
            return self._by_value.get(number) if self._all_numbers else None
        return self._counted[number] if 0 <= number < len(self._counted) else None

    def by_value(self) -> list[int]:
        """Return labels in the order of a table that is ordered by numbers: by value, else as they are."""
        if not self._all_numbers:
            return list(range(len(self.names)))
        return [self._by_value[value] for value in sorted(self._by_value)]

    @property
    def counts(self) -> bool:
        """Whether a number can stand for a class."""
        return self._all_numbers or not self._by_value

    @property
    def numbers(self) -> str:
        """The numbers that stand for a class, for messages."""
        if self._all_numbers:
            values = sorted(self._by_value)
            gaps = "" if values[-1] - values[0] == len(values) - 1 else " with gaps, as the classes are named"
            return f"{values[0]}…{values[-1]}{gaps}"
        return f"0…{len(self.names) - 1}"


def composed(name: str) -> str:
    """Return ``name`` in Unicode's composed form."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def value_of(name: str) -> int | None:
    """Return the whole number that a name is, None for others."""
    return int(name) if _WHOLE.fullmatch(name) else None


def merged(names: Iterable[str]) -> list[str]:
    """Return names sorted, each once whatever its Unicode form: as the first of them is written."""
    first: dict[str, str] = {}
    for name in sorted(names):
        first.setdefault(composed(name), name)
    return list(first.values())


def labels_in(table: Table) -> list[str]:
    """Return the label of each row of a ``path,label`` file, as it is written there."""
    return [cell.strip() for cell in table.column("label")]


def classes_of(tables: Sequence[Table], folders: Sequence[str] = (), further: Sequence[str] = ()) -> Classes:
    """Return the classes that ``path,label`` files use: names sorted, or 0…K−1 where all labels are whole numbers.

    Cells that hold no label stay away; `ebomlc_dist.data.inputs.listing.list_csv` tells of them.

    Args:
        tables: the files of the training images.
        folders: names of class folders beside them. A label that is one of them, by name or by number, is that class.
        further: names of classes that other parts of the training data use.

    Raises:
        InputError: numbers below 0, or above a number that no row uses, all of them by line.
    """
    known = Classes(merged(folders or further))
    cells = [(table, row, text) for table in tables for row, text in enumerate(labels_in(table)) if text]
    texts = dict.fromkeys(text for _, _, text in cells)
    labels = {text: known.label(text) for text in texts}
    if not further and all(_is_canonical(text) for text in texts) and None in labels.values():
        return Classes([str(number) for number in range(_count(cells, set(texts)))])
    own = [text for text, label in labels.items() if label is None and not _says_nothing(text, known)]
    if folders and own and len(own) < len(texts):
        near = [f"{shown(name)}{nearest(name, known.names)}" for name in own]
        log.warning("%d classes are named by a file and have no folder: %s", len(own), listed(near, 20))
    named = [known.names[label] for label in labels.values() if label is not None]
    return Classes(merged([*named, *further, *own]), counted=known.names or None)


def _says_nothing(text: str, known: Classes) -> bool:
    """Return whether a cell that is no known class is none at all: no value, or a number where classes have names."""
    return text.lower() in MISSING or (bool(known.names) and value_of(text) is not None)


def _count(cells: Sequence[tuple[Table, int, str]], texts: set[str]) -> int:
    """K of labels 0…K−1. Raises `InputError` for others, by line."""
    used = {int(text) for text in texts}
    count = next(number for number in range(len(used) + 1) if number not in used)
    stop_on(
        [
            f"{table.where(row)}: label {text} is out of range: whole-number labels must be 0…K−1 without a gap, and "
            f"no row has {count}"
            for table, row, text in cells
            if not 0 <= int(text) < count
        ]
    )
    return count


def _is_canonical(text: str) -> bool:
    """Return whether a whole number is written as usual: ``7`` and ``-1``, but ``07`` is a name."""
    return value_of(text) is not None and str(int(text)) == text
