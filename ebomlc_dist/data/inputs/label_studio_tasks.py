"""Label Studio's exports of a project that gives each image one choice, as a table ``path,label,noisy_label``.

An image is found by ``path`` in the data of its task, as `ebomlc audit --export label-studio` leaves it beside the
address of the image, or by the address itself where that names a local file. ``given_label`` there becomes
``noisy_label``. Tasks that nobody has annotated, or that were skipped, are left out. Predictions are no annotations.
"""

import logging
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ebomlc_dist.data.inputs.csv_table import Table, stop_on
from ebomlc_dist.data.inputs.decode import SUFFIXES
from ebomlc_dist.data.inputs.safe_paths import shown
from ebomlc_dist.errors import InputError

log = logging.getLogger(__name__)
Object = dict[str, Any]

_COLUMNS = ["path", "label", "noisy_label"]
_NAMES = ("label", "choice")
_OF_EXPORT = {"annotation_id", "annotator", "lead_time"}
_LOCAL_FILES = "/data/local-files/"
_UPLOAD = "/data/upload/"


class _RowError(ValueError):
    """Why a task cannot be read."""


def is_tasks(values: list[Object]) -> bool:
    """Return whether objects are tasks of the JSON export (or of an import, with predictions)."""
    first = values[0]
    return isinstance(first.get("data"), dict) and any(key in first for key in ("annotations", "predictions", "id"))


def is_min(values: list[Object]) -> bool:
    """Return whether objects are those of the JSON-MIN export."""
    return len(_OF_EXPORT & values[0].keys()) > 1


def read_tasks(path: Path, tasks: list[Object]) -> Table:
    """Return the annotated tasks of a JSON export. Raises `InputError` as `_table`."""
    return _table(path, [(task.get("id"), _data(task), _choices(task)) for task in tasks])


def read_min(path: Path, rows: list[Object]) -> Table:
    """Return the rows of a JSON-MIN export. Raises `InputError` as `_table`."""
    found = [(row, _listed(row.get(_name_of(row)))) for row in rows]
    return _table(path, [(row.get("id"), row, [choices] if choices else []) for row, choices in found])


def _table(path: Path, tasks: list[tuple[Any, Object, list[list[str]]]]) -> Table:
    """Return rows of the tasks that have an annotation.

    Args:
        tasks: id, data and the choices of every annotation.

    Raises:
        InputError: no task is annotated; tasks whose annotations do not agree, have no choice or several, or whose
            image is not said, all of them by their id.
    """
    numbers: list[int] = []
    rows: list[list[str]] = []
    bad: list[str] = []
    for place, (number, data, annotations) in enumerate(tasks, start=1):
        if not annotations:
            continue
        try:
            row = [_path(data), _label(annotations), str(data.get("given_label") or "")]
        except _RowError as error:
            bad.append(f"{path}, task {place if number is None else number}: {error}")
            continue
        numbers.append(number if isinstance(number, int) else place)
        rows.append(row)
    stop_on(bad)
    if not rows:
        raise InputError(f"{path} is Label Studio's, and no task in it is annotated; annotate some, and export again")
    if len(rows) < len(tasks):
        log.warning("%s: %d of %d tasks are not annotated and left out", path, len(tasks) - len(rows), len(tasks))
    columns = _COLUMNS if any(row[2] for row in rows) else _COLUMNS[:2]
    return Table(path, columns, numbers, [row[: len(columns)] for row in rows], "task ")


def _data(task: Object) -> Object:
    data = task.get("data")
    return data if isinstance(data, dict) else {}


def _choices(task: Object) -> list[list[str]]:
    """Return what each annotation that counts has chosen."""
    found = []
    for annotation in task.get("annotations") or []:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        results = [r for r in annotation.get("result") or [] if isinstance(r, dict) and r.get("type") == "choices"]
        # A project may ask for more than the label.
        named = [result for result in results if result.get("from_name") in _NAMES] or results
        found.append([choice for result in named for choice in _listed(result.get("value"))])
    return found


def _listed(value: Any) -> list[str]:
    value = value.get("choices") if isinstance(value, dict) else value
    return [str(choice) for choice in value] if isinstance(value, list) else [] if value is None else [str(value)]


def _name_of(row: Object) -> str:
    return next((name for name in _NAMES if name in row), _NAMES[0])


def _label(annotations: list[list[str]]) -> str:
    if not all(len(choices) == 1 for choices in annotations):
        raise _RowError(f"one choice is needed and {shown(str(max(annotations, key=len)))} were made")
    labels = {choices[0] for choices in annotations}
    if len(labels) > 1:
        raise _RowError(f"its annotations do not agree: {shown(', '.join(sorted(labels)))}")
    return labels.pop()


def _path(data: Object) -> str:
    for key in ("path", "file_name"):
        if data.get(key):
            return str(data[key])
    addresses = [value for value in data.values() if isinstance(value, str) and _is_image(value)]
    if len(addresses) != 1:
        raise _RowError(f"its data name {len(addresses)} images; give each task its file as `path`")
    (address,) = addresses
    parts = urlsplit(address)
    if parts.path.startswith(_LOCAL_FILES):
        return parse_qs(parts.query)["d"][0]
    if parts.path.startswith(_UPLOAD) or parts.scheme not in ("", "file"):
        raise _RowError(f"{shown(address)} is no file of the data folder; give each task its file as `path`")
    return parts.path if parts.scheme else address


def _is_image(value: str) -> bool:
    parts = urlsplit(value)
    name = parse_qs(parts.query).get("d", [""])[0] if parts.path.startswith(_LOCAL_FILES) else parts.path
    return Path(name).suffix.lower() in SUFFIXES
