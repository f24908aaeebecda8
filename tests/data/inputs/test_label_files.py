"""Labels from other tools' files: read where they give an image one label, else named for what they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.datasets import load_source
from ebomlc_dist.data.inputs.csv_table import Table
from ebomlc_dist.data.inputs.label_files import read_table
from ebomlc_dist.errors import InputError
from tests.data.support import write_lines, write_tree

CHOICE = {"from_name": "label", "to_name": "image", "type": "choices"}


def annotated(*choices: str, name: str = "label", **more: Any) -> dict[str, Any]:
    return {"result": [{**CHOICE, "from_name": name, "value": {"choices": list(choices)}}], **more}


def task(number: int, data: dict[str, Any], *annotations: dict[str, Any]) -> dict[str, Any]:
    predicted = [{"result": [{**CHOICE, "value": {"choices": ["predicted"]}}]}]
    return {"id": number, "data": data, "annotations": list(annotations), "predictions": predicted}


def written(place: Path, value: Any, name: str = "export.json") -> Path:
    (place / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return place / name


def cells(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


OURS = {
    "image": "/data/local-files/?d=label-studio/images/0000003.png",
    "path": "train/ant/0.png",
    "given_label": "ant",
}
TASKS = [
    task(7, OURS, annotated("bee")),
    task(8, {"image": "/data/local-files/?d=train/ant%2C%201/1.png"}, annotated("ant", name="choice")),
    task(9, {"picture": "train/bee/1.png", "note": "a.b"}, annotated("ant"), annotated("bee", was_cancelled=True)),
    task(10, {"image": "train/bee/2.png"}),
    task(11, {"image": "train/bee/0.png"}, annotated("ant", was_cancelled=True)),
]
READ = [
    {"path": "train/ant/0.png", "label": "bee", "noisy_label": "ant"},
    {"path": "train/ant, 1/1.png", "label": "ant", "noisy_label": ""},
    {"path": "train/bee/1.png", "label": "ant", "noisy_label": ""},
]


def test_label_studio(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = read_table(written(tmp_path, TASKS))
    assert cells(table) == READ
    assert table.where(1) == f"{tmp_path / 'export.json'}, task 8"
    assert [line.partition(": ")[2] for line in caplog.messages] == ["2 of 5 tasks are not annotated and left out"]


def test_label_studio_min(tmp_path: Path) -> None:
    common = {"annotator": 1, "annotation_id": 5, "lead_time": 1.5}
    rows = [
        {**OURS, "id": 7, "label": "bee", **common},
        {"image": "/data/local-files/?d=train/ant%2C%201/1.png", "id": 8, "choice": "ant", **common},
        {"picture": "train/bee/1.png", "note": "a.b", "id": 9, "label": "ant", **common},
        {"image": "train/bee/2.png", "id": 10, **common},
    ]
    assert cells(read_table(written(tmp_path, rows))) == READ


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (task(3, OURS, annotated("ant", "bee")), "one choice is needed"),
        (task(3, OURS, annotated()), "one choice is needed"),
        (task(3, OURS, annotated("ant"), annotated("bee")), "its annotations do not agree: 'ant, bee'"),
        (task(3, {"image": "/data/upload/1/0c-x.png"}, annotated("ant")), "is no file of the data folder"),
        (task(3, {"image": "https://host/x.png"}, annotated("ant")), "is no file of the data folder"),
        (task(3, {"text": "an ant"}, annotated("ant")), "name 0 images"),
    ],
)
def test_tasks_that_say_no_single_thing(broken: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^1 bad row: .*export\.json, task 3: ") as caught:
        read_table(written(tmp_path, [*TASKS, broken]))
    assert reason in str(caught.value)


def test_nothing_annotated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is Label Studio's, and no task in it is annotated"):
        read_table(written(tmp_path, TASKS[3:]))


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.json", "labels.csv"])
def test_one_object_a_line(name: str, tmp_path: Path) -> None:
    lines = [{"file_name": "a.png", "label": "ant", "boxes": [1]}, {"file_name": "b.png", "label": 3, "width": 8}]
    table = read_table(written(tmp_path, "\ufeff" + "\n\n".join(map(json.dumps, lines)) + "\n", name))
    assert cells(table) == [
        {"file_name": "a.png", "label": "ant", "width": ""},
        {"file_name": "b.png", "label": "3", "width": "8"},
    ]
    assert table.where(1) == f"{tmp_path / name}:3"


def test_several_labels_in_a_line(tmp_path: Path) -> None:
    lines = ['{"file_name": "a.png", "label": "ant"}', '{"file_name": "b.png", "label": ["ant", "bee"]}']
    with pytest.raises(InputError, match=r"1 bad row: .*metadata\.jsonl:2: label .* is no single one"):
        read_table(write_lines(tmp_path / "metadata.jsonl", *lines))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"images": [], "annotations": [], "categories": []}, "is a COCO file"),
        ({"classes": [], "labels": {}}, "is a FiftyOne label file"),
        ({"a.png": "ant"}, "is JSON with the keys 'a.png'"),
        ([1, 2], "is JSON, and no list of labels"),
        ("{", "is not JSON"),
    ],
)
def test_other_json_is_named(value: Any, kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=kind):
        read_table(written(tmp_path, value))


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"PK\x03\x04\xff", "an Excel workbook"),
        (b"PAR1\xff", "a Parquet file"),
        ("path,label".encode("utf-16"), "UTF-16"),
    ],
)
def test_other_files_are_named(begin: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(begin)
    with pytest.raises(InputError, match=rf"labels\.csv is not UTF-8 text but {kind}.*save it as CSV in UTF-8"):
        read_table(tmp_path / "labels.csv")


def test_a_source_by_both(tmp_path: Path) -> None:
    write_tree(tmp_path, ["train"])
    lines = (json.dumps({"file_name": f"{n}/{i}.png", "label": n}) for n in ("ant", "bee") for i in range(3))
    noisy = write_lines(tmp_path / "train" / "metadata.jsonl", *lines)
    tasks = [task(1, OURS, annotated("bee")), task(2, {**OURS, "path": "train/bee/1.png"}, annotated("ant"))]
    clean = written(tmp_path, tasks)
    source = load_source(DataConfig(dataset="folder", data_dir=tmp_path, noisy_csv=noisy, clean_csv=clean))
    assert source.labels.tolist() == [0, 0, 1, 1, 1, 0]
    assert source.trusted is not None
    assert source.trusted_old_labels is not None
    assert source.trusted_old_labels.tolist() == [0, 0]
