"""Whole runs on features: every method trains, is audited and used, and what does not go with features is refused."""

import csv
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ebomlc_dist
from ebomlc_dist.api import TrainedRun
from ebomlc_dist.cli import run as ebomlc
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import METHODS
from ebomlc_dist.models.card import FEATURES_USE
from ebomlc_dist.models.hub import load_model
from tests.methods.rows import ROWS
from tests.support.runs import assert_same

N, D, K = 400, 8, 3
_RNG = np.random.default_rng(0)
TRUE = _RNG.integers(0, K, N)
FEATURES = (_RNG.normal(scale=4.0, size=(K, D))[TRUE] + _RNG.normal(size=(N, D))).astype(np.float32)
WRONG = _RNG.random(N) < 0.3
NOISY = np.where(WRONG, (TRUE + 1) % K, TRUE)
TRUSTED, TEST = np.arange(60), np.arange(60, 100)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: features and noisy labels, trusted and test rows, and a text for each row."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", FEATURES.astype(np.float16))
    np.save("y.npy", NOISY)
    for name, rows in (("trusted.csv", TRUSTED), ("test.csv", TEST)):
        Path(name).write_text("id,label\n" + "".join(f"{row},{TRUE[row]}\n" for row in rows))
    Image.new("RGB", (9, 7), "red").save("red.png")
    shown = ["../outside.png" if row % 2 else "red.png" for row in range(N)]
    Path("inputs.csv").write_text("path,text\n" + "".join(f'{path},"row {n} <b>"\n' for n, path in enumerate(shown)))
    return tmp_path


def words(*more: str) -> list[str]:
    given = ["--features", "x.npy", "--labels", "y.npy", "--trusted", "trusted.csv", "--test-csv", "test.csv", "-q"]
    return ["train", *given, "--set", "train.trackers=[]", *more]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_features(method: str, files: Path, one_thread: None) -> None:
    settings = [f"--set=method.{key}={json.dumps(value)}" for key, value in ROWS[method].short_run.items()]
    sizes = ["--epochs", "6", "--batch-size", "40", "--clean-batch-size", "40"]
    truth = ["--labels", "true.npy", "--noise", "uniform", "--noise-rate", "0.3"]
    np.save("true.npy", TRUE)
    assert ebomlc(words("--method", method, *sizes, *truth, *settings, "-o", "run")) == 0
    assert json.loads(Path("run/summary.json").read_text())["accuracy_last"] > 80


def test_from_features_to_an_audit_and_a_next_round(files: Path, one_thread: None) -> None:
    assert ebomlc(words("--inputs-csv", "inputs.csv", "--audit", "-o", "run")) == 0
    with Path("run/audit/labels.csv").open() as file:
        rows = {int(row["id"]): row for row in csv.DictReader(file)}
    assert set(rows) == set(range(100, N))
    flagged = {number for number, row in rows.items() if row["is_label_issue"] == "True"}
    wrong = {int(row) for row in np.flatnonzero(WRONG) if row >= 100}
    assert len(flagged & wrong) / len(flagged | wrong) > 0.9
    text = Path("run/audit/report.html").read_text()
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert data["key"] == "id"
    for card in data["cards"]:
        assert card["text"] == f"row {card['id']} <b>"
        # What lies outside the table's folder is not opened.
        assert ("image" in card) == (int(card["id"]) % 2 == 0)
    assert "<b>" not in text.split('id="data">')[1].split("</script>")[0]
    again = ["--config", "run/config.json", "--split", "run/audit/corrected_split.json", "--noise", "none"]
    assert ebomlc(["train", *again, "-q", "-o", "second"]) == 0
    assert ebomlc(["evaluate", "second"]) == 0


