"""The shipped array script on a real SLURM: a grid is filled by tasks of which one dies and one is preempted."""

import json
import os
import signal
from pathlib import Path

import pytest

from ebomlc_dist.files.run_folder import read_status
from ebomlc_dist.reports.paper_tables.values import build_tables
from ebomlc_dist.sweeps.cells import Cell, cells_of
from ebomlc_dist.sweeps.grid_file import load_grid
from ebomlc_dist.sweeps.run_cell import run_cell
from ebomlc_dist.sweeps.store import Store
from tests.cluster.slurm import Cluster
from tests.support.commands import wait_for
from tests.support.runs import assert_same

pytestmark = pytest.mark.slurm

# A cell of some seconds: long enough to be met in its middle.
EPOCHS = 60
RATES = [0.2, 0.4, 0.6]
SEEDS = [0, 1]
GRID = {
    "summary": "three rates of noise, twice each",
    "recipes": ["digits:tiny"],
    "methods": ["ce"],
    "seeds": SEEDS,
    "set": {"train.epochs": EPOCHS, "train.trackers": []},
    "over": {"noise.rate": RATES},
}
PATIENCE_S = 300.0
# What a run writes to its log when it begins or goes on.
BEGUN = "rank 0 of 1"


def at_work(cluster: Cluster, raw_id: str, store: Store) -> tuple[int, str] | None:
    """The process of an array's task that has a checkpoint of its cell and half of it to go, and the cell's key."""
    for pid in cluster.processes(raw_id):
        for key in leases_of(pid):
            run = store.workplace(key).run
            # Four steps an epoch.
            if (run.checkpoints / "latest").exists() and (read_status(run.root).step or 0) < 2 * EPOCHS:
                return pid, key
    return None


def leases_of(pid: int) -> list[str]:
    """Keys of the cells whose lease a process has open."""
    try:
        opened = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []
    return [path.parent.name for path in opened if path.name == "lease"]


def met_at_work(cluster: Cluster, task: str, store: Store) -> tuple[int, str]:
    """As `at_work`, for the task ``JOB_N``, once it is there."""
    wait_for(f"the start of {task}", lambda: cluster.job(task)["JobState"] == "RUNNING")
    raw_id = cluster.job(task)["JobId"]
    found: list[tuple[int, str]] = []

    def met() -> bool:
        one = at_work(cluster, raw_id, store)
        found.extend([one] if one is not None else [])
        return bool(found)

    wait_for(f"the middle of a cell of {task}", met)
    return found[0]


def starts_of(store: Store, cells: list[Cell]) -> dict[str, int]:
    """How often each cell was begun or continued, by its run's log."""
    logs = {cell.key: store.workplace(cell.key).run.logs / "rank-0.log" for cell in cells}
    return {key: log.read_text().count(BEGUN) for key, log in logs.items()}


def test_an_array_fills_its_grid_whatever_becomes_of_its_tasks(cluster: Cluster, tmp_path: Path) -> None:
    grid = cluster.folder / "rates.json"
    grid.write_text(json.dumps(GRID))
    cells, store = cells_of(load_grid(str(grid))), Store(cluster.run("array"))
    job = cluster.submit("sweep_array.sbatch", str(grid), "--keep=all", options=("--array=0-2",), output="array")
    left, killed, preempted = (f"{job}_{task}" for task in range(3))

    pid, dead_cell = met_at_work(cluster, killed, store)
    os.kill(pid, signal.SIGKILL)
    _, stopped_cell = met_at_work(cluster, preempted, store)
    cluster.tell("scancel", "--batch", "--signal=USR2", preempted)

    states = [cluster.ended(task, PATIENCE_S) for task in (left, killed, preempted)]
    assert states == ["COMPLETED", "FAILED", "COMPLETED"], cluster.log()
    assert [cluster.job(task)["Restarts"] for task in (left, killed, preempted)] == ["0", "0", "1"]

    assert store.done() == {cell.key for cell in cells}
    assert store.failed() == {}
    # One that was killed may be taken next by the task that is preempted.
    broken = [dead_cell, stopped_cell]
    assert starts_of(store, cells) == {cell.key: 1 + broken.count(cell.key) for cell in cells}
    (table,) = build_tables(store, "last")
    (line,) = table.lines
    assert [len(entry.scores) for entry in line.entries] == [len(SEEDS)] * len(RATES)
    for cell in cells:
        if cell.key in broken:
            run_cell(cell, tmp_path / cell.key, "cpu")
            assert_same(store.workplace(cell.key).run.root, tmp_path / cell.key)
