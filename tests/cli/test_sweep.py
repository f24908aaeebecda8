"""``ebomlc sweep`` and ``ebomlc tables``: real tiny cells, refusals in one line, exit codes, several workers."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.errors import TrainingFault
from ebomlc_dist.sweeps.store import Store
from tests.cli.conftest import Ended, refuse
from tests.support.commands import EBOMLC, command, wait_for

GRID = """
recipes: [digits:tiny]
methods: [ce, glc]
seeds: [0, 1]
set: {train.trackers: "[]", data.noisy_size: 120}
"""


@pytest.fixture
def grid(place: Path) -> str:
    (place / "four.yaml").write_text(GRID)
    return "four.yaml"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cells that end at once; their names in the order in which they ran."""
    ran: list[str] = []

    def run_cell(cell, folder: Path, device: str):
        ran.append(cell.name)
        return {"accuracy_last": 50.0, "train_seconds": 1.0}, {"devices": ["cpu"]}

    monkeypatch.setattr("ebomlc_dist.sweeps.run_cell.run_cell", run_cell)
    return ran


def test_from_a_grid_to_a_table(grid: str, ebomlc: Callable[..., Ended]) -> None:
    ended = ebomlc("sweep", grid)
    assert ended.code == 0, ended.err
    assert "4 cells: 4 done, 0 running, 0 failed, 0 waiting" in ended.out
    assert ended.err.count(" % in ") == 4
    assert "4/4" in ended.err
    assert "tables sweeps/four" in ended.out
    again = ebomlc("sweep", grid)
    assert (again.code, again.err) == (0, "")
    state = json.loads(ebomlc("sweep", "status", "four", "--json").out)["four"]
    assert (state["done"], state["waiting"]) == (4, 0)
    assert "all     4      4     0        0       0" in ebomlc("sweep", "status", "sweeps/four").out
    table = ebomlc("tables", grid)
    assert table.code == 0
    assert "| `glc` |" in table.out
    assert "missing" not in table.out.split("\n\n-")[0]
    assert ebomlc("tables", "four", "-o", "tables").out.split() == [
        f"tables/tables.{ending}" for ending in ("md", "tex", "csv", "html")
    ]
    assert Path("tables/tables.md").read_text() == table.out
    assert json.loads(ebomlc("tables", "four", "--json", "--score", "best").out)[0]["title"] == "digits"


def test_cells_side_by_side(grid: str, ebomlc: Callable[..., Ended]) -> None:
    assert ebomlc("sweep", grid, "--packed", "2").code == 0
    assert {result.neighbours for result in Store(Path("sweeps/four")).results()} == {2}


def test_only_some_of_the_cells(grid: str, fake: list[str], ebomlc: Callable[..., Ended]) -> None:
    assert ebomlc("sweep", "run", grid, "--method", "glc", "--seeds", "1", "-q").code == 0
    assert fake == ["glc digits:tiny seed 1"]
    assert json.loads(ebomlc("sweep", "status", "four", "--json").out)["four"]["waiting"] == 3
    dry = ebomlc("sweep", grid, "--dry-run")
    assert dry.code == 0
    assert [line.split()[0] for line in dry.out.splitlines()[1:]] == ["1", "2", "3", "4"]
    assert "done" in next(line for line in dry.out.splitlines() if "glc digits:tiny seed 1" in line)
    assert len(fake) == 1


def test_set_makes_other_cells(grid: str, fake: list[str], ebomlc: Callable[..., Ended]) -> None:
    ebomlc("sweep", grid, "-q")
    assert ebomlc("sweep", grid, "-q", "--set", "train.epochs=3", "--data-dir", "elsewhere").code == 0
    assert len(fake) == 8
    configs = [result.config["train.epochs"] for result in Store(Path("sweeps/four")).results()]
    assert sorted(configs) == [2] * 4 + [3] * 4


