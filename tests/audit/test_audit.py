"""Audits of real runs: every method, several processes, cross-fits, and a second round on what they leave."""

import base64
import csv
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image
from sklearn.datasets import load_digits

import ebomlc_dist
from ebomlc_dist.audit import cross_fit
from ebomlc_dist.audit.cross_fit import check_folds, fold_of_images
from ebomlc_dist.audit.html_report import _trusted
from ebomlc_dist.audit.run_audit import Options, audit
from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.load_run import stored_config
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder, read_status
from ebomlc_dist.recipes import recipe
from tests.audit.test_files import CLEANLAB, rows_of
from tests.data.support import make_dataset, write_tree
from tests.methods.rows import ROWS
from tests.support.commands import EBOMLC, command
from tests.support.pool import RankPool
from tests.support.runs import alone, runtime_of, tiny_config, train_until

LEFT = {
    "labels.csv", "labels_for_spreadsheet.csv", "labels.parquet", "corrected.csv", "corrected_split.json",
    "pred_probs.npz", "transition_matrix.csv", "given_to_corrected.csv", "summary.json", "report.html", "status.json",
}  # fmt: skip
CANARY = b"canary-GPS-51.5N"
NAMES = [f"{k}, the digit" for k in range(7)]


def learnt_config(method: str = "ce", **train_changes: object) -> RunConfig:
    """Digits with 30 % noise, long enough to learn: a second or two."""
    sizes = {"noisy_size": 600, "clean_size": 100}
    noise = {"rate": 0.3}
    return tiny_config(method, train={"epochs": 15, "log_interval": 50, **train_changes}, data=sizes, noise=noise)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learnt") / "run"
    train(learnt_config(epoch_scores=True), folder, quiet=True, runtime=alone())
    return folder


@pytest.fixture(scope="module")
def own_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as the user's own images, a fifth of them in a wrong folder, and a run on them."""
    place = tmp_path_factory.mktemp("own")
    digits = load_digits(n_class=len(NAMES))
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x010E] = CANARY.decode()
    for number, (pixels, label) in enumerate(zip(digits.images[:700], digits.target[:700], strict=True)):
        part = "clean" if number < 70 else "test" if number >= 600 else "train"
        if part == "train" and rng.random() < 0.2:
            label = (label + 1 + number % 6) % 7
        folder = place / "data" / part / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((pixels * 255 / 16).astype(np.uint8)).resize((200, 300))
        picture.save(folder / f"=digit {number}.jpg", exif=exif, comment=CANARY)
    config = recipe("folder").config
    data = config.data.model_copy(update={"data_dir": place / "data", "image_size": 8, "augment": "none"})
    changed = {"data": data, "model": config.model.model_copy(update={"name": "digits-cnn"})}
    tiny = tiny_config(train={"epochs": 15, "log_interval": 50})
    config = config.model_copy(update={**changed, "train": tiny.train, "optim": tiny.optim})
    train(config, place / "run", quiet=True, runtime=alone())
    audit(place / "run", Options(confidence=0.5, gallery=30), alone(), quiet=True)
    return place


def test_an_audit_leaves_everything_that_was_promised(learnt: Path) -> None:
    summary = audit(learnt, Options(), alone(), quiet=True)
    assert {path.name for path in (learnt / "audit").iterdir()} >= LEFT
    assert json.loads((learnt / "audit" / "summary.json").read_text()) == summary
    assert read_status(learnt / "audit").state == "finished"
    assert summary["truth"]["auroc"] > 0.9
    assert summary["in_sample"] is True
    rate = summary["noise_rate"]
    assert rate["low"] - 3 <= summary["truth"]["noise_rate"] <= rate["high"] + 3
    rows = rows_of(learnt / "audit" / "labels.csv")
    assert set(rows[0]) >= CLEANLAB
    dataset = load_dataset(stored_config(RunFolder(learnt)).data, learnt_config().noise, learnt_config().seeds)
    for row in rows:
        at = int(row["row"])
        assert row["id"] == dataset.ids[dataset.noisy_index[at]]
        assert int(row["given_label"]) == dataset.noisy_labels[at]


@pytest.mark.parametrize("method", ROWS)
def test_every_method_can_be_audited(method: str, tmp_path: Path) -> None:
    train(tiny_config(method), tmp_path / "run", quiet=True, runtime=alone())
    summary = audit(tmp_path / "run", Options(gallery=5), alone(), quiet=True)
    assert summary["num_images"] == 256
    # A method that was trained on the trusted images alone never saw the noisy ones.
    assert summary["in_sample"] is (method != "ce-clean")


