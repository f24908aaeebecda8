"""Several runs in one process, each the run that it would be alone."""

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from ebomlc_dist.config import RunConfig
from ebomlc_dist.engine import packed, run, stop
from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.packed import Begin, Ended, train_packed
from ebomlc_dist.engine.run import steps_of, train
from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder, read_status
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.monitoring.record import RunRecord
from tests.methods.rows import ROWS
from tests.support.runs import alone, assert_same, outcome, same_tensors, tiny_config, train_until

pytestmark = pytest.mark.usefixtures("one_thread")


def config_of(method: str, seed: int = 0, epochs: int = 3) -> RunConfig:
    """The corrector draws from torch's generator in every step."""
    config = tiny_config(method, train={"epochs": epochs, "log_interval": 5}, meta_model={"dropout": 0.2})
    own = config_from_mapping({"name": method, **ROWS[method].short_run})
    return config.model_copy(update={"method": own, "seeds": config.seeds.model_copy(update={"seed": seed})})


RUNS = {
    "ebomlc": config_of("ebomlc"),
    "other-seed": config_of("ebomlc", seed=1),
    "longer": config_of("dividemix", epochs=4),
}


def begin(config: RunConfig, folder: Path, resume: bool = False) -> tuple[Path, Begin]:
    return folder, lambda place, signals: steps_of(
        config, folder, resume=resume, quiet=True, runtime=place, signals=signals
    )


def pack(root: Path, configs: dict[str, RunConfig] = RUNS, resume: bool = False) -> dict[str, Ended]:
    runs = [begin(config, root / name, resume) for name, config in configs.items()]
    return {ended.folder.name: ended for ended in train_packed(runs, alone())}


@pytest.fixture(scope="module")
def solo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each run alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("solo")
    for name, config in RUNS.items():
        train(config, root / name, quiet=True, runtime=alone())
    torch.set_num_threads(threads)
    return root


def test_packed_runs_are_the_runs_that_they_are_alone(tmp_path: Path, solo: Path) -> None:
    torch.manual_seed(77)
    before = torch.get_rng_state()
    ended = pack(tmp_path)
    assert list(ended) == list(RUNS)
    assert all(one.summary is not None and one.error is None for one in ended.values())
    for name in RUNS:
        assert_same(tmp_path / name, solo / name)
        assert read_status(tmp_path / name).state == "finished"
    assert torch.equal(torch.get_rng_state(), before)


def test_runs_that_share_a_generator_are_others(tmp_path: Path, solo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: nobody puts a run's own draws in place."""
    monkeypatch.setattr(packed._Lane, "_own_draws", lambda lane: nullcontext())
    pack(tmp_path)
    assert not same_tensors(outcome(tmp_path / "ebomlc")[0], outcome(solo / "ebomlc")[0])


def test_their_steps_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = RunRecord.step

    def step(self: RunRecord, done: int) -> None:
        seen.append(self.folder.root.name)
        original(self, done)

    monkeypatch.setattr(RunRecord, "step", step)
    pack(tmp_path)
    steps = {name: seen.count(name) for name in RUNS}
    shared = min(steps.values())
    assert seen[: 3 * shared] == list(RUNS) * shared
    assert len(seen) > 3 * shared, "one of them is longer"


def failing_at(step: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run with seed 1 fails there."""
    original, calls = TrainStep.__call__, dict.fromkeys((0, 1), 0)

    def build(config: RunConfig, *arguments: object) -> Training:
        training = unbroken(config, *arguments)
        training.step.seed = config.seeds.seed
        return training

    def take(self: TrainStep, batch: object) -> object:
        calls[self.seed] += 1
        if self.seed == 1 and calls[1] == step:
            raise error
        return original(self, batch)

    unbroken = run.build
    monkeypatch.setattr(run, "build", build)
    monkeypatch.setattr(TrainStep, "__call__", take)


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("no such image"), 2), (RuntimeError("out of memory\nat length"), 1)], ids=str
)
def test_a_run_that_fails_leaves_the_others_alone(
    tmp_path: Path, solo: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    failing_at(4, error, monkeypatch)
    ended = pack(tmp_path)
    assert ended["other-seed"].error is error
    status = read_status(tmp_path / "other-seed")
    assert (status.state, status.code) == ("failed", code)
    for name in ("ebomlc", "longer"):
        assert_same(tmp_path / name, solo / name)


def test_each_run_has_its_own_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_at(4, RuntimeError("out of memory"), monkeypatch)
    pack(tmp_path)
    logs = {name: RunFolder(tmp_path / name).log(0).read_text() for name in RUNS}
    assert all(text.count("rank 0 of 1") == 1 for text in logs.values())
    assert ["out of memory" in text for text in logs.values()] == [False, True, False]
    assert "Traceback" in logs["other-seed"]


def at_step(name: str, step: int, do: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    original = RunRecord.step

    def watched(self: RunRecord, done: int) -> None:
        original(self, done)
        if self.folder.root.name == name and done == step:
            do(self.folder.root)

    monkeypatch.setattr(RunRecord, "step", watched)


def test_a_stop_file_stops_its_own_run_and_each_goes_on_packed_or_alone(
    tmp_path: Path, solo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stop, "LOOK_S", 0.0)
        at_step("other-seed", 5, lambda folder: RunFolder(folder).stop.touch(), patch)
        ended = pack(tmp_path)
    assert isinstance(ended["other-seed"].error, Stopped)
    assert ended["other-seed"].error.step == 6
    assert [ended[name].error for name in ("ebomlc", "longer")] == [None, None]
    assert train_until(RUNS["other-seed"], tmp_path / "other-seed", alone()) is not None
    for name in RUNS:
        assert_same(tmp_path / name, solo / name)


def test_a_signal_stops_all_of_them_and_they_go_on_packed(
    tmp_path: Path, solo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        at_step("other-seed", 5, lambda folder: os.kill(os.getpid(), signal.SIGTERM), patch)
        ended = pack(tmp_path)
    assert signal.getsignal(signal.SIGTERM) == handler
    found = [one.error for one in ended.values()]
    assert all(isinstance(error, Stopped) and error.code == 75 for error in found)
    assert [error.step for error in found if isinstance(error, Stopped)] == [6, 6, 5]
    assert {read_status(tmp_path / name).state for name in RUNS} == {"stopped"}
    pack(tmp_path, resume=True)
    for name in RUNS:
        assert_same(tmp_path / name, solo / name)


def test_an_interruption_ends_all_and_each_notes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(folder: Path) -> None:
        raise KeyboardInterrupt

    at_step("other-seed", 5, interrupt, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path)
    for name in RUNS:
        status = read_status(tmp_path / name)
        assert (status.state, status.reason, status.code) == ("failed", "interrupted", 130)
