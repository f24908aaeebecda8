"""Training and trained runs from Python."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import ebomlc_dist
import ebomlc_dist.api
from ebomlc_dist.errors import InputError
from tests.support.runs import alone, tiny_config, train_until

SETTINGS = {
    "model.name": "digits-cnn", "data.image_size": 8, "data.augment": "none", "train.epochs": 25,
    "train.global_noisy_batch_size": 50, "train.global_clean_batch_size": 50, "train.trackers": [],
    "optim.main_lr": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, true labels and labels of which a fifth is wrong beyond the first hundred."""
    found = load_digits()
    images = (found.images * 255 / 16).astype(np.uint8)[:700]
    labels = found.target[:700]
    noisy = labels.copy()
    wrong = np.arange(100, 700, 5)
    noisy[wrong] = (labels[wrong] + 1 + wrong % 9) % 10
    return images, labels, noisy


@pytest.fixture(scope="module")
def fitted(digits: tuple, tmp_path_factory: pytest.TempPathFactory) -> ebomlc_dist.api.TrainedRun:
    images, labels, noisy = digits
    return ebomlc_dist.fit(
        images,
        noisy,
        np.arange(100),
        test=(images[:100], labels[:100]),
        output_dir=tmp_path_factory.mktemp("api") / "run",
        settings=SETTINGS,
    )


def test_fit_learns_from_arrays(fitted: ebomlc_dist.api.TrainedRun, digits: tuple) -> None:
    images, labels, _ = digits
    probabilities = fitted.predict_proba(images)
    assert probabilities.shape == (700, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.8
    assert fitted.evaluate()["accuracy"] == pytest.approx(fitted.summary["accuracy_last"])


def test_label_issues_come_first(fitted: ebomlc_dist.api.TrainedRun, digits: tuple) -> None:
    _, labels, noisy = digits
    issues = fitted.find_label_issues()
    assert len(issues.indices) == 600
    assert issues.in_sample
    assert (np.diff(issues.suspicion) <= 0).all()
    wrong = noisy != labels
    assert wrong[issues.indices[:60]].mean() > 0.8
    assert wrong[issues.indices[-60:]].mean() < 0.2
    np.testing.assert_array_equal(noisy[issues.indices], issues.given_labels)


def test_label_issues_are_what_the_audit_writes(fitted: ebomlc_dist.TrainedRun) -> None:
    issues, summary = fitted.find_label_issues(), fitted.audit()
    with (fitted.folder / "audit" / "labels.csv").open() as file:
        written = {row["id"]: row for row in csv.DictReader(file)}
    ids = [f"train/{index}" for index in issues.indices]
    assert len(ids) == len(written) == 600
    assert [int(written[name]["rank"]) for name in ids] == list(range(1, 601))
    assert [float(written[name]["suspicion"]) for name in ids] == pytest.approx(issues.suspicion, abs=1e-6)
    assert [fitted.class_names[label] for label in issues.proposed_labels] == [
        written[name]["proposed_label"] for name in ids
    ]
    assert issues.num_flagged == summary["num_flagged"]
    assert issues.in_sample


def test_load_reads_a_run_back_and_its_data_again(tmp_path: Path) -> None:
    summary = train_until(tiny_config(), tmp_path, alone())
    run = ebomlc_dist.load(tmp_path)
    assert summary is not None
    figures = run.evaluate()
    assert figures["accuracy"] == pytest.approx(summary["accuracy_last"])
    own = figures["classes"].values()
    right = sum(one["accuracy"] / 100 * one["num_test"] for one in own)
    assert sum(one["num_test"] for one in own) == figures["num_test"]
    assert 100 * right / figures["num_test"] == pytest.approx(figures["accuracy"])
    assert figures["balanced_accuracy"] == pytest.approx(sum(one["accuracy"] for one in own) / len(own))
    assert figures["balanced_accuracy"] != pytest.approx(figures["accuracy"], abs=1e-9)
    assert len(run.find_label_issues().indices) == summary["num_noisy"]


def test_predict_reads_files_in_the_order_given(
    fitted: ebomlc_dist.api.TrainedRun, digits: tuple, tmp_path: Path
) -> None:
    images, _, _ = digits
    paths = [tmp_path / f"{name}.png" for name in ("c", "a", "b")]
    for path, image in zip(paths, images[:3], strict=True):
        Image.fromarray(image).save(path)
    predictions = fitted.predict(paths)
    expected = fitted.predict_proba(images[:3])
    assert [p.index for p in predictions] == expected.argmax(axis=1).tolist()
    assert [p.confidence for p in predictions] == pytest.approx(expected.max(axis=1).tolist(), rel=1e-5)


def test_one_bad_file_costs_no_other(fitted: ebomlc_dist.api.TrainedRun, digits: tuple, tmp_path: Path) -> None:
    """Broken, missing, in colour where the model takes grey, or reached by a link out of its folder."""
    images, _, _ = digits
    (tmp_path / "here").mkdir()
    paths = [tmp_path / "here" / f"{name}.png" for name in ("grey", "broken", "colour", "gone", "link")]
    Image.fromarray(images[0]).save(paths[0])
    paths[1].write_bytes(paths[0].read_bytes()[:60])
    Image.fromarray(images[1]).convert("RGB").save(paths[2])
    Image.fromarray(images[2]).save(tmp_path / "outside.png")
    paths[4].symlink_to(tmp_path / "outside.png")
    found = list(fitted.classify(paths))
    assert "damaged" in str(found[1])
    assert found[3] == "does not exist"
    expected = fitted.predict_proba(images[:3])
    for place, row in ((0, expected[0]), (2, expected[1]), (4, expected[2])):
        np.testing.assert_allclose(found[place], row, rtol=1e-5)
    with pytest.raises(
        InputError, match=r"2 of 5 images cannot be read: '.*broken\.png' is damaged.*'.*gone\.png' does"
    ):
        fitted.predict(paths)


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished run"):
        ebomlc_dist.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1]}, "there must be one label an image"),
        ({"images": np.full((20, 8, 8), 7.0)}, "floats are 0…1"),
        ({"trusted": [99]}, "no index of 20 images"),
        ({"labels": [-1] * 20}, "is -1"),
        ({"class_names": ["one"]}, "there are 1 names"),
        ({"settings": {"train.epoch": 1}}, "train.epochs"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    arguments = {
        "images": np.zeros((20, 8, 8), np.uint8), "labels": [0, 1] * 10, "trusted": [0, 1], "settings": SETTINGS
    }  # fmt: skip
    with pytest.raises(InputError, match=message):
        ebomlc_dist.fit(**{**arguments, **change}, output_dir=tmp_path / "run")


@pytest.mark.process
def test_what_is_public_is_seen_and_costs_no_torch() -> None:
    code = (
        "import sys, ebomlc_dist; assert 'torch' not in sys.modules; names = dir(ebomlc_dist); "
        "assert set(ebomlc_dist.__all__) <= set(names), names; ebomlc_dist.__version__, ebomlc_dist.InputError; "
        "assert [n for n in names if not n.startswith('_')] == [n for n in ebomlc_dist.__all__ if n[0] != '_'], names; "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in ebomlc_dist.__all__:
        assert getattr(ebomlc_dist, name) is not None
    assert ebomlc_dist.InputError is InputError
    assert set(ebomlc_dist.__all__) == {*ebomlc_dist._PUBLIC, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        ebomlc_dist.fitt  # noqa: B018
