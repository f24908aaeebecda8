"""A run that was stopped and continued is the run that was not."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine import preflight, trainer
from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.state import restore
from ebomlc_dist.errors import InputError
from ebomlc_dist.fields import ALWAYS, before
from ebomlc_dist.files.run_folder import read_status
from ebomlc_dist.keys import keys_of
from ebomlc_dist.methods import config_from_mapping
from tests.methods.rows import ROWS
from tests.support.pool import RankPool
from tests.support.runs import alone, assert_same, outcome, runtime_of, same_tensors, tiny_config, train_until

# 5 steps an epoch: 10 ends an epoch, 7 and 12 lie in the middle of one and of a log interval.
LONG = {"epochs": 4, "log_interval": 5, "global_noisy_batch_size": 60}


def four_epochs(method: str = "ebomlc", **train: object) -> RunConfig:
    return tiny_config(method, train={**LONG, **train}, meta_model={"dropout": 0.2})


@pytest.mark.parametrize("stops", [[10], [7], [3, 7, 12]], ids=str)
@pytest.mark.parametrize("method", ["ebomlc"])
def test_stopped_and_continued_equals_straight_through(tmp_path: Path, method: str, stops: list[int]) -> None:
    config = four_epochs(method)
    train_until(config, tmp_path / "straight", alone())
    for stop in stops:
        assert train_until(config, tmp_path / "stopped", alone(), stop_after=stop) is None
        assert read_status(tmp_path / "stopped").state == "stopped"
        assert read_status(tmp_path / "stopped").code == 75
    assert train_until(config, tmp_path / "stopped", alone()) is not None
    assert_same(tmp_path / "stopped", tmp_path / "straight")


def test_a_run_from_before_a_key_existed_continues(tmp_path: Path) -> None:
    """Its stored configuration has no such key; what it was made with is not another configuration."""
    config = four_epochs("ebomlc-released")
    train_until(config, tmp_path / "straight", alone())
    assert train_until(config, tmp_path / "stopped", alone(), stop_after=7) is None
    path = tmp_path / "stopped" / "config.json"
    stored = json.loads(path.read_text())
    younger = [key for key, field in keys_of("ebomlc-released").items() if before(field) is not ALWAYS]
    assert {"data.pad_mode", "train.epoch_scores", "method.look_ahead_statistics"} <= set(younger)
    for key in younger:
        section, name = key.split(".")
        del stored[section][name]
    path.write_text(json.dumps(stored))
    moved = config.method.model_copy(update={"look_ahead_statistics": "moved"})
    with pytest.raises(InputError, match=r"method\.look_ahead_statistics was 'kept' and is now 'moved'"):
        train_until(config.model_copy(update={"method": moved}), tmp_path / "stopped", alone())
    assert train_until(config, tmp_path / "stopped", alone()) is not None
    assert_same(tmp_path / "stopped", tmp_path / "straight")


@pytest.mark.parametrize("method", ROWS)
def test_every_method_continues_bit_for_bit(tmp_path: Path, method: str) -> None:
    """Stops in the middle of an epoch and at its end, in each phase of the method."""
    config = four_epochs(method)
    config = config.model_copy(update={"method": config_from_mapping({"name": method, **ROWS[method].short_run})})
    train_until(config, tmp_path / "straight", alone())
    for stop in (3, 10, 17):
        assert train_until(config, tmp_path / "stopped", alone(), stop_after=stop) is None
    assert train_until(config, tmp_path / "stopped", alone()) is not None
    assert_same(tmp_path / "stopped", tmp_path / "straight")


def test_what_a_step_leaves_for_the_next_is_stored_and_needed(tmp_path: Path) -> None:
    """MLC with a window of 3 steps, stopped in the middle of one; without its memory the run would be another."""
    config = four_epochs("mlc")
    window = config.method.model_copy(update={"look_ahead_steps": 3})
    config = config.model_copy(update={"method": window})
    train_until(config, tmp_path / "straight", alone())
    for stop in (7, 11):
        assert train_until(config, tmp_path / "stopped", alone(), stop_after=stop) is None
    assert train_until(config, tmp_path / "stopped", alone()) is not None
    assert_same(tmp_path / "stopped", tmp_path / "straight")

    assert train_until(config, tmp_path / "forgetful", alone(), stop_after=7) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "restore", without_memory)
        assert train_until(config, tmp_path / "forgetful", alone()) is not None
    tensors, expected = outcome(tmp_path / "forgetful")[0], outcome(tmp_path / "straight")[0]
    assert not torch.equal(tensors["meta/embedding.weight"], expected["meta/embedding.weight"])


def without_memory(training: Training, *arguments: object) -> None:
    """Negative control: everything is put back but what the method remembers."""
    kept = {name: tensor.clone() for name, tensor in training.method.state.items()}
    restore(training, *arguments)
    for name, tensor in kept.items():
        training.method.state[name].copy_(tensor)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    train_until(four_epochs(), tmp_path / "first", alone())
    other = four_epochs()
    train_until(other.model_copy(update={"seeds": other.seeds.model_copy(update={"seed": 1})}), tmp_path / "b", alone())
    assert not same_tensors(outcome(tmp_path / "first")[0], outcome(tmp_path / "b")[0])


def on_ranks(communicator: Communicator, config: RunConfig, folder: Path, stop_after: int | None) -> bool:
    torch.manual_seed(communicator.rank)
    return train_until(config, folder, runtime_of(communicator), stop_after) is not None


@pytest.mark.parametrize("stop", [10, 7], ids=["epoch", "mid-epoch"])
def test_two_ranks_agree_on_one_stop_and_continue_bit_for_bit(tmp_path: Path, two_ranks: RankPool, stop: int) -> None:
    """Only rank 0 sees the STOP file; running statistics differ by rank in the middle of an epoch."""
    config = four_epochs()
    assert two_ranks.run(on_ranks, config, tmp_path / "straight", None) == [True, True]
    assert two_ranks.run(on_ranks, config, tmp_path / "stopped", stop) == [False, False]
    assert two_ranks.run(on_ranks, config, tmp_path / "stopped", None) == [True, True]
    assert_same(tmp_path / "stopped", tmp_path / "straight")


def asked_on(communicator: Communicator, config: RunConfig, folder: Path, asked: int) -> bool:
    """Whether it finished; rank ``asked`` alone gets a signal, in its third step."""
    original = trainer.Trainer._step

    def step(self: trainer.Trainer, done: int) -> None:
        original(self, done)
        if done == 2 and communicator.rank == asked:
            os.kill(os.getpid(), signal.SIGUSR2)

    trainer.Trainer._step = step  # type: ignore[method-assign]
    try:
        return on_ranks(communicator, config, folder, None)
    finally:
        trainer.Trainer._step = original  # type: ignore[method-assign]


@pytest.mark.parametrize("asked", [0, 1])
def test_the_request_is_named_whichever_rank_it_reached(tmp_path: Path, two_ranks: RankPool, asked: int) -> None:
    assert two_ranks.run(asked_on, four_epochs(), tmp_path, asked) == [False, False]
    status = read_status(tmp_path)
    assert (status.state, status.reason) == ("stopped", "SIGUSR2")


def test_a_run_goes_on_at_another_world_size(tmp_path: Path, two_ranks: RankPool) -> None:
    """Without batch statistics the rest differs by rounding only."""
    config = four_epochs()
    config = config.model_copy(
        update={
            "model": config.model.model_copy(update={"norm": "group"}),
            "meta_model": config.meta_model.model_copy(update={"dropout": 0.0}),
        }
    )
    train_until(config, tmp_path / "straight", alone())
    assert two_ranks.run(on_ranks, config, tmp_path / "moved", 7) == [False, False]
    assert train_until(config, tmp_path / "moved", alone()) is not None
    tensors, lines, _ = outcome(tmp_path / "moved")
    expected, expected_lines, _ = outcome(tmp_path / "straight")
    assert [line["step"] for line in lines] == [line["step"] for line in expected_lines]
    for name in expected:
        if name.startswith("main/"):
            assert (tensors[name] - expected[name]).norm() <= 2e-3 * expected[name].norm(), name


def test_resume_refuses_another_configuration_and_names_the_keys(tmp_path: Path) -> None:
    config = four_epochs()
    train_until(config, tmp_path, alone(), stop_after=7)
    other = config.model_copy(update={"optim": config.optim.model_copy(update={"main_lr": 0.2})})
    with pytest.raises(InputError, match=r"optim\.main_lr was 0\.05 and is now 0\.2.*--config"):
        train_until(other, tmp_path, alone())
    free = config.model_copy(update={"train": config.train.model_copy(update={"step_timeout_s": 5.0})})
    assert train_until(free, tmp_path, alone()) is not None


def test_a_run_goes_on_with_other_habits(tmp_path: Path) -> None:
    """What may change decides nothing: the same model comes out, bit for bit."""
    config = four_epochs()
    train_until(config, tmp_path / "straight", alone())
    assert train_until(config, tmp_path / "changed", alone(), stop_after=7) is None
    habits = {
        "log_interval": 3,
        "max_skipped_in_a_row": 5,
        "replica_check_steps": 4,
        "checkpoint_steps": 6,
        "trackers": (),
    }
    other = config.model_copy(update={"recipe": "other", "train": config.train.model_copy(update=habits)})
    assert train_until(other, tmp_path / "changed", alone()) is not None
    assert same_tensors(outcome(tmp_path / "changed")[0], outcome(tmp_path / "straight")[0])


def test_resume_refuses_changed_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    config = four_epochs()
    train_until(config, tmp_path, alone(), stop_after=7)
    load = preflight.load_dataset
    monkeypatch.setattr(preflight, "load_dataset", lambda *a, **k: replace(load(*a, **k), fingerprint="0" * 64))
    with pytest.raises(InputError, match="the data have changed"):
        train_until(config, tmp_path, alone())


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    config = four_epochs()
    first = train_until(config, tmp_path, alone())
    before = outcome(tmp_path)
    again = train_until(config, tmp_path, alone())
    assert first is not None
    assert again is not None
    assert again["accuracy_last"] == first["accuracy_last"]
    assert same_tensors(outcome(tmp_path)[0], before[0])
    assert outcome(tmp_path)[1] == before[1]
