"""Training from Python: what a notebook hands over, what it is told, and what is refused before training."""

import json
import re
import runpy
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import ebomlc_dist
from ebomlc_dist.api import TrainedRun
from ebomlc_dist.engine import stop
from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.errors import InputError
from ebomlc_dist.models.card import CLASSIFIER_USE
from ebomlc_dist.models.hub import load_model
from ebomlc_dist.monitoring.progress import ProgressReport
from ebomlc_dist.monitoring.record import RunRecord
from ebomlc_dist.recipes.python_words import in_python
from ebomlc_dist.recipes.suited import suited

FOUND = load_digits()
IMAGES = (FOUND.images * 255 / 16).astype(np.uint8)[:200]
LABELS = FOUND.target[:200]
TRUSTED = np.arange(50)
SHORT: dict[str, Any] = {"epochs": 1, "settings": {"train.trackers": []}}


def fit(folder: Path, **changes: Any) -> TrainedRun:
    """One epoch on 200 digits."""
    arguments = {"images": IMAGES, "labels": LABELS, "trusted": TRUSTED, "output_dir": folder, **SHORT}
    return ebomlc_dist.fit(**{**arguments, **changes})


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return fit(tmp_path_factory.mktemp("grey") / "run", test=(IMAGES, LABELS), quiet=True)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    images = np.repeat(IMAGES[:, None], 3, axis=1)
    return fit(tmp_path_factory.mktemp("coloured") / "run", images=images, method="ce", quiet=True)


def test_every_form_of_the_same_data_trains_the_same_run(grey: TrainedRun, tmp_path: Path) -> None:
    """Floats, names, a mask and NumPy's numbers, in a thread beside the main one."""
    found: list[TrainedRun | BaseException] = []

    def work() -> None:
        try:
            run = fit(
                tmp_path / "run",
                images=torch.from_numpy(IMAGES[:, None] / 255),
                labels=[str(label) for label in LABELS[:, None].ravel()],
                trusted=np.arange(200) < 50,
                test=(IMAGES[..., None], LABELS),
                epochs=np.int64(1),
                settings={"train.trackers": (), "optim.main_lr": np.float64(0.05)},
                quiet=True,
            )
            found.append(run)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (run,) = found
    assert isinstance(run, TrainedRun), run
    assert run.summary["accuracy_last"] == grey.summary["accuracy_last"]
    np.testing.assert_array_equal(run.predict_proba(IMAGES), grey.predict_proba(IMAGES))


def test_channels_first_are_not_taken_for_rows(coloured: TrainedRun) -> None:
    _, config = load_model(coloured.folder / "model")
    assert config["in_channels"] == 3
    assert config["preprocessing"]["image_size"] == [8, 8]


