"""What a person sees of a sweep: a bar on a terminal, a line a cell elsewhere, nothing when quiet."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from ebomlc_dist.files import durable
from ebomlc_dist.sweeps.estimate import Estimates, duration
from ebomlc_dist.sweeps.live_status import SweepProgress
from ebomlc_dist.sweeps.store import Store
from tests.sweeps.support import FAILURE, opened, result_of, small_cells


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = opened(tmp_path / "store")
    for cell in small_cells(2):
        durable.make_folder(store.workplace(cell.key).root)
    return store


def told(store: Store, stream: io.StringIO, **options) -> str:
    """What is said of one cell that ends, one that fails, and one that was done before."""
    cells = [replace(cell, name=f"[red]{cell.name}\x1b[2J") for cell in small_cells(2)]
    store.publish(result_of(cells[0], 10.0, accuracy_last=1.0))
    with SweepProgress(store, [cell.listed for cell in cells], stream=stream, **options) as progress:
        progress.update(cells[1].listed)
        store.publish(result_of(cells[1], 20.0, accuracy_last=91.234))
        store.fail(cells[2].key, FAILURE)
        progress.update()
        progress.update()
    return stream.getvalue()


def test_a_line_for_every_cell_that_ends(store: Store) -> None:
    lines = told(store, io.StringIO()).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("2/6  [red]")
    assert "91.23 % in 20 s; about " in lines[0]
    assert lines[0].endswith(" left")
    assert "failed: it broke" in lines[1]
    assert not any("\x1b" in line for line in lines)


def test_a_bar_on_a_terminal(store: Store) -> None:
    text = told(store, Terminal())
    assert "2/6" in text
    assert "[red]" in text, "a name is no markup"
    assert "91.23 % in 20 s" in text
    assert "\x1b[2J" not in text


def test_nothing_when_quiet(store: Store) -> None:
    assert told(store, Terminal(), enabled=False) == ""


def test_estimates_go_from_like_cells_to_the_cost_of_a_step() -> None:
    cells = {cell.config.method.name: cell for cell in small_cells()}
    known = Estimates([result_of(cells["ce"], 10.0), result_of(cells["ce"], 30.0), result_of(cells["ce"], 20.0)])
    assert known.seconds(cells["ce"].flat) == 20.0
    assert known.seconds(cells["ce-oracle"].flat) == 20.0, "the same cost of a step"
    assert known.seconds(cells["ce"].flat | {"train.epochs": 99}) is None
    assert known.total([cells["ce"].flat] * 3) == 60.0
    assert known.total([cells["ce"].flat, cells["ce"].flat | {"model.name": "other"}]) is None
    assert Estimates([]).seconds(cells["ce"].flat) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("1d", 86400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "h", "2 h", "-1h", "1h x"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=text or ".*"):
        duration(text)
