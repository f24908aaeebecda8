"""Bad input is one line on stderr, nothing on stdout, and exit code 2, before anything is trained or written."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.cli.conftest import Ended, FakeEngine, refuse

LINES = [
    (["train", "digts"], "did you mean 'digits'"),
    (["train", "--method", "eblmc"], "did you mean 'ebomlc'"),
    (["train", "--method", "ce", "--set", "noise.rte=1"], "did you mean 'noise.rate'"),
    (["train", "--noise-rate", "1.4"], "noise.rate = '1.4' (--noise-rate)"),
    (["train", "--noise-rate", "-0.1"], "≥ 0"),
    (["train", "--noise", "unifrm"], "did you mean 'uniform'"),
    (["train", "--epochs", "0"], "≥ 1"),
    (["train", "--seed", "one"], "--seed"),
    (["train", "--precision", "fp8"], "'no', 'tf32', 'bf16', 'fp16' or 'auto'"),
    (["train", "--config", "missing.json"], "missing.json does not exist"),
    (["train", "--set", "noise.rate"], "key=value"),
    (["train", "--nose-rate", "1"], "--noise-rate"),
    (["train", "--resume", "sometimes", "-o", "out"], "sometimes"),
    (["train", "--device", "tpu"], "'tpu'"),
    (["train", "--num-processes", "0"], "--num-processes 0"),
    (["train", "--num-processes", "3", "--num-machines", "2"], "equally many"),
    (["train", "--num-processes", "2", "--num-machines", "2"], "--main-process-ip"),
    (["train", "--num-processes", "2", "--num-machines", "2", "--machine-rank", "2"], "0…1"),
    (["train", "--num-machines", "2"], "--num-processes"),
    (["trian"], "'train'"),
    (["list", "recipe"], "recipes"),
    (["status", "nowhere"], "holds no run"),
    (["status", "."], "holds no run"),
    (["predict", "nowhere"], "--images"),
]


@pytest.mark.parametrize(("arguments", "words"), LINES, ids=[" ".join(line) for line, _ in LINES])
def test_a_bad_command_line(
    arguments: list[str], words: str, ebomlc: Callable[..., Ended], engine: FakeEngine, place: Path
) -> None:
    assert words in ebomlc(*arguments).refused()
    assert engine.calls == []
    assert list(place.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(ebomlc: Callable[..., Ended], place: Path) -> None:
    assert "--device cuda" in ebomlc("train", "--device", "cuda").refused()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits", "--clean-size", "5000"], "--clean-size"),
        (["digits", "--model", "resnt32"], "did you mean 'resnet32'"),
        (["digits", "--dataset", "digit"], "did you mean 'digits'"),
        (["digits", "--set", "train.trackers=tensorbord"], "tensorbord"),
        (["digits", "--split", "missing.json"], "missing.json"),
        (["folder", "--data-dir", "nowhere"], "nowhere"),
        (["folder", "--data-dir", "own"], "--clean-csv"),
        (["folder", "--data-dir", "own", "--method", "ce"], "dog"),
        (["folder", "--data-dir", "own", "--noisy-csv", "labels.csv"], "labels.csv"),
        (["folder", "--data-dir", "bad", "--method", "ce"], "train/cat/1.png"),
        (["cifar10-uniform40", "--data-dir", "own", "--set", "data.download=false"], "own"),
    ],
)
def test_bad_data_are_found_before_any_process_starts(
    arguments: list[str], words: str, ebomlc: Callable[..., Ended], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebomlc_dist.launch.processes.launch", refuse)
    for name in ("cat", "dog"):
        (place / "own" / "train" / name).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(place / "own" / "train" / "cat" / "1.png")
    (place / "bad" / "train" / "cat").mkdir(parents=True)
    (place / "bad" / "train" / "cat" / "1.png").write_bytes(b"no image")
    (place / "labels.csv").write_text("path,label\ntrain/cat/1.png,cat\ntrain/cat/2.png,dog\n")
    assert words in ebomlc("train", *arguments, "--num-processes", "2", "-o", "out").refused()
    assert not (place / "out").exists()


def test_control_characters_of_a_name_do_not_reach_the_terminal(ebomlc: Callable[..., Ended]) -> None:
    line = ebomlc("train", "a\nb\x1b]0;title\x07\u202e\udcff").refused()
    assert line.isprintable()
    assert r"\x1b" in line


def test_warnings_are_lines_too_from_the_first_rank_alone(
    ebomlc: Callable[..., Ended], engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(*_: object) -> FakeEngine:
        logging.getLogger("ebomlc_dist.engine").warning("a checkpoint was passed over\n%s", "\x1b[2J")
        return engine

    monkeypatch.setattr("ebomlc_dist.distributed.runtime.Runtime.start", warn)
    assert ebomlc("train", "-o", "first").err == "ebomlc: a checkpoint was passed over\\n\\x1b[2J\n"
    monkeypatch.setenv("RANK", "1")
    assert ebomlc("train", "-o", "second").err == ""


def test_a_choice_that_is_missing(ebomlc: Callable[..., Ended]) -> None:
    assert "Choose from: methods, recipes, datasets, models, grids (see" in ebomlc("list").refused()
