"""A recorded step is the eager one, for every method: the same bits, and nothing of Python's is in it that changes."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.loaders.batches import BatchLoader
from ebomlc_dist.engine import trainer
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.cuda_graph import (
    EagerProgram,
    Program,
    RecordedProgram,
    make_program,
    mutable_tensors,
    restored_afterwards,
)
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.preflight import check_device, load_everywhere
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import METHODS, config_from_mapping
from ebomlc_dist.profiling.counters import Launches
from tests.methods.rows import ROWS
from tests.support.runs import alone, assert_same, outcome, same_tensors, tiny_config, train_until
from tests.support.tape import Tape

EPOCHS = 4
CPU = torch.device("cpu")
RECORDINGS = {"ebomlc-s": 2, "glc": 2, "ce-finetune": 2, "dividemix": 2, "coteaching-plus": 2}
"""More than one where the method's way, or what it is fed from, changes between epochs."""
CASES = [
    *((method, row.short_run) for method, row in ROWS.items()),
    ("ebomlc", {"lower_objective": "with_clean", "value_gradient": "difference"}),
    ("mlc", {"hypergradient": "finite_difference", "look_ahead": "sgd"}),
    ("mw-net", {"hypergradient": "finite_difference", "weights": "current"}),
    ("dividemix", {"warm_up_epochs": 1, "clean_images": "labelled"}),
]

pytestmark = pytest.mark.usefixtures("one_thread")


def config_of(method: str, settings: dict, **changes: dict) -> RunConfig:
    """Five steps an epoch, with draws of torch's generator in the corrector."""
    train = {"epochs": EPOCHS, "global_noisy_batch_size": 60, **changes.pop("train", {})}
    config = tiny_config(method, train=train, meta_model={"dropout": 0.2}, **changes)
    return config.model_copy(update={"method": config_from_mapping({"name": method, **settings})})


def make_training(config: RunConfig) -> Training:
    return build(config, load_everywhere(config, alone()), alone())


@dataclass
class Recorded:
    """A program on tapes, and the tapes."""

    program: RecordedProgram
    tapes: list[Tape]

    @classmethod
    def of(cls, training: Training) -> "Recorded":
        tapes: list[Tape] = []

        def make() -> Tape:
            tapes.append(Tape())
            return tapes[-1]

        return cls(RecordedProgram(training, make), tapes)


def all_steps(training: Training, program: Program, watched: bool = False) -> list[Tensor]:
    """The whole run without its evaluation. Returns what each step has left.

    ``watched``: as operators are seen by a recording; torch takes other ways with forward-mode derivatives then.
    """
    left, per_epoch = [], training.loader.steps_per_epoch
    for epoch in range(training.method.stages * EPOCHS):
        begin_epoch(training, epoch)
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            with Launches() if watched else nullcontext() as launches:
                batch, outcome = program(step)
            assert launches is None or launches.waits == []
            figures = [outcome.metrics[name].double() for name in sorted(outcome.metrics)]
            left.append(torch.stack([*figures, outcome.skipped.double(), batch.noisy.labels.double().sum()]).clone())
            for optimizer in training.optimizers.values():
                optimizer.end("step")
        for optimizer in training.optimizers.values():
            optimizer.end("epoch")
    return left


def run_eager(config: RunConfig, watched: bool = False) -> tuple[Training, list[Tensor]]:
    training = make_training(config)
    return training, all_steps(training, EagerProgram(training), watched)


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def fixed(training: Training, program: RecordedProgram) -> set[int]:
    """Storages that a step may read, beside those that it moves: they stay, and so does what is in them."""
    assert program._inputs is not None
    tensors = [program._inputs.numbers, *program._inputs.frames, training.runtime.communicator._stop]
    tensors += training.runtime.communicator._counts.values()
    tensors += [network.statistics for network in training.networks.values()]
    loader = training.loader.noisy
    assert isinstance(loader, BatchLoader)
    tensors += [loader._mean, loader._std, *(getattr(loader.pixels, name) for name in ("images",) if not loader.reads)]
    return {tensor.untyped_storage()._cdata for tensor in tensors}


@pytest.mark.parametrize(("method", "settings"), CASES, ids=str)
def test_a_recorded_step_is_the_eager_one_bit_for_bit(method: str, settings: dict) -> None:
    """Over every phase of the method, learning rates that fall and draws of the generator included."""
    config = config_of(method, settings)
    eager, expected = run_eager(config, watched=True)
    recorded = make_training(config)
    on_tape = Recorded.of(recorded)
    assert equal(all_steps(recorded, on_tape.program), expected)
    assert equal(mutable_tensors(recorded), mutable_tensors(eager))
    rates = {round(float(optimizer.rate), 6) for optimizer in recorded.optimizers.values()}
    assert min(rates) < 0.05
    assert on_tape.program.recordings == RECORDINGS.get(method, 1)
    moved = {tensor.untyped_storage()._cdata for tensor in mutable_tensors(recorded)}
    read = {key for tape in on_tape.tapes[-1:] for key in tape.read}
    assert read <= moved | fixed(recorded, on_tape.program)


