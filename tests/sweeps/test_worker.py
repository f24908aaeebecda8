"""A worker: the order it keeps, what it does with failures, budgets, stops and the dead."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files import durable
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.launch.signals import Signals
from ebomlc_dist.sweeps.attempt import Attempts, Keep
from ebomlc_dist.sweeps.cells import Cell
from ebomlc_dist.sweeps.lease import Lease
from ebomlc_dist.sweeps.run_cell import one_by_one, run_cell, side_by_side
from ebomlc_dist.sweeps.store import Store
from ebomlc_dist.sweeps.worker import Ended, Options, Worker
from tests.sweeps.support import fake_run, opened, result_of, small_cells


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "store")


def work(store: Store, cells: list[Cell], run: Callable = fake_run, **options: Any) -> Ended:
    return Worker(store, cells, partial(one_by_one, run), Options(**options)).work()


def test_every_cell_is_run_once_in_order(store: Store) -> None:
    cells, ran = small_cells(2), []

    def run(cell: Cell, folder: Path) -> Any:
        ran.append(cell.key)
        return fake_run(cell, folder)

    assert work(store, cells, run) == Ended("empty")
    assert ran == [cell.key for cell in cells]
    assert work(store, cells, run) == Ended("empty")
    assert len(ran) == len(cells)
    assert {result.key: result.name for result in store.results()} == {cell.key: cell.name for cell in cells}


def test_a_cell_that_another_worker_has_is_left_to_it(store: Store) -> None:
    cells = small_cells()
    lease = store.lease(cells[0].key)
    assert lease.take()
    with lease:
        assert work(store, cells) == Ended("empty")
        assert store.done() == {cell.key for cell in cells[1:]}
    assert work(store, cells) == Ended("empty")
    assert len(store.done()) == len(cells)


def test_a_cell_that_was_finished_just_before_its_lease_came_free_is_not_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the results and the lease another worker may publish and give the lease back."""
    cells, ran = small_cells(), []
    take = Lease.take

    def late(lease: Lease) -> bool:
        if not store.done():
            store.publish(result_of(cells[0], accuracy_last=1.0))
        return take(lease)

    def run(cell: Cell, folder: Path) -> Any:
        ran.append(cell.key)
        return fake_run(cell, folder)

    monkeypatch.setattr(Lease, "take", late)
    assert work(store, cells, run) == Ended("empty")
    assert ran == [cell.key for cell in cells[1:]]
    assert store.result(cells[0].key).summary == {"accuracy_last": 1.0}


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(TrainingFault("not finite"), 3), (RuntimeError("out of\nmemory"), 3), (InputError("no such data"), 1)],
)
def test_a_failing_cell_is_retried_and_stops_nobody(store: Store, error: Exception, attempts: int) -> None:
    cells = small_cells()

    def run(cell: Cell, folder: Path) -> Any:
        if cell == cells[1]:
            raise error
        return fake_run(cell, folder)

    assert work(store, cells, run, retries=2) == Ended("empty")
    assert store.done() == {cells[0].key, cells[2].key}
    failures = store.failed()[cells[1].key]
    assert len(failures) == attempts
    assert str(error).splitlines()[0] in failures[0].reason
    assert "\n" not in failures[0].reason
    assert work(store, cells, retries=2) == Ended("empty")
    assert cells[1].key not in store.done(), "its attempts are spent"
    store.forget_failures({cells[0].key})
    assert cells[1].key in store.failed()
    store.forget_failures({cells[1].key})
    assert work(store, cells, retries=2) == Ended("empty")
    assert len(store.done()) == len(cells)


def test_a_cell_that_kills_its_workers_is_given_up(store: Store) -> None:
    cells = small_cells()
    place = store.workplace(cells[0].key)
    durable.make_folder(place.root)
    for _ in range(3):
        # What a worker leaves that was killed in the cell's first epoch.
        durable.write_json(place.started, {"checkpoint": None})
        Attempts(store, "small", 1).note_death(cells[0])
    assert len(store.failed()[cells[0].key]) == 3
    assert "killed" in store.failed()[cells[0].key][0].reason
    assert work(store, cells, retries=2) == Ended("empty")
    assert cells[0].key not in store.done()


