"""Two workers killed at random while they fill a grid: no cell is lost, none is done twice."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from ebomlc_dist.files.durable import is_litter
from ebomlc_dist.sweeps.lease import Lease
from ebomlc_dist.sweeps.run_cell import run_cell
from ebomlc_dist.sweeps.store import Store
from tests.faults.zygote import Zygote
from tests.sweeps.support import METHODS, fill, opened, small_cells

SEED = int(os.environ.get("EBOMLC_TEST_SEED", "20"))
WORKERS = 2
PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


def fill_under_fire(
    zygote: Zygote, store: Store, seeds: int, kills: int, inside: Path, random: Random, packed: int = 1
) -> int:
    """Workers, each killed after a random while and replaced, until ``kills`` have hit; the last end by themselves."""
    inside.mkdir()
    hits, began = 0, time.monotonic()
    crew: dict[int, float] = {}
    while True:
        while len(crew) < WORKERS:
            crew[zygote.start(fill, store.root, seeds, inside, packed)] = time.monotonic() + random.uniform(0.05, 0.6)
        time.sleep(0.01)
        for pid, end in list(crew.items()):
            if hits < kills and time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            code = zygote.code(pid)
            if code is None:
                continue
            del crew[pid]
            assert code in (0, -signal.SIGKILL), f"a worker ended with {code}"
            hits += code == -signal.SIGKILL
            if code == 0 and len(store.done()) == len(METHODS) * seeds:
                for other in crew:
                    while zygote.code(other) is None:
                        time.sleep(0.01)
                return hits
        assert time.monotonic() - began < PATIENCE_S, f"{len(store.done())} cells after {PATIENCE_S} s"


def check(store: Store, seeds: int, inside: Path, folder: Path) -> None:
    cells = small_cells(seeds)
    assert store.done() == {cell.key for cell in cells}
    assert len(list(store.cells.iterdir())) == len(cells), "something beside the results"
    assert list(inside.glob("*-doubled")) == []
    assert not any(is_litter(path.name) for path in store.root.rglob("*"))
    assert not list(store.work.glob("*/started.json"))
    for cell in cells[:: max(1, len(cells) // 3)]:
        undisturbed, _ = run_cell(cell, folder / cell.key, "cpu")
        left_out = ("run", "train_seconds", "images_per_second", "goodput")
        expected = {key: value for key, value in undisturbed.items() if key not in left_out}
        found = {key: value for key, value in store.result(cell.key).summary.items() if key not in left_out}
        assert found == expected, f"{cell.name} differs from its undisturbed run"


def test_workers_killed_at_random_lose_and_double_nothing(zygote: Zygote, tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    hits = fill_under_fire(zygote, store, 2, 6, tmp_path / "inside", Random(SEED))
    assert hits >= 3
    check(store, 2, tmp_path / "inside", tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("packed", [1, 3])
def test_thirty_cells_under_two_workers_killed_sixty_times(zygote: Zygote, tmp_path: Path, packed: int) -> None:
    store = opened(tmp_path / "store")
    hits = fill_under_fire(zygote, store, 10, 60, tmp_path / "inside", Random(SEED), packed)
    check(store, 10, tmp_path / "inside", tmp_path / "undisturbed")
    attempts = sum(len(failures) for failures in store.failed().values())
    print(f"EBOMLC_TEST_SEED={SEED}: {len(store.done())} cells, {hits} kills, {attempts} attempts without a checkpoint")
    assert hits >= 30


def fill_without_leases(folder: Path, seeds: int, inside: Path) -> None:
    Lease.take = lambda self: True  # type: ignore[method-assign]
    Lease.give_back = lambda self: None  # type: ignore[method-assign]
    (inside / f"ready-{os.getpid()}").touch()
    while len(list(inside.glob("ready-*"))) < WORKERS:
        time.sleep(0.005)
    fill(folder, seeds, inside)


def test_without_leases_two_workers_get_in_each_others_way(zygote: Zygote, tmp_path: Path) -> None:
    """The control: what the tests above look for, or a worker that fell over the other's files, is there to be seen."""
    store, inside = opened(tmp_path / "store"), tmp_path / "inside"
    inside.mkdir()
    crew = [zygote.start(fill_without_leases, store.root, 1, inside) for _ in range(WORKERS)]
    while None in (codes := [zygote.code(pid) for pid in crew]):
        time.sleep(0.01)
    doubled = {path.name.removesuffix("-doubled") for path in inside.glob("*-doubled")}
    refused = {key for key, failures in store.failed().items() if "another process is running" in failures[-1].reason}
    assert doubled or refused or any(codes)