def _audited(communicator: Communicator, folder: str) -> dict:
    return audit(Path(folder), Options(gallery=0), runtime_of(communicator), quiet=True)


def test_two_processes_find_what_one_finds(learnt: Path, two_ranks: RankPool) -> None:
    """Batches differ, so sums may differ in the last bits."""
    scores = {}
    for name in ("one", "two"):
        if name == "one":
            _audited(Communicator(torch.device("cpu")), str(learnt))
        else:
            first, second = two_ranks.run(_audited, str(learnt))
            assert first == second
        rows = rows_of(learnt / "audit" / "labels.csv")
        scores[name] = np.array(
            [row["suspicion"] for row in sorted(rows, key=lambda row: int(row["row"]))], dtype=float
        )
    np.testing.assert_allclose(scores["one"], scores["two"], atol=2e-5)
    assert np.abs(scores["one"] - scores["two"][::-1]).max() > 0.1


def test_a_cross_fit_scores_every_image_by_a_model_that_never_saw_it(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "run"
    train(learnt_config("ebomlc", epochs=8), folder, quiet=True, runtime=alone())
    summary = audit(folder, Options(cross_fit=2), alone(), quiet=True)
    assert (summary["cross_fit"], summary["in_sample"]) == (2, False)
    assert summary["truth"]["auroc"] > 0.75
    splits = [json.loads((folder / "audit" / "cross-fit-2" / f"fold-{k}" / "split.json").read_text()) for k in (1, 2)]
    every = json.loads((folder / "split.json").read_text())
    for name in ("noisy_index", "clean_index"):
        trained = [set(split[name]) for split in splits]
        assert not trained[0] & trained[1], "what one model was trained on, the other is to score"
        assert trained[0] | trained[1] == set(every[name])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a finished fold is trained again")

    monkeypatch.setattr(cross_fit, "train", refuse)
    assert audit(folder, Options(cross_fit=2), alone(), quiet=True) == summary


def test_a_stopped_cross_fit_goes_on(tmp_path: Path, monkeypatch) -> None:
    train(tiny_config("ce"), tmp_path / "run", quiet=True, runtime=alone())

    def stopped(config: RunConfig, folder: Path, **_: object) -> None:
        raise Stopped(folder, 7, "SIGTERM")

    with monkeypatch.context() as patch:
        patch.setattr(cross_fit, "train", stopped)
        with pytest.raises(Stopped):
            audit(tmp_path / "run", Options(cross_fit=2), alone(), quiet=True)
    assert read_status(tmp_path / "run" / "audit").state == "stopped"
    assert audit(tmp_path / "run", Options(cross_fit=2), alone(), quiet=True)["cross_fit"] == 2


def test_folds_are_stratified_and_hold_an_image_out_as_a_whole() -> None:
    dataset = make_dataset(num_noisy=60, num_clean=12)
    # As in a leaky split: some images are trusted and noisy.
    dataset = replace(dataset, clean_index=torch.arange(54, 66), clean_labels=torch.arange(12) % 3)
    folds = fold_of_images(dataset, 3)
    assert torch.equal(folds, fold_of_images(dataset, 3))
    assert (folds >= 0).sum() == 66
    for label in range(3):
        counts = torch.bincount(folds[dataset.noisy_index[dataset.noisy_labels == label]])
        assert counts.max() - counts.min() <= 1
    for number, word in ((1, "2 or more"), (61, "2 or more")):
        with pytest.raises(InputError, match=word):
            check_folds(dataset, number, needs_trusted=True)
    few = replace(dataset, clean_index=dataset.clean_index[:3], clean_labels=dataset.clean_labels[:3])
    check_folds(few, 3, needs_trusted=False)
    with pytest.raises(InputError, match="two trusted images"):
        check_folds(few, 3, needs_trusted=True)


def test_means_over_epochs_are_those_of_the_kept_scores(learnt: Path) -> None:
    audit(learnt, Options(scores="epochs"), alone(), quiet=True)
    kept = sorted((learnt / "epoch_scores").iterdir())
    assert len(kept) == 15
    mean = np.mean([safetensors.numpy.load_file(path)["noisy"] for path in kept], axis=0)
    rows = rows_of(learnt / "audit" / "labels.csv")
    assert [float(row["suspicion"]) for row in rows] == pytest.approx(np.sort(mean)[::-1].tolist(), abs=2e-6)


def test_a_continued_run_keeps_the_same_scores(tmp_path: Path) -> None:
    config = tiny_config(train={"epochs": 3, "epoch_scores": True, "checkpoint_steps": 3})
    train_until(config, tmp_path / "whole", alone())
    assert train_until(config, tmp_path / "cut", alone(), stop_after=6) is None
    train_until(config, tmp_path / "cut", alone())
    for epoch in (1, 2, 3):
        files = [RunFolder(tmp_path / name).epoch_score_file(epoch).read_bytes() for name in ("whole", "cut")]
        assert files[0] == files[1]


def test_of_a_method_in_stages_the_last_stage_counts(tmp_path: Path) -> None:
    """What comes before is a model that was thrown away."""
    train(tiny_config("glc", train={"epoch_scores": True}), tmp_path / "run", quiet=True, runtime=alone())
    kept = [RunFolder(tmp_path / "run").epoch_score_file(epoch) for epoch in (1, 2, 3, 4)]
    audit(tmp_path / "run", Options(scores="epochs", gallery=0), alone(), quiet=True)
    mean = np.mean([safetensors.numpy.load_file(path)["noisy"] for path in kept[2:]], axis=0)
    rows = rows_of(tmp_path / "run" / "audit" / "labels.csv")
    assert [float(row["suspicion"]) for row in rows] == pytest.approx(np.sort(mean)[::-1].tolist(), abs=2e-6)


def test_damaged_epoch_scores_are_refused(learnt: Path, tmp_path: Path) -> None:
    path = RunFolder(learnt).epoch_score_file(3)
    whole = path.read_bytes()
    for content in (whole[:50], b"", safetensors.numpy.save({"noisy": np.zeros(4, np.float32)})):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"epoch-00003.*damaged or belongs to another run"):
            audit(learnt, Options(), alone(), quiet=True)
    path.write_bytes(whole)