def test_an_image_alone_is_a_batch_of_one(grey: TrainedRun, coloured: TrainedRun) -> None:
    whole = coloured.predict_proba(np.repeat(IMAGES[:2, ..., None], 3, axis=3))
    np.testing.assert_allclose(coloured.predict_proba(np.repeat(IMAGES[0, ..., None], 3, axis=2)), whole[:1], atol=1e-6)
    np.testing.assert_allclose(coloured.predict_proba(IMAGES[0]), whole[:1], atol=1e-6)
    np.testing.assert_allclose(grey.predict_proba(IMAGES[0] / 255), grey.predict_proba(IMAGES[:1]), atol=1e-6)
    assert grey.predict_proba(IMAGES[:0]).shape == (0, 10)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 8, 8, 4), "takes 3 channel.s. and images have 4"),
        ((3, 8, 8), "three grey images, or one with its channels"),
    ],
)
def test_other_channels_are_refused(coloured: TrainedRun, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        coloured.predict_proba(np.zeros(shape, np.uint8))


def test_colours_are_refused_by_a_grey_model(grey: TrainedRun) -> None:
    with pytest.raises(InputError, match=r"takes 1 channel\(s\) and images have 3"):
        grey.predict_proba(np.zeros((2, 8, 8, 3), np.uint8))


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no trusted images": ({"trusted": None}, r"needs trusted images: give `trusted=`.*`clean_from_noisy=True`"),
    "an empty list of them": ({"trusted": []}, r"needs trusted images: give `trusted=`"),
    "a class without one": ({"trusted": [0, 1]}, r"8 of 10 classes have no trusted image.*`trusted=`"),
    "a class that is trusted whole": ({"trusted": LABELS == LABELS}, "have no noisy image.*leave one at least out"),
    "both": ({"clean_from_noisy": True}, "exclude each other"),
    "too many of them asked for": (
        {"trusted": None, "settings": {"noise.kind": "uniform", "noise.rate": 0.2, "data.clean_size": 199}},
        r"199 trusted images need .* data\.clean_size .*`settings=`",
    ),
    "an unknown key": ({"settings": {"train.epoch": 1}}, r"'train.epoch' \(settings\).*'train.epochs'"),
    "a value out of range": ({"epochs": 0}, r"train.epochs = 0 \(epochs=\)"),
    "one thing said twice": ({"settings": {"train.epochs": 2}}, r"epochs= and 'train.epochs' in settings"),
    "a method among the settings": ({"settings": {"method.name": "ce"}}, "give the method as `method=`"),
    "data among the settings": ({"settings": {"data.dataset": "cifar10"}}, "trains on the arrays"),
    "an unknown model": ({"model": "resnet9"}, "unknown model 'resnet9'.*'resnet8'"),
    "a model of another size": (
        {"model": "torchvision/vit_b_16", "image_size": 32},
        r"set another size with `image_size=`",
    ),
    "a method that needs the truth": ({"method": "ce-oracle"}, r"choose another `method=`"),
    "an optimiser that does not fit": (
        {"method": "mlc", "settings": {"optim.main_optimizer": "adam"}},
        r"choose that \(optim.main_optimizer=…\).*`settings=`",
    ),
    "nothing to resume": ({"resume": True, "output_dir": None}, "resume=True needs output_dir="),
    "unequal test arrays": ({"test": (IMAGES[:3], LABELS[:2])}, "3 test images and 2 test labels"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_speaks_python_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    change, message = REFUSALS[case]
    with pytest.raises(InputError, match=message) as refused:
        fit(tmp_path / "deep" / "run", **change, quiet=True)
    assert "--" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "python"),
    [
        ("give --clean-size 20 or less", "give data.clean_size 20 or less (dotted keys go into `settings=`)"),
        ("continue it with `--resume auto -o a/b`, or", "continue it with `output_dir='a/b', resume=True`, or"),
        ("with `--resume auto -o 'a b'`", "with `output_dir='a b', resume=True`"),
        ("choose another folder with `-o FOLDER`", "choose another folder with `output_dir=`"),
        ("choose another one with -o", "choose another one with `output_dir=`"),
        ("or choose another --model", "or choose another `model=`"),
        ("well-known -- and pad-crop-flip", "well-known -- and pad-crop-flip"),
    ],
)
def test_flags_are_said_as_arguments(line: str, python: str) -> None:
    assert in_python(line) == python


def test_a_cell_that_is_run_twice_says_what_to_do(tmp_path: Path) -> None:
    first = fit(tmp_path / "run", method="ce", quiet=True)
    with pytest.raises(InputError, match=r"holds a finished run; open it with `ebomlc_dist\.load\('.*run'\)`"):
        fit(tmp_path / "run", method="ce", quiet=True)
    assert ebomlc_dist.load(tmp_path / "run").summary == first.summary


def test_an_interrupted_fit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(tmp_path / "whole", method="ce", epochs=2, quiet=True)
    step = RunRecord.step

    def stopping(self: RunRecord, done: int) -> None:
        step(self, done)
        if done == 3:
            (tmp_path / "run" / "STOP").touch()

    monkeypatch.setattr(RunRecord, "step", stopping)
    monkeypatch.setattr(stop, "LOOK_S", 0.0)
    with pytest.raises(Stopped, match=r"continue with `output_dir='.*run', resume=True`"):
        fit(tmp_path / "run", method="ce", epochs=2, quiet=True)
    with pytest.raises(InputError, match=r"continue it with `output_dir='.*run', resume=True`"):
        fit(tmp_path / "run", method="ce", epochs=2, quiet=True)
    monkeypatch.undo()
    run = fit(tmp_path / "run", method="ce", epochs=2, resume=True, quiet=True)
    np.testing.assert_array_equal(run.predict_proba(IMAGES), whole.predict_proba(IMAGES))


def test_lines_say_what_was_chosen_and_what_came_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path / "run", method="ce", test=(IMAGES, LABELS), epochs=1)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert "ce on 150 noisy images of 8×8, no trusted set used, 10 classes; digits-cnn at 8×8, 1 epochs" in first
    assert "batch 20, lr 0.05, cpu" in first
    assert "Change it with model=, image_size=, epochs=, batch_size=, lr=" in first
    assert last.startswith("fit: test accuracy ")
    assert str(tmp_path / "run") in last
    fit(tmp_path / "quiet", method="ce", quiet=True)
    assert capsys.readouterr().err == ""