def test_one_recording_averages_weights_and_follows_a_rate_that_moves_with_every_step() -> None:
    config = config_of("ebomlc", {})
    optim = {"schedule": "linear", "schedule_unit": "step", "warmup": 0.3, "milestones": ()}
    config = config.model_copy(
        update={
            "train": config.train.model_copy(update={"weight_average": 0.9}),
            "optim": config.optim.model_copy(update=optim),
        }
    )
    eager, expected = run_eager(config)
    recorded = make_training(config)
    on_tape = Recorded.of(recorded)
    assert equal(all_steps(recorded, on_tape.program), expected)
    assert on_tape.program.recordings == 1
    for name in ("vector", "statistics", "steps"):
        assert torch.equal(getattr(recorded.averages["main"], name), getattr(eager.averages["main"], name))
    assert not torch.equal(recorded.averages["main"].vector, recorded.networks["main"].vector)


def test_what_python_changes_unnoticed_is_not_in_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a method that does not tell of its other way is recorded once, and goes wrong."""
    config = config_of("coteaching-plus", ROWS["coteaching-plus"].short_run)
    _, expected = run_eager(config)
    recorded = make_training(config)
    on_tape = Recorded.of(recorded)
    # The phase stays what it is for the step, and is kept from the recording.
    monkeypatch.setattr(on_tape.program, "_capture_key_now", lambda: None)
    assert not equal(all_steps(recorded, on_tape.program), expected)
    assert on_tape.program.recordings == 1


def test_a_tensor_that_is_put_in_anothers_place_is_not_in_a_recording() -> None:
    """Negative control: such as a learning rate that is no tensor that stays."""
    training = make_training(config_of("ce", {}))
    on_tape = Recorded.of(training)
    on_tape.program(0)
    before = training.networks["main"].vector.detach().clone()
    training.optimizers["main"].rate.fill_(0.0)
    on_tape.program(1)
    # Its momentum goes on, at the rate of nothing.
    assert torch.equal(training.networks["main"].vector, before)
    training.optimizers["main"]._group["lr"] = torch.tensor(0.5)
    on_tape.program(2)
    assert torch.equal(training.networks["main"].vector, before)


def test_a_foreign_tensor_is_seen() -> None:
    """Negative control of what a step may read."""
    training = make_training(config_of("ce", {}))
    on_tape = Recorded.of(training)
    foreign, step = torch.ones(()), training.step.method.step

    def with_foreign(*arguments: object) -> object:
        foreign.mul(2.0)
        return step(*arguments)

    training.step.method.step = with_foreign  # type: ignore[method-assign, assignment]
    on_tape.program(0)
    moved = {tensor.untyped_storage()._cdata for tensor in mutable_tensors(training)}
    unknown = set(on_tape.tapes[0].read) - moved - fixed(training, on_tape.program)
    assert unknown == {foreign.untyped_storage()._cdata}


def test_recording_leaves_no_trace() -> None:
    """Three warm-up steps and the recording: statistics, momentum, memory and generators are as before."""
    training = make_training(config_of("ebomlc-s", {}))
    begin_epoch(training, 0)
    EagerProgram(training)(0)
    before, draws = [tensor.clone() for tensor in mutable_tensors(training)], torch.get_rng_state()
    on_tape = Recorded.of(training)
    on_tape.program._record(training.loader.inputs(1))
    assert on_tape.tapes[0].warm_ups == 1
    assert equal(mutable_tensors(training), before)
    assert torch.equal(torch.get_rng_state(), draws)
    on_tape.program(1)
    assert not equal(mutable_tensors(training), before)


def test_a_replay_is_a_wait_with_a_limit() -> None:
    """What was recorded waits for other ranks, and a host that it holds up must be seen to wait."""
    training = make_training(config_of("ce", {}))
    left: list[float | None] = []

    class Watched(Tape):
        def replay(self) -> None:
            left.append(training.runtime.communicator._wait_counter.left_s())
            super().replay()

    begin_epoch(training, 0)
    RecordedProgram(training, Watched)(0)
    assert left == [math.inf]
    assert training.runtime.communicator._wait_counter.left_s() is None


def test_what_a_step_writes_is_what_is_put_back() -> None:
    """Whatever a step of any method writes and does not make itself is in `mutable_tensors`."""
    for method, row in ROWS.items():
        training = make_training(config_of(method, row.short_run))
        begin_epoch(training, 0)
        moved = {tensor.untyped_storage()._cdata for tensor in mutable_tensors(training)}
        others = {
            name: tensor
            for network in training.networks.values()
            for name, tensor in network.module.state_dict().items()
            if tensor.untyped_storage()._cdata not in moved
        }
        assert others == {}, method
        with restored_afterwards(training):
            memory = {name: tensor.data_ptr() for name, tensor in training.method.state.items()}
            EagerProgram(training)(0)
            assert {name: tensor.data_ptr() for name, tensor in training.method.state.items()} == memory


def test_images_that_are_read_go_through_memory_that_stays() -> None:
    config = config_of("ebomlc", {}, data={"loader": "dataloader", "num_workers": 0})
    _, expected = run_eager(config)
    recorded = make_training(config)
    on_tape = Recorded.of(recorded)
    assert equal(all_steps(recorded, on_tape.program), expected)
    assert on_tape.program._inputs is not None
    assert len(on_tape.program._inputs.frames) == 2
    read = set(on_tape.tapes[0].read)
    assert read <= {t.untyped_storage()._cdata for t in mutable_tensors(recorded)} | fixed(recorded, on_tape.program)


def test_a_number_of_the_optimiser_that_changes_is_recorded_anew() -> None:
    """Adam's late μ₁ is Python's."""
    config = config_of("ce", {}, optim={"main_optimizer": "adam", "main_lr": 1e-3, "late_beta1": 0.1})
    _, expected = run_eager(config)
    recorded = make_training(config)
    on_tape = Recorded.of(recorded)
    assert equal(all_steps(recorded, on_tape.program), expected)
    assert on_tape.program.recordings == 2


def test_a_look_ahead_rate_that_milestones_change_is_recorded_anew() -> None:
    """Four epochs with milestones after the first and the second: a factor of Python's in two of them, in a row."""
    optim = {"look_ahead_rate": "get_lr", "milestones": (0.25, 0.5)}
    config = config_of("ebomlc-released", {"look_ahead_statistics": "moved"}, optim=optim)
    _, expected = run_eager(config)
    recorded = make_training(config)
    on_tape = Recorded.of(recorded)
    assert equal(all_steps(recorded, on_tape.program), expected)
    assert on_tape.program.recordings == 3


