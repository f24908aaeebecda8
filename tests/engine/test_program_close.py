"""A recording is let go of first, on every way out of a run: as it ends, stops, fails or cannot be recorded."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

from ebomlc_dist.cli.profiler.measure import make_subject
from ebomlc_dist.cli.profiler.profiled_rows import Row
from ebomlc_dist.data.loaders.paired import PairedLoader
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine import trainer
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.cuda_graph import Program, RecordedProgram
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.errors import TrainingFault
from ebomlc_dist.monitoring.record import RunRecord
from tests.support.runs import alone, tiny_config
from tests.support.tape import Tape

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIG = tiny_config("ce", train={"epochs": 1, "log_interval": 2})


class Noted(Tape):
    """A recording that notes its end among what else is closed."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self.calls = calls

    def close(self) -> None:
        self.calls.append("graph")
        super().close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is closed, in order; each recorded step is on tape."""
    found: list[str] = []

    def noted(name: str, original: Callable) -> Callable:
        def close(self: object) -> None:
            found.append(name)
            original(self)

        return close

    def recorded(training: Training) -> Program:
        return RecordedProgram(training, lambda: Noted(found))

    monkeypatch.setattr(trainer, "make_program", recorded)
    monkeypatch.setattr("ebomlc_dist.cli.profiler.measure.make_program", recorded)
    for name, kind in (("loader", PairedLoader), ("record", RunRecord)):
        monkeypatch.setattr(kind, "close", noted(name, kind.close))
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: found.append("communicator"))
    return found


def whole(folder: Path) -> None:
    """As `ebomlc train` has it: the processes part whatever happens, with the fault in flight."""
    runtime = alone()
    try:
        train(CONFIG, folder, quiet=True, runtime=runtime)
    finally:
        runtime.close()


def outcome_of(calls: list[str]) -> list[str]:
    return calls[calls.index("graph") :]


ORDER = ["graph", "loader", "record", "communicator"]


def test_as_a_run_ends(tmp_path: Path, calls: list[str]) -> None:
    whole(tmp_path)
    assert outcome_of(calls) == ORDER


def at_step(step: int, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    original = RunRecord.step

    def watched(self: RunRecord, done: int) -> None:
        original(self, done)
        if done == step:
            act()

    monkeypatch.setattr(RunRecord, "step", watched)


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "error", [TrainingFault("not finite"), RuntimeError("out of memory"), KeyboardInterrupt()], ids=repr
)
def test_as_it_fails(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    at_step(2, raising(error), monkeypatch)
    with pytest.raises(type(error)):
        whole(tmp_path)
    assert outcome_of(calls) == ORDER


def test_as_it_is_stopped(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(2, lambda: signal.raise_signal(signal.SIGTERM), monkeypatch)
    with pytest.raises(Stopped):
        whole(tmp_path)
    assert outcome_of(calls) == ORDER


def test_as_it_cannot_be_recorded(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that was begun is in the frames of the fault."""
    step, taken = TrainStep.__call__, []

    def failing(self: TrainStep, batch: object) -> object:
        taken.append(batch)
        # The first one warms up.
        if len(taken) == 2:
            raise RuntimeError("operation not permitted when stream is capturing")
        return step(self, batch)

    monkeypatch.setattr(TrainStep, "__call__", failing)
    with pytest.raises(RuntimeError, match="capturing"):
        whole(tmp_path)
    assert outcome_of(calls) == ORDER


def test_what_is_profiled_is_let_go_of_before_the_processes_part(calls: list[str]) -> None:
    runtime: Runtime = alone()
    _, subject = make_subject(Row("ce", CONFIG, {}), load_everywhere(CONFIG, runtime), runtime, 0)
    subject.run()
    runtime.close()
    assert outcome_of(calls) == ["graph", "communicator"]


def test_a_step_after_the_end_is_recorded_anew() -> None:
    training = build(CONFIG, load_everywhere(CONFIG, alone()), alone())
    begin_epoch(training, 0)
    program = RecordedProgram(training, Tape)
    program(0)
    program.close()
    program.close()
    program(1)
    assert program.recordings == 2
