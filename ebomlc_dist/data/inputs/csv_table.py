"""Untrusted CSV files: UTF-8, a header, limits. Every bad row is reported with file and line."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.reading import read_bytes

MAX_BYTES = 512 * 1024 * 1024
_MAGIC = {
    b"PK\x03\x04": "an Excel workbook or another archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@dataclass(frozen=True)
class Table:
    """A CSV file with a header.

    Attributes:
        path: the file, for messages.
        columns: names in the header, stripped of blanks.
        lines: the file's line on which each row ends, counted from 1.
        rows: cells, as many in each row as there are columns.
        row_name: what ``lines`` number, where it is not lines.
    """

    path: Path
    columns: list[str]
    lines: list[int]
    rows: list[list[str]]
    row_name: str = ""

    def column(self, *names: str) -> list[str]:
        """Return the cells of the first of ``names`` that the header has.

        Raises:
            InputError: none is there.
        """
        found = self.first_of(*names)
        if found is None:
            raise InputError(
                f"{self.path} has no column {' or '.join(names)}; its header reads {shown(','.join(self.columns))} "
                "(columns are separated by commas)"
            )
        position = self.columns.index(found)
        return [row[position] for row in self.rows]

    def first_of(self, *names: str) -> str | None:
        """Return the first of ``names`` that the header has, or None."""
        return next((name for name in names if name in self.columns), None)

    def where(self, row: int) -> str:
        """``file:line`` of a row."""
        place = f", {self.row_name}" if self.row_name else ":"
        return f"{self.path}{place}{self.lines[row]}"


def csv_table(path: Path, content: bytes) -> Table:
    """Return the rows of a CSV file with a header.

    A byte order mark and blank lines are passed over.

    Raises:
        InputError: not UTF-8, without rows, a column twice, or rows with too few or too many cells, all of them by
            line.
    """
    lines, rows = _read_rows(path, content)
    if len(rows) < 2:
        raise InputError(f"{path} has no rows; give a header and one row an image")
    header = [cell.strip() for cell in rows[0]]
    if len(set(header)) < len(header):
        raise InputError(f"{path} names a column twice in its header {shown(','.join(header))}")
    ragged = [
        f"{path}:{line} has {len(row)} cells instead of {len(header)}"
        for line, row in zip(lines[1:], rows[1:], strict=True)
        if len(row) != len(header)
    ]
    stop_on(ragged)
    return Table(path, header, lines[1:], rows[1:])


def read_matrix(path: Path) -> list[list[float]]:
    """Read a CSV file of numbers without a header, as rows of equal length.

    Raises:
        InputError: missing, irregular, too large, not UTF-8, or cells that are no numbers, all of them by line.
    """
    lines, rows = _read_rows(path, read_bytes(path, MAX_BYTES))
    numbers: list[list[float]] = []
    bad: list[str] = []
    for line, row in zip(lines, rows, strict=True):
        try:
            numbers.append([float(cell) for cell in row])
        except ValueError:
            bad.append(f"{path}:{line} holds a cell that is not a number")
    stop_on(bad)
    return numbers


def stop_on(bad: Sequence[str], remedy: str = "") -> None:
    """Raise one `InputError` that lists all bad rows, and a ``remedy``, if there are any."""
    if bad:
        told = f". {remedy}" if remedy else ""
        raise InputError(f"{len(bad)} bad row{'s' if len(bad) > 1 else ''}: {listed(bad)}{told}")


def _read_rows(path: Path, content: bytes) -> tuple[list[int], list[list[str]]]:
    """Return line numbers and cells of the rows that are not blank."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = _binary_kind(content)
        found = f"but {kind}" if kind else f"(byte {error.start})"
        raise InputError(f"{path} is not UTF-8 text {found}; save it as CSV in UTF-8") from None
    # Blanks between a comma and a quote are no part of the cell; else the quotes would be.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append(row)
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num} is not CSV: {error}") from None
    return lines, rows


def _binary_kind(content: bytes) -> str | None:
    """Return what a file that is no UTF-8 text is, where its first bytes tell."""
    return next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)
