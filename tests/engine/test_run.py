"""What a run promises: what it writes, what true labels may reach, how it ends when it must."""

import json
import logging
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.loaders.augment import normalise
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine import preflight
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.rank_log import rank_log
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.run_status import Stopped, reason_of
from ebomlc_dist.engine.run_summary import at_best
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.journal import read_records
from ebomlc_dist.files.run_folder import RunFolder, read_status
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.models.hub import load_model
from ebomlc_dist.monitoring.record import RunRecord
from tests.methods.rows import ROWS
from tests.support.pool import RankPool
from tests.support.runs import alone, outcome, runtime_of, same_tensors, tiny_config, train_until

SUMMARY_KEYS = {
    "method", "dataset", "noise", "noise_rate_nominal", "noise_rate_realised", "seed", "world_size", "epochs",
    "accuracy_last", "accuracy_last10_mean", "accuracy_best", "accuracy_at_best_validation",
    "wrong_labels_corrected", "right_labels_kept",
    "train_seconds", "images_per_second", "finished",
}  # fmt: skip
LOGGED = {
    "train/upper", "train/lower", "train/value_gap", "train/barrier_coefficient", "train/barrier_coefficient_max",
    "train/barrier_coefficient_is_zero", "train/upper_main_norm", "train/gap_main_norm", "train/gap_meta_norm",
    "train/alignment", "train/upper_gap_main", "train/upper_meta_norm", "train/main_lr",
    "train/meta_lr", "perf/images_per_second",
}  # fmt: skip