def test_a_death_after_a_further_checkpoint_costs_no_attempt(store: Store) -> None:
    cell = small_cells()[0]
    place = store.workplace(cell.key)
    durable.make_folder(place.run.checkpoints)
    durable.write_json(place.started, {"checkpoint": "step-00000003"})
    (place.run.checkpoints / "latest").write_text("step-00000006\n")
    assert work(store, [cell], retries=0) == Ended("empty")
    assert store.failed() == {}
    assert store.done() == {cell.key}


def test_cells_that_do_not_fit_the_budget_are_left(store: Store) -> None:
    cells = small_cells(2)
    by_method = {method: [c for c in cells if c.config.method.name == method] for method in ("ce", "glc")}
    store.workplace(cells[0].key)
    for cell, seconds in ((by_method["ce"][0], 1.0), (by_method["glc"][0], 1000.0)):
        durable.make_folder(store.workplace(cell.key).root)
        store.publish(result_of(cell, seconds))
    assert work(store, cells, deadline=time.monotonic() + 100.0) == Ended("budget")
    assert by_method["ce"][1].key in store.done()
    assert by_method["glc"][1].key not in store.done()


def test_no_cell_is_taken_after_the_budget(store: Store) -> None:
    assert work(store, small_cells(), deadline=time.monotonic()) == Ended("budget")
    assert store.done() == set()


def test_a_running_cell_leaves_a_checkpoint_when_the_budget_is_spent_and_goes_on_from_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = small_cells()[0]
    long = replace(
        cell, config=cell.config.model_copy(update={"train": cell.config.train.model_copy(update={"epochs": 2000})})
    )
    ended = work(store, [long], lambda c, folder: run_cell(c, folder, "cpu"), deadline=time.monotonic() + 1.5)
    assert ended == Ended("budget")
    run = store.workplace(cell.key).run
    assert (run.checkpoints / "latest").exists()
    assert not store.workplace(cell.key).started.exists()
    steps = []

    def resumed(cell: Cell, folder: Path) -> Any:
        steps.append((RunFolder(folder).checkpoints / "latest").read_text())
        return fake_run(cell, folder)

    assert work(store, [long], resumed) == Ended("empty")
    assert steps


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)])
def test_a_signal_between_cells_ends_the_worker(store: Store, number: int, code: int) -> None:
    cells = small_cells()

    def run(cell: Cell, folder: Path) -> Any:
        os.kill(os.getpid(), number)
        return fake_run(cell, folder)

    assert work(store, cells, run) == Ended("stopped", code)
    assert len(store.done()) == 1


def test_a_signal_before_the_first_step_stops_the_run_at_it(store: Store) -> None:
    cell = small_cells()[0]

    def run(cell: Cell, folder: Path) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return run_cell(cell, folder, "cpu")

    assert work(store, [cell], run) == Ended("stopped", 75)
    assert store.done() == set()
    assert (store.workplace(cell.key).run.checkpoints / "latest").exists()


def test_what_one_block_is_asked_the_outer_one_learns() -> None:
    with Signals() as outer:
        with Signals() as inner:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert inner.reason == "SIGUSR2"
            assert outer.reason is None
        assert outer.reason == "SIGUSR2"
        with Signals() as second:
            assert second.reason == "SIGUSR2"
    with Signals() as fresh:
        assert fresh.reason is None


def test_a_stop_of_the_run_ends_the_worker(store: Store) -> None:
    def run(cell: Cell, folder: Path) -> Any:
        raise Stopped(folder, 7, "SIGTERM")

    assert work(store, small_cells(), run) == Ended("stopped", 75)
    assert store.failed() == {}


def pack(store: Store, cells: list[Cell], **options: Any) -> Ended:
    run = partial(side_by_side, device="cpu")
    return Worker(store, cells, run, Options(packed=3, neighbours=3, **options)).work()