def test_a_second_round_on_the_corrected_split(learnt: Path, tmp_path: Path) -> None:
    audit(learnt, Options(confidence=0.4), alone(), quiet=True)
    config = learnt_config()
    data = config.data.model_copy(update={"split": learnt / "audit" / "corrected_split.json"})
    noise = config.noise.model_copy(update={"kind": "none"})
    again = train(
        config.model_copy(update={"data": data, "noise": noise}), tmp_path / "again", quiet=True, runtime=alone()
    )
    first = json.loads((learnt / "summary.json").read_text())
    assert again["noise_rate_realised"] < first["noise_rate_realised"] / 2


def test_a_second_round_on_corrected_csv(own_images: Path, tmp_path: Path) -> None:
    config = stored_config(RunFolder(own_images / "run"))
    corrected = own_images / "run" / "audit" / "corrected.csv"
    data = config.data.model_copy(update={"split": None, "noisy_csv": corrected})
    found = load_dataset(data, config.noise, config.seeds)
    before = load_dataset(config.data, config.noise, config.seeds)
    assert sorted(found.ids) == sorted(before.ids)
    written = {row["path"]: row["label"] for row in rows_of(corrected)}
    labels = {found.ids[row]: NAMES[label] for row, label in zip(found.noisy_index, found.noisy_labels, strict=True)}
    assert labels == written
    given = {before.ids[row]: NAMES[label] for row, label in zip(before.noisy_index, before.noisy_labels, strict=True)}
    changed = [path for path in given if given[path] != written[path]]
    truth = load_digits(n_class=7).target
    right = [NAMES[truth[int(Path(path).stem.split()[1])]] == written[path] for path in changed]
    assert len(changed) > 40
    assert np.mean(right) > 0.9
    config = config.model_copy(update={"data": data})
    assert train(config, tmp_path / "again", quiet=True, runtime=alone())["accuracy_last"] > 80


def test_an_image_that_no_text_can_name_is_left_out_of_corrected_csv(tmp_path: Path) -> None:
    """The rest can be read back; the page shows it from the pixels that were trained on."""
    config = write_tree(tmp_path / "data", ("train", "clean"), per_class=6)
    train_folder = os.fsencode(tmp_path / "data" / "train" / "ant")
    Path(os.fsdecode(train_folder + b"/0.png")).rename(os.fsdecode(train_folder + b"/\xff.png"))
    config = config.model_copy(update={"image_size": 8, "augment": "none"})
    run = tiny_config("ce", noise={"kind": "none"}).model_copy(update={"data": config})
    train(run, tmp_path / "run", quiet=True, runtime=alone())
    audit(tmp_path / "run", Options(confidence=1.0), alone(), quiet=True)
    assert len(rows_of(tmp_path / "run" / "audit" / "labels.csv")) == 12
    corrected = tmp_path / "run" / "audit" / "corrected.csv"
    assert len(rows_of(corrected)) == 11
    again = load_dataset(config.model_copy(update={"noisy_csv": corrected}), run.noise, run.seeds)
    assert len(again.noisy_index) == 11