def test_arguments_reach_the_run_before_what_is_chosen(tmp_path: Path) -> None:
    fit(tmp_path / "run", model="resnet8", image_size=16, epochs=1, batch_size=40, lr=0.2, method="ce", quiet=True)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["name"] == "resnet8"
    assert config["data"]["image_size"] == 16
    assert config["optim"]["main_lr"] == 0.2
    assert config["train"]["global_noisy_batch_size"] == config["train"]["global_clean_batch_size"] == 40


@pytest.mark.parametrize(
    ("images", "gpu", "model", "side", "epochs", "batch"),
    [
        ((300, 3, 250), False, "resnet8", 64, 120, 30),
        ((300, 3, 250), True, "torchvision/resnet18", 224, 120, 30),
        ((1697, 1, 8), False, "digits-cnn", 8, 59, 100),
        ((10_000, 1, 28), False, "resnet8", 32, 10, 100),
        ((10_000, 3, 32), False, "resnet8", 32, 10, 100),
        ((10_000, 3, 40), False, "resnet8", 40, 10, 100),
        ((50_000, 3, 32), True, "resnet32", 32, 40, 100),
        ((1_000_000, 3, 32), False, "resnet8", 32, 8, 100),
    ],
)
def test_what_is_chosen_suits_the_images_and_the_device(
    images: tuple[int, int, int], gpu: bool, model: str, side: int, epochs: int, batch: int
) -> None:
    found = suited(*images, gpu=gpu)
    assert found["model.name"] == model
    assert found["data.image_size"] == side
    assert found["train.epochs"] == epochs
    assert found["train.global_noisy_batch_size"] == batch
    assert found["data.augment"] == ("pad-crop" if images[1] == 1 else "pad-crop-flip")
    own = suited(*images, gpu=gpu, model="resnet56", image_size=40)
    assert (own["model.name"], own["data.image_size"]) == ("resnet56", 40)
    assert suited(*images, gpu=gpu, model="torchvision/vit_b_16")["data.image_size"] == 224


@pytest.mark.parametrize("size", ["auto", None])
def test_without_a_size_arrays_get_what_is_usual_for_their_model(
    size: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"train.trackers": [], "data.image_size": size}
    run = fit(tmp_path / "run", model="resnet8", method="ce", settings=settings)
    assert "resnet8 at 32×32" in capsys.readouterr().err
    assert load_model(run.folder / "model")[1]["preprocessing"]["image_size"] == [32, 32]


def test_a_notebook_has_one_line_that_is_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setattr("ebomlc_dist.monitoring.progress.time", SimpleNamespace(monotonic=iter(range(100)).__next__))
    report = ProgressReport("ce", 4, 2)
    for done in (1, 2, 4):
        report.step(done)
    report.close()
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.endswith("\n")
    assert shown.out.count("\n") == 1
    lines = shown.out[:-1].split("\r")
    assert lines[0] == ""
    assert [line.split("step ")[1].split()[0] for line in lines[1:]] == ["1/4", "2/4", "4/4"]


def test_the_card_says_what_a_stranger_needs(grey: TrainedRun) -> None:
    card = (grey.folder / "model" / "README.md").read_text()
    assert "| wrong labels among them | unknown: the labels are noisy as they came |" in card
    assert "| 3 | 3 |" in card
    assert "Resize it to 8×8 pixels" in card
    assert "one grey channel" in card
    assert not re.search(r"None\b(?!,)(?!\])", card)
    assert f"value: {grey.summary['accuracy_last']:.2f}".rstrip("0") in card
    corrector = (grey.folder / "meta_model" / "README.md").read_text()
    assert "A label corrector" in corrector
    assert "image-classification" not in corrector


def test_the_cards_code_does_what_it_says(grey: TrainedRun, tmp_path: Path) -> None:
    code = CLASSIFIER_USE.replace("path/to/this/folder", str(grey.folder / "model"))
    assert f"```python\n{CLASSIFIER_USE}\n```" in (grey.folder / "model" / "README.md").read_text()
    (tmp_path / "use.py").write_text(code)
    names = runpy.run_path(str(tmp_path / "use.py"), {"images": torch.from_numpy(IMAGES[:, None] / 255).float()})
    expected = [grey.class_names[label] for label in grey.predict_proba(IMAGES).argmax(axis=1)]
    assert names["names"] == expected


@pytest.mark.process
def test_fit_and_load_come_without_torch() -> None:
    code = "import sys, ebomlc_dist; assert {'fit', 'load'} <= set(dir(ebomlc_dist)); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
