"""The tables an audit leaves, written in a stream: exact ones for programs, a guarded one for spreadsheets."""

import csv
import io
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.audit.table import ScoreTable
from ebomlc_dist.data.inputs.class_names import Classes
from ebomlc_dist.files.stream import stream_file

# What a spreadsheet takes for the beginning of a formula, or drops before looking for one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SPREADSHEET_COLUMNS = (
    "rank", "suspicion", "given_label", "proposed_label", "proposed_probability", "predicted_label", "is_label_issue"
)  # fmt: skip


def write_labels(findings: Findings, folder: Path) -> list[Path]:
    """``labels.csv``, ``labels_for_spreadsheet.csv`` and, where pyarrow is installed, ``labels.parquet``."""
    paths = [folder / "labels.csv", folder / "labels_for_spreadsheet.csv"]
    write_csv(paths[0], _rows(findings.blocks()))
    shown = (findings.subject.key, *_SPREADSHEET_COLUMNS)
    write_csv(paths[1], (_guarded(row) for row in _rows({n: b[n] for n in shown} for b in findings.blocks())))
    if find_spec("pyarrow") is not None:
        paths.append(folder / "labels.parquet")
        _write_parquet(findings, paths[-1])
    return paths


def write_corrected(findings: Findings, path: Path, without: Collection[int] = ()) -> None:
    """The noisy images under their labels for a next round: ``path,label``, as ``--noisy-csv`` reads it.

    Args:
        without: rows left out, as a text file cannot name their images.
    """
    names, labels = findings.subject.class_names, findings.final_labels().tolist()
    rows = ([findings.subject.ids[row], names[label]] for row, label in enumerate(labels) if row not in without)
    write_csv(path, headed([findings.subject.key, "label"], rows))


def write_matrix(path: Path, matrix: NDArray[Any], class_names: Sequence[str]) -> None:
    """A (K, K) matrix over classes as rows of numbers without a header, in the order in which ``noise.matrix`` reads
    it: that of the labels, or, where classes are named by whole numbers, that of these."""
    order = Classes(class_names).by_value()
    write_csv(path, matrix[np.ix_(order, order)].tolist())


def write_probabilities(table: ScoreTable, class_names: Sequence[str], in_sample: bool, path: Path) -> None:
    """``pred_probs`` (n, K) float32, ``labels`` (n,) int64, ``class_names`` and ``in_sample``, for ``numpy.load``."""
    small = {"labels": table.given.astype(np.int64), "class_names": np.array(class_names), "in_sample": in_sample}
    with stream_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("pred_probs.npy", "w", force_zip64=True) as part:
            write_array(part, table.probabilities)
        for name, value in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                write_array(part, np.asarray(value))


def write_array(file: BinaryIO | Any, array: NDArray) -> None:
    """An array in numpy's format, some rows at a time."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    rows = max(1, 2**24 // max(1, array.nbytes // max(1, len(array) if array.ndim else 1)))
    for begin in range(0, len(array) if array.ndim else 1, rows):
        file.write(np.ascontiguousarray(array[begin : begin + rows] if array.ndim else array).tobytes())


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Rows as CSV in UTF-8. Every text is in quotes, so that line ends within a name survive."""
    with text_file(path) as text:
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)


@contextmanager
def text_file(path: Path) -> Iterator[io.TextIOWrapper]:
    """A UTF-8 text file to write to in order, see `stream_file`; line ends are written as they are given."""
    with stream_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()


def headed(header: list[str], rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """A header, then the rows."""
    yield header
    yield from rows


def _rows(blocks: Iterable[dict[str, list[Any]]]) -> Iterator[Sequence[Any]]:
    for number, block in enumerate(blocks):
        if number == 0:
            yield list(block)
        yield from zip(*block.values(), strict=True)


def _guarded(row: Sequence[Any]) -> list[Any]:
    """Cells that a spreadsheet shows and does not compute."""
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in row]


def _write_parquet(findings: Findings, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = None
    with stream_file(path) as file:
        writer = None
        for block in findings.blocks():
            schema = schema or pa.schema([(name, _arrow_type(pa, name, values)) for name, values in block.items()])
            writer = writer or parquet.ParquetWriter(file, schema)
            writer.write_batch(pa.record_batch(list(block.values()), schema=schema))
        if writer is not None:
            writer.close()


def _arrow_type(pa: Any, name: str, values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, bool):
        return pa.bool_()
    if isinstance(first, int):
        return pa.int64()
    return pa.string() if isinstance(first, str) else pa.float64()