def test_decisions_become_a_larger_trusted_set(own_images: Path) -> None:
    """The form that the page downloads, see test_html_report."""
    config = stored_config(RunFolder(own_images / "run"))
    before = load_dataset(config.data, config.noise, config.seeds)
    decisions = own_images / "decisions.csv"
    decided = [(before.ids[row], NAMES[k]) for row, k in zip(before.clean_index, before.clean_labels, strict=True)]
    extra = [(before.ids[row], NAMES[3]) for row in before.noisy_index[:5]]
    with decisions.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "decision"), *((*pair, "accept") for pair in decided + extra)])
    data = config.data.model_copy(update={"split": None, "clean_csv": decisions})
    after = load_dataset(data, config.noise, config.seeds)
    assert len(after.clean_index) == len(before.clean_index) + 5
    assert len(after.noisy_index) == len(before.noisy_index) - 5
    trusted = {after.ids[row]: NAMES[k] for row, k in zip(after.clean_index, after.clean_labels, strict=True)}
    assert dict(extra).items() <= trusted.items()


def test_own_images_are_shown_larger_than_trained_on_and_without_metadata(own_images: Path) -> None:
    place = own_images / "run" / "audit"
    text = (place / "report.html").read_text(encoding="utf-8")
    images = [base64.b64decode(part.split('"')[0]) for part in text.split("data:image/jpeg;base64,")[1:]]
    assert len(images) == 30
    for content in images:
        assert CANARY not in content
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (107, 160)
            assert not image.getexif()
    original = next((own_images / "data" / "train").rglob("*.jpg")).read_bytes()
    assert CANARY in original, "the canary is there to be found"
    for path in place.rglob("*"):
        if path.is_file() and path.suffix != ".lock" and "logs" not in path.parts:
            assert str(own_images).encode() not in path.read_bytes().replace(str(own_images / "run").encode(), b"")


def test_exports_hold_every_image_under_its_label(own_images: Path) -> None:
    run, names = own_images / "run", ("imagefolder", "label-studio", "fiftyone", "cleanlab")
    for _ in range(2):  # The second time in the place of the first.
        audit(run, Options(confidence=0.5, gallery=0, exports=names), alone(), quiet=True)
    place = run / "audit"
    corrected = {row["path"]: row["label"] for row in rows_of(place / "corrected.csv")}
    counts = {name: len(list((place / "imagefolder" / "train" / name).iterdir())) for name in NAMES}
    assert counts == {name: list(corrected.values()).count(name) for name in NAMES}
    assert len(list((place / "imagefolder" / "clean").rglob("*.jpg"))) == 70

    tasks = json.loads((place / "label-studio" / "tasks.json").read_text())
    assert [task["data"]["rank"] for task in tasks] == list(range(1, 531))
    for task in tasks:
        assert (place / task["data"]["image"].partition("?d=")[2]).is_file()
        (prediction,) = task["predictions"]
        assert prediction["result"][0]["value"]["choices"][0] in NAMES
    assert NAMES[0] in (place / "label-studio" / "labeling.xml").read_text()

    stored = [json.loads((place / "fiftyone" / f"{name}.json").read_text()) for name in ("labels", "proposed")]
    files = {path.stem for path in (place / "fiftyone" / "data").iterdir()}
    for document in stored:
        assert document["classes"] == NAMES
        assert set(document["labels"]) == files
    given = {entry["attributes"]["path"]: NAMES[entry["label"]] for entry in stored[0]["labels"].values()}
    assert all(Path(path).parent.name == name for path, name in given.items())

    issues = rows_of(place / "cleanlab" / "label_issues.csv")
    labels, probabilities = (np.load(place / "cleanlab" / f"{name}.npy") for name in ("labels", "pred_probs"))
    assert [int(row["given_label"]) for row in issues] == labels.tolist()
    assert [int(row["predicted_label"]) for row in issues] == probabilities.argmax(axis=1).tolist()


def test_bundled_images_are_exported_as_a_folder_that_trains(learnt: Path) -> None:
    audit(learnt, Options(exports=("imagefolder",)), alone(), quiet=True)
    data = recipe("folder").config.data.model_copy(
        update={"data_dir": learnt / "audit" / "imagefolder", "image_size": None}
    )
    dataset = load_dataset(data, tiny_config(noise={"kind": "none"}).noise, tiny_config().seeds)
    assert (len(dataset.noisy_labels), len(dataset.clean_labels), len(dataset.test_labels)) == (600, 100, 355)
    assert dataset.images.shape[1:] == (1, 8, 8)


