"""A trusted set from the noisy one: who is chosen, how pure that is said to be, and where it is said."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ebomlc_dist.audit.run_audit import Options, audit
from ebomlc_dist.audit.trusted import FOLDS, ROUNDS, _digest, _pool, most_likely_right, trusted_from_noisy
from ebomlc_dist.cli.output import print_results
from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.engine.load_run import stored_config
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.fitting import fit
from ebomlc_dist.noise.dawid_skene import purity
from ebomlc_dist.sweeps.cells import Cell
from ebomlc_dist.sweeps.run_cell import run_cell
from tests.audit.support import flip, uniform
from tests.support.runs import alone, tiny_config

CLASSES = 5


def test_the_smallest_losses_on_which_both_agree_come_first() -> None:
    given = np.array([0, 0, 0, 0, 1, 1, 1])
    predictions = np.array([[0, 0], [0, 1], [0, 0], [0, 0], [1, 1], [0, 0], [1, 0]])
    losses = np.array([0.3, 0.01, 0.1, 0.2, 0.9, 0.2, 0.1])
    assert most_likely_right(given, predictions, losses, np.array([2, 1])).tolist() == [2, 3, 4]
    # Where too few agree, the others follow by their loss.
    assert most_likely_right(given, predictions, losses, np.array([4, 2])).tolist() == [0, 1, 2, 3, 4, 6]


@pytest.mark.parametrize("transition", [uniform(CLASSES, 0.4), uniform(CLASSES, 0.7), flip(CLASSES, 0.35)])
@pytest.mark.parametrize("accuracy", [0.6, 0.85])
def test_the_purity_of_made_up_views_is_within_its_interval(transition: np.ndarray, accuracy: float) -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, CLASSES, 6_000)
    views = [uniform(CLASSES, 1 - accuracy), uniform(CLASSES, 1 - accuracy), transition]
    labels = np.column_stack([(rng.random(len(truth))[:, None] > t.cumsum(axis=1)[truth]).sum(axis=1) for t in views])
    agreed = (labels == labels[:, 2:]).all(axis=1)
    first = np.flatnonzero(agreed)[:400]
    found = purity(labels, first, CLASSES)
    assert found["low"] <= (truth[first] == labels[first, 2]).mean() <= found["high"]
    assert found["high"] - found["low"] < 0.15
    # The control: without agreement the labels are worth less, and that is seen.
    rest = np.flatnonzero(~agreed)
    doubted = purity(labels, rest, CLASSES)
    assert doubted["value"] == pytest.approx((truth[rest] == labels[rest, 2]).mean(), abs=0.04)
    assert doubted["high"] < found["low"]


def digits(rate: float = 0.4, **train_changes: object) -> RunConfig:
    """The digits without a trusted set."""
    return tiny_config(
        "ebomlc-s",
        data={"noisy_size": None, "clean_size": 100, "clean_from_noisy": True},
        train={"epochs": 4, "global_noisy_batch_size": 50, **train_changes},
    )


def chosen(config: RunConfig, folder: Path) -> NoisyDataset:
    runtime = alone()
    return trusted_from_noisy(config, load_everywhere(config, runtime), folder, runtime, quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run on a chosen trusted set, with its audit."""
    folder = tmp_path_factory.mktemp("from-noisy") / "run"
    config = digits()
    train(config, folder, quiet=True, dataset=lambda: chosen(config, folder / "trusted"), runtime=alone())
    audit(folder, Options(gallery=3), alone(), quiet=True)
    return RunFolder(folder)


def test_on_digits_the_chosen_labels_are_purer_than_the_noisy_ones_and_as_pure_as_is_said(run: RunFolder) -> None:
    summary = json.loads(run.summary.read_text())
    figures = summary["trusted_purity"]
    assert figures["low"] <= figures["true"] <= figures["high"]
    # 59 % of all labels are right.
    assert figures["true"] > 90
    assert figures["value"] > 90