@pytest.fixture
def on_tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Every run is recorded on tapes."""
    tapes: list[Tape] = []

    def recorded(training: Training) -> Program:
        found = Recorded.of(training)
        found.program._make_graph = lambda: tapes.append(Tape()) or tapes[-1]  # type: ignore[func-returns-value]
        return found.program

    monkeypatch.setattr(trainer, "make_program", recorded)
    return tapes


@pytest.mark.parametrize("method", ["ebomlc-s", "dividemix"])
def test_a_recorded_run_that_was_stopped_and_continued_is_the_eager_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_tapes: list[Tape], method: str
) -> None:
    config = config_of(method, ROWS[method].short_run, train={"log_interval": 5})
    for stop in (3, 12):
        assert train_until(config, tmp_path / "recorded", alone(), stop_after=stop) is None
    assert train_until(config, tmp_path / "recorded", alone()) is not None
    assert len(on_tapes) >= 3
    monkeypatch.setattr(trainer, "make_program", make_program)
    train_until(config, tmp_path / "eager", alone())
    assert_same(tmp_path / "recorded", tmp_path / "eager")
    other = config.model_copy(update={"seeds": config.seeds.model_copy(update={"seed": 1})})
    train_until(other, tmp_path / "other", alone())
    assert not same_tensors(outcome(tmp_path / "recorded")[0], outcome(tmp_path / "other")[0])


def test_a_step_that_goes_backward_twice_runs_eager_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    config = config_of("mlc", {"hypergradient": "double_backward"}, train={"cuda_graph": True})
    assert isinstance(make_program(make_training(config)), EagerProgram)
    assert [record.getMessage() for record in caplog.records] == [
        "no CUDA graph holds mlc's double_backward, its steps run operator by operator"
    ]


def test_a_graph_without_a_cuda_device_is_refused() -> None:
    with pytest.raises(InputError, match="--cuda-graph needs a CUDA device"):
        check_device(config_of("ce", {}, train={"cuda_graph": True}), CPU)


@pytest.mark.parametrize("method", METHODS)
def test_the_table_of_methods_tells_the_truth(method: str) -> None:
    settings = METHODS[method]
    kind: Callable = config_from_mapping
    has_hypergradient = hasattr(kind({"name": method}), "hypergradient")
    assert (settings.capturable == "yes") == (not has_hypergradient)
    if has_hypergradient:
        twice = make_training(config_of(method, {"hypergradient": "double_backward"})).method
        assert twice.backward_twice
    assert not make_training(config_of(method, {})).method.backward_twice