def test_exports_of_pictures_are_refused(files: Path, one_thread: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert ebomlc(words("--method", "ce", "--epochs", "1", "-o", "run")) == 0
    assert ebomlc(["audit", "run", "--export", "label-studio", "-q"]) == 2
    assert (
        "--export label-studio hands images on, and these data are features; take cleanlab" in capsys.readouterr().err
    )
    assert ebomlc(["audit", "run", "--export", "cleanlab", "-q"]) == 0


def test_predictions_of_features_and_of_the_card(files: Path, one_thread: None) -> None:
    assert ebomlc(words("-o", "run")) == 0
    np.savez("new.npz", features=FEATURES[:9], ids=[f"new {row}" for row in range(9)])
    assert ebomlc(["predict", "run", "--features", "new.npz", "-o", "found.csv"]) == 0
    with Path("found.csv").open() as file:
        rows = list(csv.DictReader(file))
    run = ebomlc_dist.load("run")
    expected = run.predict_proba(FEATURES[:9])
    assert [row["id"] for row in rows] == [f"new {row}" for row in range(9)]
    assert [row["predicted_label"] for row in rows] == [run.class_names[k] for k in expected.argmax(axis=1)]
    assert (expected.argmax(axis=1) == TRUE[:9]).mean() > 0.8
    Path("use.py").write_text(FEATURES_USE.replace("path/to/this/folder", "run/model"))
    told = runpy.run_path("use.py", {"features": torch.from_numpy(FEATURES[:9])})
    assert told["names"] == [row["predicted_label"] for row in rows]
    assert FEATURES_USE in Path("run/model/README.md").read_text()
    assert load_model(Path("run/model"))[1]["preprocessing"]["image_size"] is None


def test_the_format_of_the_file_decides_nothing(files: Path, one_thread: None) -> None:
    """A mapped ``.npy``, and an archive that is read whole."""
    assert ebomlc(words("--epochs", "2", "-o", "control")) == 0
    np.savez_compressed("x.npz", features=np.load("x.npy"))
    assert ebomlc(["train", "--features", "x.npz", *words("--epochs", "2", "-o", "run")[3:]]) == 0
    assert_same(files / "run", files / "control")


def from_python(folder: Path, **changes: object) -> TrainedRun:
    arguments: dict = {"images": FEATURES, "labels": NOISY, "trusted": TRUSTED, "output_dir": folder, "quiet": True}
    return ebomlc_dist.fit(**{**arguments, "test": (FEATURES[TEST], TRUE[TEST]), **changes})


def test_fit_takes_features(tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.where(np.isin(np.arange(N), TRUSTED), TRUE, NOISY)
    run = from_python(tmp_path / "run", labels=labels, quiet=False)
    told = capsys.readouterr().err
    assert "340 noisy rows of 8 features, 60 trusted, 3 classes; mlp, 15 epochs" in told
    assert "image_size=" not in told
    assert run.summary["accuracy_last"] > 90
    issues = run.find_label_issues()
    assert WRONG[issues.indices[: issues.num_flagged]].mean() > 0.8
    assert run.predict_proba(torch.from_numpy(FEATURES[:5])).shape == (5, K)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet8"}, "model 'resnet8' does not take rows of 8 features.*choose.*mlp or linear"),
        ({"image_size": 32}, "`image_size=` is for images"),
        ({"settings": {"data.augment": "pad-crop"}}, "data.augment=pad-crop is for images"),
        ({"settings": {"train.evaluation_views": "flip"}}, "mirrors images, and these data are features"),
        ({"images": np.where(np.arange(N)[:, None] == 7, np.nan, FEATURES)}, "features, row 7 holds a value"),
        ({"test": (FEATURES[:, :3], TRUE)}, "test holds rows of 3 features and the others are rows of 8"),
        ({"test": (np.zeros((N, 8, 8), np.uint8), TRUE)}, "test holds images of 8×8×1 and the others are rows of 8"),
        ({"labels": NOISY[:9]}, "400 .*and 9 labels"),
    ],
)
def test_what_does_not_go_with_features_is_refused(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        from_python(tmp_path / "run", **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_model_of_features_takes_no_images_and_no_other_width(tmp_path: Path, one_thread: None) -> None:
    run = from_python(tmp_path / "run", method="ce", model="linear", epochs=1)
    with pytest.raises(InputError, match="the model takes 8 features and these are rows of 7 features"):
        run.predict_proba(FEATURES[:, :7])
    with pytest.raises(InputError, match=r"shape \(4, 8, 8\); features are \(N, D\)"):
        run.predict_proba(np.zeros((4, 8, 8)))
    with pytest.raises(InputError, match="model 'mlp' does not take images of 1×32×32: it takes features"):
        ebomlc_dist.fit(np.zeros((60, 8, 8), np.uint8), np.arange(60) % 3, np.arange(9), model="mlp", quiet=True)


LINES: list[tuple[Callable[[], list[str]], str]] = [
    (lambda: ["train", "--dataset", "features"], "--dataset features needs --features FILE"),
    (lambda: ["train", "features", "--features", "x.npy"], "holds no labels; give them with --labels"),
    (lambda: words("--model", "resnet8"), "choose --model mlp or linear"),
    (lambda: words("--augment", "pad-crop"), "give --augment none"),
    (lambda: words("--loader", "ffcv"), "ffcv"),
    (lambda: ["predict", "."], "needs --images DIR, or --features FILE"),
]


@pytest.mark.parametrize(("line", "message"), LINES)
def test_a_bad_command_ends_with_one_line_and_code_2(
    line: Callable[[], list[str]], message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(files.iterdir())
    assert ebomlc(line()) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert sorted(files.iterdir()) == before
