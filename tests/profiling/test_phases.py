"""A step cut into phases from outside: nothing missing, nothing twice, and the step none the wiser."""

import time
from dataclasses import replace

import pytest
import torch

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.methods import METHODS
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.hypergradient import Hypergradient
from ebomlc_dist.profiling.clock import DeviceClock
from ebomlc_dist.profiling.counters import Launches
from ebomlc_dist.profiling.phases import PHASES, PhaseRecord, watched
from ebomlc_dist.testing.problem import make_learner, run_steps
from tests.methods.test_cost import make_step
from tests.support.pool import RankPool

CPU = torch.device("cpu")
LABEL_CORRECTING = {"upper", "lower", "look-ahead", "meta", "communication", "direction", "optimiser"}


def phases_of(method: str, batch_size: int = 4, **settings: object) -> tuple[dict[str, float], float]:
    """Phases of one step, and its milliseconds by a clock of our own."""
    step, batch = make_step(method, batch_size, **settings)
    if batch.clean is not None:
        # As from a loader: images of its own.
        batch = replace(batch, clean=replace(batch.clean, images=batch.clean.images.clone()))
    step(batch)
    record = PhaseRecord(DeviceClock(CPU))
    with watched(step, record):
        began = time.perf_counter()
        record.begin("direction")
        step(batch)
        record.end()
        wall = 1000 * (time.perf_counter() - began)
    return record.milliseconds(), wall


@pytest.mark.parametrize("method", METHODS)
def test_phases_add_up_to_the_step(method: str) -> None:
    phases, wall = phases_of(method)
    assert set(phases) == set(PHASES)
    assert sum(phases.values()) == pytest.approx(wall, rel=0.05)


@pytest.mark.parametrize(
    ("method", "settings", "seen"),
    [
        ("ebomlc", {}, LABEL_CORRECTING),
        ("mlc-d", {}, LABEL_CORRECTING),
        ("mlc", {"hypergradient": "double_backward"}, LABEL_CORRECTING),
        ("mlc", {"hypergradient": "forward_mode"}, LABEL_CORRECTING),
        ("mlc", {"hypergradient": "finite_difference"}, LABEL_CORRECTING),
        ("ce", {}, {"lower", "communication", "direction", "optimiser"}),
    ],
    # A set's text has another order in every process.
    ids=lambda value: "" if isinstance(value, set) else str(value),
)
def test_each_method_has_its_phases(method: str, settings: dict, seen: set[str]) -> None:
    phases, _ = phases_of(method, **settings)
    assert {name for name, milliseconds in phases.items() if milliseconds > 0} == seen


def test_a_slow_pass_shows_in_its_own_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleep where one phase works, and it alone grows."""
    plain = FlatNetwork.at

    def slow(self: FlatNetwork, *arguments: torch.Tensor) -> object:
        time.sleep(0.3)
        return plain(self, *arguments)

    before, _ = phases_of("ebomlc")
    monkeypatch.setattr(FlatNetwork, "at", slow)
    after, _ = phases_of("ebomlc")
    grown = {name for name in PHASES if after[name] > before[name] + 200}
    assert grown == {"look-ahead"}


def test_double_backward_is_part_of_the_hypergradient() -> None:
    """It goes through no pass of its own: without the mark at the slopes it would count as the upper pass."""
    phases, _ = phases_of("mlc", 16, hypergradient="double_backward")
    assert phases["look-ahead"] > 0.5 * phases["lower"]


def test_watching_changes_neither_the_step_nor_the_classes() -> None:
    originals = (FlatNetwork.__call__, FlatNetwork.at, Hypergradient.slopes, torch.autograd.grad)
    plain, seen = (make_learner("mlc", Communicator(CPU)) for _ in range(2))
    run_steps(plain, 2)
    with watched(seen.step, PhaseRecord(DeviceClock(CPU))):
        run_steps(seen, 2)
    for name, value in plain.state().items():
        assert torch.equal(value, seen.state()[name]), name
    assert originals == (FlatNetwork.__call__, FlatNetwork.at, Hypergradient.slopes, torch.autograd.grad)
    assert not {"step"} & set(vars(seen.method))
    assert not {"mean_of_sums", "assemble"} & set(vars(seen.step.reducer))


def test_watching_launches_nothing() -> None:
    step, batch = make_step("ebomlc")
    step(batch)
    counts = []
    for record in (None, PhaseRecord(DeviceClock(CPU))):
        with Launches() as launches:
            if record is None:
                step(batch)
            else:
                with watched(step, record):
                    step(batch)
        counts.append(launches.count)
    assert counts[0] == counts[1]


def exposed_of(communicator: Communicator, late: float) -> float:
    """Milliseconds this rank waits for the others, of which the last comes ``late`` seconds behind."""
    learner = make_learner("ce", communicator)
    run_steps(learner, 1, communicator.rank, communicator.world_size)
    record = PhaseRecord(DeviceClock(CPU))
    with watched(learner.step, record):
        record.begin("direction")
        if communicator.rank == 1:
            time.sleep(late)
        run_steps(learner, 1, communicator.rank, communicator.world_size, first=1)
        record.end()
    return record.exposed()


def test_waiting_for_another_rank_is_exposed(two_ranks: RankPool) -> None:
    first, second = two_ranks.run(exposed_of, 0.3)
    assert first > 200
    assert second < 100
