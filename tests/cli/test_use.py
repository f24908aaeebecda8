"""``evaluate`` and ``predict``, around a run that only plays one."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.conftest import Ended
from tests.data.test_tree import locked


@dataclass(frozen=True)
class Prediction:
    label: str
    confidence: float


class Run:
    """Calls every image by its own name."""

    def evaluate(self) -> dict[str, float]:
        return {"accuracy": 91.5}

    def predict(self, paths: list[Path]) -> list[Prediction]:
        return [Prediction(f"class {path.stem}", 0.75) for path in paths]


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ebomlc_dist.api", SimpleNamespace(load=lambda run: Run()))


def test_evaluate_prints_figures(ebomlc: Callable[..., Ended]) -> None:
    assert "91.5000" in ebomlc("evaluate", "run").out
    assert json.loads(ebomlc("evaluate", "run", "--json").out) == {"accuracy": 91.5}


def test_predict_writes_one_row_an_image_in_order(ebomlc: Callable[..., Ended], place: Path) -> None:
    names = ["b/2.PNG", "a, b/1.jpg", "=1+1.png", ".hidden.png", "notes.txt", "b/.cache/3.png"]
    for name in names:
        (place / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "images" / name).touch()
    assert ebomlc("predict", "run", "--images", "images", "--output", "p.csv").code == 0
    with (place / "p.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["path", "predicted_label", "confidence"],
        ["=1+1.png", "class =1+1", "0.750000"],
        ["a, b/1.jpg", "class 1", "0.750000"],
        ["b/2.PNG", "class 2", "0.750000"],
    ]


def test_predict_names_links_as_they_are_called(ebomlc: Callable[..., Ended], place: Path) -> None:
    (place / "images" / "a").mkdir(parents=True)
    (place / "images" / "b.png").touch()
    (place / "images" / "a" / "link.png").symlink_to("../b.png")
    assert ebomlc("predict", "run", "--images", "images", "--output", "p.csv").code == 0
    rows = (place / "p.csv").read_text().splitlines()[1:]
    assert rows == ["b.png,class b,0.750000", "a/link.png,class b,0.750000"]


def test_predict_refuses_what_it_cannot_see(ebomlc: Callable[..., Ended], place: Path) -> None:
    (place / "images" / "deep").mkdir(parents=True)
    (place / "images" / "b.png").touch()
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