def test_chosen_images_leave_the_noisy_set_and_each_class_has_its_share(run: RunFolder) -> None:
    config = stored_config(run)
    dataset = load_everywhere(config, alone())
    assert not torch.isin(dataset.clean_index, dataset.noisy_index).any()
    assert dataset.clean_labels.bincount().tolist() == [10] * 10
    assert dataset.clean_old_labels is None
    assert len(dataset.clean_index) + len(dataset.noisy_index) == 1442
    # The choice is used again as it is, and is a split for other runs.
    again = chosen(digits(), run.root / "trusted")
    assert torch.equal(again.clean_index, dataset.clean_index)
    assert torch.equal(again.true_labels, dataset.true_labels)
    assert again.purity == dataset.purity
    assert again.noise_rate_realised == pytest.approx(dataset.noise_rate_realised)


def test_every_result_is_marked(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads(run.summary.read_text())
    assert summary["split_kind"] == "from_noisy"
    assert json.loads(run.split.read_text())["provenance"]["split_kind"] == "from_noisy"
    assert json.loads((run.audit / "summary.json").read_text())["trusted_purity"] == summary["trusted_purity"]
    assert "chosen from the noisy ones" in (run.audit / "report.html").read_text()
    assert "chosen from the noisy ones" in (run.model / "README.md").read_text()
    print_results([summary], run.root, hints=False)
    assert "ebomlc-s *" in (printed := capsys.readouterr().out)
    assert "* 100 trusted images chosen from the noisy ones, estimated purity" in printed


def test_other_labels_images_or_seeds_make_another_choice_beside_it(run: RunFolder) -> None:
    """Runs of one command that differ in their seed or recipe choose for themselves."""
    config = digits()
    dataset = load_everywhere(config, alone())
    folders = {_digest(config, _pool(dataset), dataset.clean_labels)}
    assert {path.name for path in (run.root / "trusted").iterdir()} == folders
    for section, change in (("seeds", {"noise": 5}), ("seeds", {"initialisation": 5}), ("data", {"noisy_size": 300}),
                            ("data", {"clean_size": 50}), ("train", {"epochs": 9})):  # fmt: skip
        other = config.model_copy(update={section: getattr(config, section).model_copy(update=change)})
        dataset = load_everywhere(other, alone())
        folders.add(_digest(other, _pool(dataset), dataset.clean_labels))
    assert len(folders) == 6


def test_what_only_stands_in_for_a_choice_is_not_trained_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="have not been chosen"):
        train(digits(), tmp_path / "run", quiet=True, runtime=alone())


def test_a_cell_of_a_sweep_chooses_too(tmp_path: Path) -> None:
    config = digits(epochs=1, global_noisy_batch_size=500)
    summary, _ = run_cell(Cell("key", "cell", config, {}), tmp_path / "run", "cpu")
    assert summary["split_kind"] == "from_noisy"
    assert summary["trusted_purity"]["value"] is not None


def test_a_stopped_choice_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ebomlc_dist.audit import cross_fit

    config = digits(epochs=1, global_noisy_batch_size=500)
    trained: list[Path] = []

    def interrupted(*arguments: object, **rest: object) -> object:
        if len(trained) == 4:
            raise Stopped(tmp_path, 1, "SIGTERM")
        trained.append(arguments[1])
        return train(*arguments, **rest)

    monkeypatch.setattr(cross_fit, "train", interrupted)
    with pytest.raises(Stopped):
        chosen(config, tmp_path / "trusted")
    trained[:] = []
    assert chosen(config, tmp_path / "trusted").purity is not None
    assert len(trained) == ROUNDS * FOLDS - 4


def test_arrays_without_trusted_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = np.clip(rng.normal(60 + 70 * labels[:, None, None], 8, (120, 8, 8)), 0, 255).astype(np.uint8)
    settings = {"data.clean_from_noisy": True, "data.clean_size": 12, "data.image_size": 8, "train.epochs": 2,
                "model.name": "digits-cnn", "train.trackers": []}  # fmt: skip
    trained = fit(images, labels, method="ebomlc-s", output_dir=tmp_path / "run", settings=settings)
    assert trained.summary["split_kind"] == "from_noisy"
    assert trained.summary["num_clean"] == 12
    assert trained.predict_proba(images).shape == (120, 3)
