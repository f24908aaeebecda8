"""Label files as tables: CSV, and JSON with one label an image. Other files are refused by what they are.

- ``metadata.jsonl`` of Hugging Face's image folders, one JSON object a line, and JSON arrays of such objects;
- Label Studio's JSON and JSON-MIN exports of a project of single choices (see `label_studio_tasks`).
"""

from pathlib import Path
from typing import Any

from ebomlc_dist.data.inputs.csv_table import MAX_BYTES, Table, csv_table, stop_on
from ebomlc_dist.data.inputs.label_studio_tasks import is_min, is_tasks, read_min, read_tasks
from ebomlc_dist.data.inputs.safe_paths import shown
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.reading import read_bytes
from ebomlc_dist.files.safe_json import parse_json

_LINES = {".jsonl", ".ndjson"}
_SUFFIXES = {".json", *_LINES}
_WANTED = "give a CSV file with the columns path,label, Hugging Face's metadata.jsonl, or Label Studio's JSON export"
_KEYS = {
    ("images", "annotations"): "a COCO file, which lists objects, any number of them in an image",
    ("images", "categories"): "a COCO file, which lists objects, any number of them in an image",
    ("classes", "labels"): "a FiftyOne label file",
    ("split_schema", "fingerprint"): "the split of a run, which --split takes",
}


def read_table(path: Path) -> Table:
    """Read a CSV file with a header, or a JSON file of labels. A byte order mark and blank lines are passed over.

    Raises:
        InputError: missing, not a regular file, too large, not UTF-8, without rows, a column twice, or rows with too
            few or too many cells, all of them by line; JSON of another kind.
    """
    content = read_bytes(path, MAX_BYTES)
    return json_table(path, content) if is_json(path, content) else csv_table(path, content)


def is_json(path: Path, content: bytes) -> bool:
    """Return whether a file is meant to be JSON, by its name or by how it begins."""
    return path.suffix.lower() in _SUFFIXES or content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def json_table(path: Path, content: bytes) -> Table:
    """Return the rows of a JSON file as a `Table`: ``path`` or ``file_name``, ``label``, and what else is flat.

    Raises:
        InputError: another kind of file, which is named, damaged JSON, or bad rows, all of them.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if path.suffix.lower() in _LINES or _is_lines(content):
        numbered = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
        values = [parse_json(line, f"{path}, line {number},") for number, line in numbered]
        return _records(path, [number for number, _ in numbered], values)
    value = parse_json(content, str(path))
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        if is_tasks(value):
            return read_tasks(path, value)
        if is_min(value):
            return read_min(path, value)
        return _records(path, list(range(1, len(value) + 1)), value, "object ")
    raise InputError(f"{path} is {_named(value)}; {_WANTED}")


def _is_lines(content: bytes) -> bool:
    lines = [line for line in content.split(b"\n", 2) if line.strip()]
    return len(lines) > 1 and all(line.strip()[:1] == b"{" and line.strip()[-1:] == b"}" for line in lines[:2])


def _records(path: Path, numbers: list[int], values: list[Any], row_name: str = "") -> Table:
    """One flat object a row. Keys whose values are lists or objects are passed over, but for the label."""
    if not values:
        raise InputError(f"{path} has no rows; {_WANTED}")
    table = Table(path, [], numbers, [], row_name)
    others = [row for row, value in enumerate(values) if not isinstance(value, dict)]
    stop_on([f"{table.where(row)} is no JSON object" for row in others])
    columns = [key for key in dict.fromkeys(key for value in values for key in value) if _is_flat(key, values)]
    bad = [
        f"{table.where(row)}: label {shown(str(value['label']))} is no single one"
        for row, value in enumerate(values)
        if isinstance(value.get("label"), list | dict | bool)
    ]
    stop_on(bad)
    return Table(path, columns, numbers, [[_cell(value.get(key)) for key in columns] for value in values], row_name)


def _is_flat(key: str, values: list[dict[str, Any]]) -> bool:
    return key == "label" or not any(isinstance(value.get(key), list | dict) for value in values)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _named(value: Any) -> str:
    if not isinstance(value, dict):
        return "JSON, and no list of labels"
    known = (what for keys, what in _KEYS.items() if all(key in value for key in keys))
    return next(known, f"JSON with the keys {shown(', '.join(list(value)[:8]))}, and no known list of labels")