def test_trusted_images_that_chose_an_epoch_stay_trusted(tmp_path: Path) -> None:
    """In the exported folder, and in the decisions that the page hands to the next run."""
    config = tiny_config("ce", data={"clean_size": 100, "validation_size": 40})
    train(config, tmp_path / "run", quiet=True, runtime=alone())
    audit(tmp_path / "run", Options(gallery=1, exports=("imagefolder",)), alone(), quiet=True)
    place = tmp_path / "run" / "audit"
    assert len(list((place / "imagefolder" / "clean").rglob("*.png"))) == 100
    dataset = load_dataset(config.data, config.noise, config.seeds)
    trusted = _trusted(dataset)
    assert {name for name, _, _ in trusted} == {dataset.ids[row] for row in dataset.trusted_labels()}
    assert sum(old >= 0 for _, _, old in trusted) == len(dataset.clean_index) == 60


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(confidence=1.5), "--confidence 1.5"),
        (Options(gallery=-1), "--gallery -1"),
        (Options(exports=("fiftyon",)), "did you mean 'fiftyone'"),
        (Options(cross_fit=1), "--cross-fit 1"),
        (Options(cross_fit=2, scores="epochs"), "exclude each other"),
    ],
)
def test_what_cannot_be_is_refused(options: Options, words: str, learnt: Path) -> None:
    with pytest.raises(InputError, match=words):
        audit(learnt, options, alone(), quiet=True)


def test_class_names_that_cannot_be_folders_are_refused(learnt: Path) -> None:
    config = stored_config(RunFolder(learnt))
    dataset = load_dataset(config.data, config.noise, config.seeds)
    for name in ("../up", ".hidden", "a/b", ""):
        hostile = replace(dataset, class_names=[name, *dataset.class_names[1:]])
        with pytest.raises(InputError, match="cannot be"):
            audit(learnt, Options(exports=("imagefolder",)), alone(), quiet=True, dataset=hostile)


def test_a_run_on_arrays_is_audited_from_python(tmp_path: Path) -> None:
    digits = load_digits()
    images = (digits.images * 255 / 16).astype(np.uint8)[:300]
    settings = {"model.name": "digits-cnn", "data.image_size": 8, "train.epochs": 2, "train.trackers": []}
    run = ebomlc_dist.fit(images, digits.target[:300], np.arange(60), output_dir=tmp_path / "run", settings=settings)
    assert run.audit(Options(gallery=3))["num_images"] == 240
    with pytest.raises(InputError, match="trained on arrays"):
        audit(tmp_path / "run", Options(), alone(), quiet=True)


def test_no_run_no_audit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished run"):
        audit(tmp_path, Options(), alone(), quiet=True)


def test_the_guide_names_every_file_and_column(learnt: Path) -> None:
    audit(learnt, Options(), alone(), quiet=True)
    guide = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    files = {path.name for path in (learnt / "audit").iterdir() if path.is_file()}
    left = guide[guide.index("## What it leaves") : guide.index("## Decide")].partition("| `path` or `id` |")
    named = set(re.findall(r"^\| `([\w.]+)` \|", left[0], re.M))
    assert named == files - {"status.json", "run.lock"}
    columns = set(rows_of(learnt / "audit" / "labels.csv")[0])
    told = {name for name in columns if f"`{name}`" in guide}
    generic = {name for name in columns if name.endswith(("_index", "_probability")) or name.startswith("top")}
    assert columns - told <= generic


@pytest.mark.slow
def test_several_processes_from_one_command(learnt: Path, tmp_path: Path) -> None:
    words = [*EBOMLC, "audit", str(learnt), "--num-processes", "2"]
    with command([*words, "-q", "--cross-fit", "2"], tmp_path) as started:
        code, out, err = started.wait()
    assert code == 0, err
    assert "estimated wrong" in out
    split = json.loads((learnt / "audit" / "cross-fit-2" / "fold-1" / "summary.json").read_text())
    assert split["world_size"] == 2
    (learnt / "split.json").rename(learnt / "split.away")
    with command(words, tmp_path) as started:
        code, _, err = started.wait()
    (learnt / "split.away").rename(learnt / "split.json")
    assert code == 2
    assert "split.json does not exist" in err
