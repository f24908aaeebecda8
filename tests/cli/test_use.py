"""``evaluate`` and ``predict``, around a run that only plays one."""

import csv
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Ended
from tests.data.inputs.test_tree import locked


class Run:
    """Calls every image by the first letter of its name; what is called ``broken`` cannot be read."""

    class_names = ("a", "b", "c, or d")
    on_features = False

    def evaluate(self) -> dict[str, Any]:
        return {"accuracy": 91.5, "classes": {"a": {"accuracy": 87.25, "num_test": 40}}}

    def classify(self, paths: list[Path]) -> Iterator[np.ndarray | str]:
        for path in paths:
            if path.stem == "broken":
                yield "is damaged"
            else:
                yield np.roll(np.array([0.75, 0.125, 0.125], np.float32), "abc".find(path.stem[0]))


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ebomlc_dist.api", SimpleNamespace(load=lambda run: Run()))


def test_evaluate_prints_figures(ebomlc: Callable[..., Ended]) -> None:
    assert ebomlc("evaluate", "run").out.splitlines() == [
        "figure    value",
        "accuracy  91.5000",
        "",
        "class  accuracy %  test images",
        "a      87.2500     40",
    ]
    assert json.loads(ebomlc("evaluate", "run", "--json").out) == Run().evaluate()


def write_images(place: Path, *names: str) -> None:
    for name in names:
        (place / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "images" / name).touch()


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_predict_writes_one_row_an_image_in_order(ebomlc: Callable[..., Ended], place: Path) -> None:
    write_images(place, "b/b2.PNG", "a, b/a1.jpg", "=1+1.png", ".hidden.png", "notes.txt", "b/.cache/3.png")
    assert ebomlc("predict", "run", "--images", "images", "--output", "p.csv").code == 0
    assert rows_of(place / "p.csv") == [
        ["path", "predicted_label", "confidence"],
        ["=1+1.png", "c, or d", "0.750000"],
        ["a, b/a1.jpg", "a", "0.750000"],
        ["b/b2.PNG", "b", "0.750000"],
    ]


def test_further_columns(ebomlc: Callable[..., Ended], place: Path) -> None:
    write_images(place, "b.png")
    assert ebomlc("predict", "run", "--images", "images", "--top-k", "2", "--probabilities").code == 0
    tops = ["top1_label", "top1_probability", "top2_label", "top2_probability"]
    every = ["probability_a", "probability_b", "probability_c, or d"]
    header, row = rows_of(place / "predictions.csv")
    assert header == ["path", "predicted_label", "confidence", *tops, *every]
    assert row[1:7] == ["b", "0.750000", "b", "0.750000", "a", "0.125000"]
    assert row[7:] == ["0.125000", "0.750000", "0.125000"]
    assert ebomlc("predict", "run", "--images", "images", "--top-k", "9").code == 0
    assert rows_of(place / "predictions.csv")[0][-2:] == ["top3_label", "top3_probability"]


def test_images_that_cannot_be_read_are_listed_and_others_written(ebomlc: Callable[..., Ended], place: Path) -> None:
    write_images(place, "a.png", "b.png", "x/broken.png", "broken.jpg")
    ended = ebomlc("predict", "run", "--images", "images")
    assert ended.code == 0
    assert [row[0] for row in rows_of(place / "predictions.csv")[1:]] == ["a.png", "b.png"]
    assert ended.out == "2 predictions: predictions.csv\n"
    assert ended.err == (
        "ebomlc: 2 of 4 images cannot be read and are skipped: 'broken.jpg' is damaged; 'x/broken.png' is damaged\n"
    )


def test_a_link_to_nothing_is_left_out_too(ebomlc: Callable[..., Ended], place: Path) -> None:
    write_images(place, "a.png")
    (place / "images" / "broken.png").symlink_to("gone.png")
    ended = ebomlc("predict", "run", "--images", "images")
    assert (ended.code, ended.out) == (0, "1 predictions: predictions.csv\n")
    assert "1 of 2 images cannot be read and are skipped: 'broken.png'" in ended.err


def test_where_none_can_be_read_nothing_is_written(ebomlc: Callable[..., Ended], place: Path) -> None:
    write_images(place, "broken.png", "x/broken.png")
    assert "none of 2 images can be read: 'broken.png'" in ebomlc("predict", "run", "--images", "images").refused()
    assert [path.name for path in place.iterdir()] == ["images"]


def test_what_is_no_file_is_written_to_and_stays(ebomlc: Callable[..., Ended], place: Path) -> None:
    write_images(place, "a.png")
    os.mkfifo(place / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((place / "pipe").read_bytes()))
    reader.start()
    ended = ebomlc("predict", "run", "--images", "images", "-o", "pipe")
    reader.join(timeout=20)
    assert (place / "pipe").is_fifo()
    assert found == [b"path,predicted_label,confidence\na.png,a,0.750000\n"]
    # Standard output may be the very place.
    assert (ended.code, ended.out, ended.err) == (0, "", "1 predictions: pipe\n")


def test_a_device_stays(ebomlc: Callable[..., Ended], place: Path) -> None:
    device = place / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, Path(os.devnull).stat().st_rdev)
        device.write_bytes(b"")
    except OSError:
        pytest.skip("devices cannot be made, or used, here")
    write_images(place, "a.png")
    assert ebomlc("predict", "run", "--images", "images", "-o", "null").code == 0
    assert device.is_char_device()


def test_a_linked_file_is_replaced_where_it_lies(ebomlc: Callable[..., Ended], place: Path) -> None:
    write_images(place, "a.png")
    (place / "elsewhere").mkdir()
    (place / "p.csv").symlink_to(place / "elsewhere" / "real.csv")
    for _ in range(2):
        assert ebomlc("predict", "run", "--images", "images", "-o", "p.csv").code == 0
        assert (place / "p.csv").is_symlink()
        assert len(rows_of(place / "elsewhere" / "real.csv")) == 2


def test_predict_names_links_as_they_are_called(ebomlc: Callable[..., Ended], place: Path) -> None:
    write_images(place, "b.png")
    (place / "images" / "a").mkdir()
    (place / "images" / "a" / "link.png").symlink_to("../b.png")
    assert ebomlc("predict", "run", "--images", "images", "--output", "p.csv").code == 0
    assert [row[0] for row in rows_of(place / "p.csv")[1:]] == ["b.png", "a/link.png"]


def test_predict_refuses_folders_that_it_cannot_see_and_links_out_of_them(
    ebomlc: Callable[..., Ended], place: Path
) -> None:
    write_images(place, "b.png")
    (place / "images" / "deep").mkdir()
    (place / "outside.png").touch()
    (place / "images" / "link.png").symlink_to("../outside.png")
    line = ebomlc("predict", "run", "--images", "images").refused()
    assert "'link.png' is a link that leaves the data folder" in line
    (place / "images" / "link.png").unlink()
    with locked(place / "images" / "deep"):
        assert "'images/deep' (Permission denied)" in ebomlc("predict", "run", "--images", "images").refused()
    assert not (place / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", "nowhere"], "not a folder"),
        (["--images", "empty"], "no images"),
        (["--images", "full", "-o", "nowhere/p.csv"], "--output"),
        (["--images", "full", "-o", "full"], "--output"),
    ],
)
def test_predict_refuses_in_one_line(
    arguments: list[str], words: str, ebomlc: Callable[..., Ended], place: Path
) -> None:
    (place / "empty").mkdir()
    (place / "full").mkdir()
    (place / "full" / "1.png").touch()
    assert words in ebomlc("predict", "run", *arguments).refused()
