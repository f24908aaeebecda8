"""The folder to try things on is one that ``ebomlc train folder`` reads, with the noise it speaks of."""

import csv
from pathlib import Path

import pytest

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.datasets import load_source
from tools.example_folder import run


def test_what_it_writes_is_read_back(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    arguments = [str(folder), "--data-dir", str(data_dir), "--images", "200", "--trusted", "50", "--test", "30"]
    assert run([*arguments, "--noise-rate", "0.5"]) == 0
    source = load_source(DataConfig(dataset="folder", data_dir=folder))
    assert source.trusted is not None
    assert (len(source.labels), len(source.trusted), len(source.test_labels)) == (250, 50, 30)
    with (folder / "truth.csv").open(newline="") as file:
        truth = {row["path"]: row["label"] for row in csv.DictReader(file)}
    given = {name: source.class_names[label] for name, label in zip(source.ids, source.labels.tolist(), strict=True)}
    assert truth.keys() == {name for name in given if name.startswith("train/")}
    wrong = sum(given[name] != label for name, label in truth.items())
    assert f"200 images to train on, {wrong / 2:.2f} % of them with a wrong label" in capsys.readouterr().out
    assert 70 < wrong < 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{here}"], "is there already"),
        (["{here}/new", "--images", "3"], "--images 3: ten classes need 10 or more"),
        (["{here}/new", "--noise", "loud"], "loud"),
    ],
)
def test_bad_input(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([word.format(here=tmp_path) for word in arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