def test_cells_side_by_side_have_the_results_that_they_have_alone(store: Store, tmp_path: Path) -> None:
    cells = small_cells(2)
    alone = opened(tmp_path / "alone")
    assert pack(store, cells) == Ended("empty")
    assert work(alone, cells, lambda c, folder: run_cell(c, folder, "cpu")) == Ended("empty")
    timed = ("train_seconds", "images_per_second", "goodput")
    for cell in cells:
        ours, theirs = (
            {key: value for key, value in place.result(cell.key).summary.items() if key not in timed}
            for place in (store, alone)
        )
        assert ours == theirs
    assert {result.neighbours for result in store.results()} == {3}


def test_a_cell_that_fails_beside_others_leaves_them_alone(store: Store) -> None:
    cells = small_cells()
    data = cells[1].config.data.model_copy(update={"clean_size": 100_000})
    cells[1] = replace(cells[1], config=cells[1].config.model_copy(update={"data": data}))
    assert pack(store, cells) == Ended("empty")
    assert store.done() == {cells[0].key, cells[2].key}
    assert [failure.code for failure in store.failed()[cells[1].key]] == [2]


def test_cells_side_by_side_stop_together_when_the_budget_is_spent(store: Store) -> None:
    cells = small_cells()
    train = cells[0].config.train.model_copy(update={"epochs": 2000})
    cells = [replace(cell, config=cell.config.model_copy(update={"train": train})) for cell in cells]
    assert pack(store, cells, deadline=time.monotonic() + 1.5) == Ended("budget")
    places = [store.workplace(cell.key) for cell in cells]
    assert all((place.run.checkpoints / "latest").exists() and not place.started.exists() for place in places)


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ("none", set()),
        ("small", {"config.json", "environment.json", "metrics.jsonl", "summary.json", "status.json", "run.lock"}),
        ("all", {"checkpoints", "model", "split.json", "logs"}),
    ],
)
def test_what_is_kept_of_a_run(store: Store, keep: Keep, left: set[str]) -> None:
    cell = small_cells()[0]
    assert work(store, [cell], lambda c, folder: run_cell(c, folder, "cpu"), keep=keep) == Ended("empty")
    run = store.workplace(cell.key).run.root
    names = {path.name for path in run.iterdir()} if run.is_dir() else set()
    assert names == left if keep != "all" else names > left


def test_a_result_is_small_and_names_no_folder(store: Store) -> None:
    def run(cell: Cell, folder: Path) -> Any:
        summary, environment = fake_run(cell, folder)
        large = {name: [[1] * 100] * 100 for name in ("correction_matrix", "given_correction_matrix")}
        return summary | {"run": str(folder), **large}, environment

    (cell,) = small_cells()[:1]
    work(store, [cell], run)
    assert store.result(cell.key).summary == fake_run(cell, Path())[0]
    assert store.result(cell.key).environment == {"devices": ["cpu"], "cuda_graph": False}
    assert (store.cells / f"{cell.key}.json").stat().st_size < 10_000


def test_matrices_of_few_classes_are_part_of_a_result(store: Store) -> None:
    small = {"correction_matrix": [[3, 1], [0, 2]], "given_correction_matrix": None}

    def run(cell: Cell, folder: Path) -> Any:
        summary, environment = fake_run(cell, folder)
        return summary | small, environment

    (cell,) = small_cells()[:1]
    work(store, [cell], run)
    assert store.result(cell.key).summary == fake_run(cell, Path())[0] | small


def test_what_a_worker_left_that_died_after_publishing_is_finished(store: Store) -> None:
    cell = small_cells()[0]
    place = store.workplace(cell.key)
    durable.make_folder(place.run.checkpoints)
    durable.write_json(place.started, {"checkpoint": None})
    store.publish(result_of(cell))
    assert work(store, [cell]) == Ended("empty")
    assert not place.run.checkpoints.exists()
    assert not place.started.exists()