def test_a_run_leaves_everything_that_was_promised(tmp_path: Path) -> None:
    config = tiny_config(train={"trackers": ("tensorboard",)})
    summary = train(config, tmp_path, quiet=True, overrides=["train.epochs=2"], runtime=alone())
    assert set(summary) >= SUMMARY_KEYS
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["finished"] is True
    for key in ("correction_matrix", "given_correction_matrix"):
        assert sum(map(sum, summary[key])) == summary["num_noisy"]
    assert type(config).model_validate_json((tmp_path / "config.json").read_text()) == config
    for name in ("overrides.txt", "environment.json", "split.json", "classes.json", "logs/rank-0.log"):
        assert (tmp_path / name).stat().st_size > 0, name
    assert any((tmp_path / "tensorboard").iterdir())
    assert read_status(tmp_path).state == "finished"

    lines = read_records(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert set(lines[0]) >= LOGGED
    epochs = [line for line in lines if "eval/accuracy" in line]
    assert len(epochs) == config.train.epochs
    assert {"label/wrong_labels_corrected", "label/right_labels_kept", "label/correction_matrix"} <= set(epochs[0])
    assert {"eval/clean_accuracy", "eval/clean_loss", "step/upper_gap_main", "step/gap_main_norm"} <= set(epochs[0])

    model, stored = load_model(tmp_path / "model")
    checkpoint = CheckpointStore(tmp_path / "checkpoints").load()
    assert checkpoint is not None
    assert same_tensors(dict(model.state_dict()), checkpoint.tensors("main"))
    assert stored["class_names"] == [str(digit) for digit in range(10)]
    load_model(tmp_path / "meta_model")


def test_the_trusted_sets_loss_is_that_of_the_stored_model_on_trusted_images(tmp_path: Path) -> None:
    config = tiny_config()
    train(config, tmp_path, quiet=True, runtime=alone())
    last = [line for line in read_records(tmp_path / "metrics.jsonl") if "eval/clean_loss" in line][-1]
    data = load_everywhere(config, alone())
    model, _ = load_model(tmp_path / "model")
    model.eval()
    with torch.no_grad():
        logits, _ = model(normalise(data.images[data.clean_index], data.mean, data.std))
    assert last["eval/clean_loss"] == pytest.approx(float(cross_entropy(logits, data.clean_labels)), rel=1e-4)
    right = (logits.argmax(dim=1) == data.clean_labels).double().mean()
    assert last["eval/clean_accuracy"] == pytest.approx(100 * float(right))


def test_the_epoch_that_validation_images_choose(tmp_path: Path) -> None:
    config = tiny_config(data={"clean_size": 100, "validation_size": 50}, train={"epochs": 4})
    summary = train(config, tmp_path, quiet=True, runtime=alone())
    lines = [line for line in read_records(tmp_path / "metrics.jsonl") if "eval/accuracy" in line]
    chosen = max(lines, key=lambda line: line["eval/validation_accuracy"])
    assert summary["accuracy_at_best_validation"] == chosen["eval/accuracy"]
    assert (summary["num_clean"], summary["num_validation"]) == (50, 50)
    best = CheckpointStore(tmp_path / "checkpoints").load(best=True)
    assert best is not None
    assert best.step == chosen["step"]
    assert "epoch of the best validation accuracy" in (tmp_path / "model" / "README.md").read_text()

    data = load_everywhere(config, alone())
    model, _ = load_model(tmp_path / "model")
    with torch.no_grad():
        logits, _ = model.eval()(normalise(data.images[data.validation_index], data.mean, data.std))
    right = (logits.argmax(dim=1) == data.validation_labels).double().mean()
    assert lines[-1]["eval/validation_accuracy"] == pytest.approx(100 * float(right))


def test_validation_images_decide_nothing_that_is_trained(tmp_path: Path) -> None:
    """Plain or augmented, whichever they are: the same trusted and noisy images give the same bits."""
    sizes = {"clean_size": 40, "split_kind": "leaky"}
    for name, more in (("without", {}), ("plain", {"validation_size": 40}), ("views", {"validation_augment": True})):
        more = {"validation_size": 40, **more} if name == "views" else more
        train(tiny_config(data={**sizes, **more}), tmp_path / name, quiet=True, runtime=alone())
    tensors = {name: outcome(tmp_path / name)[0] for name in ("without", "plain", "views")}
    assert same_tensors(tensors["without"], tensors["plain"])
    assert same_tensors(tensors["without"], tensors["views"])
    losses = {name: [line.get("eval/validation_loss") for line in outcome(tmp_path / name)[1]] for name in tensors}
    assert losses["plain"] != losses["views"]
    assert not any(losses["without"])
    assert json.loads((tmp_path / "without" / "summary.json").read_text())["accuracy_at_best_validation"] is None


def test_the_first_of_equal_epochs_is_chosen() -> None:
    assert at_best([10.0, 20.0, 30.0, 40.0], [1.0, 3.0, 3.0, 2.0]) == 20.0
    assert at_best([10.0], []) is None
    assert at_best([], [1.0]) is None


@pytest.mark.parametrize(
    "method", [name if name in ("ebomlc", "ce") else pytest.param(name, marks=pytest.mark.slow) for name in ROWS]
)
def test_every_method_learns(tmp_path: Path, method: str) -> None:
    """Chance is 10 %; each passes 50 % of accuracy within its epochs of the whole set."""
    whole_set = {"noisy_size": None, "clean_size": 100}
    config = tiny_config(method, train={"epochs": ROWS[method].learning_epochs, "log_interval": 20}, data=whole_set)
    assert train(config, tmp_path, quiet=True, runtime=alone())["accuracy_last"] > 50


def with_garbage(*arguments: object, **options: object) -> NoisyDataset:
    dataset = load_dataset(*arguments, **options)
    assert dataset.true_labels is not None
    return replace(dataset, true_labels=(dataset.true_labels * 7 + 3) % 10)


@pytest.mark.parametrize("method", ROWS)
def test_true_labels_reach_metrics_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Garbage in their place changes no bit of what was learnt; the oracle, which asks for them, is the control."""
    config = tiny_config(method)
    config = config.model_copy(update={"method": config_from_mapping({"name": method, **ROWS[method].short_run})})
    train(config, tmp_path / "truth", quiet=True, runtime=alone())
    monkeypatch.setattr(preflight, "load_dataset", with_garbage)
    train(config, tmp_path / "garbage", quiet=True, runtime=alone())
    truth, garbage = outcome(tmp_path / "truth"), outcome(tmp_path / "garbage")
    key = "prediction_wrong_labels_corrected"
    assert garbage[2][key] != truth[2][key]
    learnt = {name for name in truth[0] if name.startswith(("main", "peer", "meta", "method", "optimizer"))}
    same = same_tensors({n: truth[0][n] for n in learnt}, {n: garbage[0][n] for n in learnt})
    assert same == (method != "ce-oracle")


def test_ten_bad_steps_in_a_row_end_the_run_and_keep_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(train={"epochs": 8, "log_interval": 4})
    poisoned_from = 9
    from ebomlc_dist.data.loaders.paired import PairedLoader

    load = PairedLoader.batch

    def batch(self: PairedLoader, step: int):
        paired = load(self, step)
        if step >= poisoned_from:
            paired.noisy.images.fill_(torch.inf)
        return paired

    monkeypatch.setattr(PairedLoader, "batch", batch)
    with pytest.raises(TrainingFault, match="in a row were not finite"):
        train(config, tmp_path, quiet=True, runtime=alone())
    status = read_status(tmp_path)
    assert (status.state, status.code) == ("failed", 1)
    checkpoint = CheckpointStore(tmp_path / "checkpoints").load()
    assert checkpoint is not None
    assert all(torch.isfinite(t).all() for t in checkpoint.tensors("main").values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_ask_for_one_checkpoint_and_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    original = RunRecord.step

    def step(self: RunRecord, done: int) -> None:
        original(self, done)
        if done == 3:
            for _ in range(5):
                os.kill(os.getpid(), number)

    monkeypatch.setattr(RunRecord, "step", step)
    with pytest.raises(Stopped):
        train(tiny_config(), tmp_path, quiet=True, runtime=alone())
    checkpoint = CheckpointStore(tmp_path / "checkpoints").load()
    assert checkpoint is not None
    assert checkpoint.step == 4
    assert read_status(tmp_path).reason == signal.Signals(number).name
    assert signal.getsignal(number) == signal.SIG_DFL


def refused_on(communicator: Communicator, folder: Path, bad_rank: int) -> str:
    def load(*_: object, **__: object) -> None:
        raise InputError("no data here")

    original = preflight.load_dataset
    if communicator.rank == bad_rank:
        preflight.load_dataset = load
    try:
        train(tiny_config(), folder, quiet=True, runtime=runtime_of(communicator))
    except InputError as error:
        return str(error)
    finally:
        preflight.load_dataset = original
    return "trained"


def test_bad_input_on_one_rank_is_refused_on_all(tmp_path: Path, two_ranks: RankPool) -> None:
    first, second = two_ranks.run(refused_on, tmp_path, 1)
    assert first == second
    assert first.startswith("rank 1 on ")
    assert ": no data here; rank 0 does not have this problem" in first
    assert read_status(tmp_path).code == 2


def differing(communicator: Communicator, folder: Path) -> str:
    config = tiny_config(seeds={"seed": communicator.rank})
    try:
        train(config, folder, quiet=True, runtime=runtime_of(communicator))
    except InputError as error:
        return str(error)
    return "trained"


def test_ranks_with_different_configurations_are_refused(tmp_path: Path, two_ranks: RankPool) -> None:
    answers = two_ranks.run(differing, tmp_path)
    assert all(": another configuration than rank 0: " in answer for answer in answers)


def test_the_second_run_in_a_folder_is_refused(tmp_path: Path) -> None:
    train_until(tiny_config(), tmp_path, alone(), stop_after=3)
    with pytest.raises(InputError, match="--resume auto"):
        train(tiny_config(), tmp_path, quiet=True, runtime=alone())


def test_a_log_that_cannot_be_written_costs_its_lines_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").touch()
    with rank_log(RunFolder(tmp_path), alone()):
        logging.getLogger("ebomlc_dist.test").info("nobody reads this")
    assert (tmp_path / "logs").read_text() == ""
    assert capsys.readouterr().err == ""


def test_the_cause_that_another_process_hands_on_is_kept() -> None:
    first = "Caught KeyError in DataLoader worker process 0."
    handed_on = f"{first}\nOriginal Traceback (most recent call last):\n  …\nKeyError: 7\n"
    assert reason_of(RuntimeError(handed_on)) == f"RuntimeError: {first} KeyError: 7"
    assert reason_of(ValueError("one\ntwo")) == "ValueError: one"