def test_failed_cells_end_in_1_and_are_named(
    grid: str, fake: list[str], ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(cell, folder: Path, device: str):
        raise TrainingFault("10 steps in a row were not finite")

    with monkeypatch.context() as patch:
        patch.setattr("ebomlc_dist.sweeps.run_cell.run_cell", fails)
        ended = ebomlc("sweep", grid, "--retries", "1", "--seeds", "0", "--method", "ce")
    assert ended.code == 1
    assert ended.err.count("failed: 10 steps in a row were not finite") == 2
    assert "2 attempt(s): 10 steps" in ebomlc("sweep", "status", "four").out
    assert ebomlc("sweep", grid, "--retries", "1", "-q").code == 1
    assert len(fake) == 3
    assert ebomlc("sweep", grid, "--retry-failed", "-q").code == 0
    assert len(fake) == 4


def test_a_stop_ends_in_75(
    grid: str, fake: list[str], ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(cell, folder: Path, device: str):
        raise Stopped(folder, 3, "SIGTERM")

    monkeypatch.setattr("ebomlc_dist.sweeps.run_cell.run_cell", stops)
    ended = ebomlc("sweep", grid)
    assert ended.code == 75
    assert "the same command goes on" in ended.err


def test_a_spent_budget_ends_in_75(grid: str, fake: list[str], ebomlc: Callable[..., Ended]) -> None:
    ended = ebomlc("sweep", grid, "--budget", "0s")
    assert (ended.code, fake) == (75, [])
    assert "budget" in ended.err
    assert ebomlc("sweep", grid, "--budget", "1h30m", "-q").code == 0
    assert len(fake) == 4


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("nowhere.yaml",), "nowhere.yaml does not exist"),
        (("papr",), "did you mean 'paper'"),
        (("four.yaml", "--budget", "soon"), "--budget soon"),
        (("four.yaml", "--workers", "0"), "--workers 0"),
        (("four.yaml", "--packed", "0"), "--packed 0"),
        (("four.yaml", "--method", "mlc"), "--method mlc is not in the grid, which has ce, glc"),
        (("four.yaml", "--seeds", "7"), "--seeds 7"),
        (("four.yaml", "--set", "epochs"), "key=value"),
        (("four.yaml", "-o", "taken"), "not empty"),
        (("status", "four.yaml"), "no store"),
    ],
)
def test_bad_input_is_one_line(grid: str, words: tuple[str, ...], line: str, ebomlc: Callable[..., Ended]) -> None:
    Path("taken").mkdir()
    Path("taken/thesis.txt").touch()
    assert line in ebomlc("sweep", *words).refused()
    assert not Path("sweeps").exists()


def test_data_that_are_not_there_are_refused_before_any_cell(
    place: Path, ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebomlc_dist.sweeps.run_cell.run_cell", refuse)
    ended = ebomlc("sweep", "paper", "--data-dir", "nowhere", "--set", "data.download=false")
    assert "nowhere" in ended.refused()


def test_a_launcher_is_refused(grid: str, ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "--workers" in ebomlc("sweep", grid).refused()


def test_tables_of_nothing_are_refused(ebomlc: Callable[..., Ended]) -> None:
    assert "no store" in ebomlc("tables", "paper").refused()


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.slow
def test_two_workers_one_killed_and_all_stopped(place: Path, processes: ExitStack) -> None:
    """One command: a killed worker gets a successor, a signal reaches all, the same command goes on to the end."""
    (place / "long.yaml").write_text(GRID.replace("data.noisy_size: 120", "train.epochs: 40"))
    store = Store(place / "sweeps" / "long")
    words = [*EBOMLC, "sweep", "long.yaml", "--workers", "2", "--retries", "9"]
    first = processes.enter_context(command(words, place))
    wait_for("both workers to begin", lambda: len(list(store.work.glob("*/run/checkpoints/latest"))) == 2)
    workers = set(first.alive()) - {first.process.pid}
    os.kill(min(workers), signal.SIGKILL)
    wait_for("a successor", lambda: len(set(first.alive()) - {first.process.pid} - workers) == 1)
    first.process.send_signal(signal.SIGTERM)
    code, out, err = first.wait()
    assert code == 75, out + err
    assert first.alive() == []
    second = processes.enter_context(command([*words, "--device", "cpu"], place))
    code, out, err = second.wait()
    assert code == 0, out + err
    assert "4 cells: 4 done" in out
    assert {result.neighbours for result in store.results()} == {2}
