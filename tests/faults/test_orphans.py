"""No worker outlives its launcher; a request to stop ends every process with one checkpoint."""

import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.run_folder import read_status
from tests.support.commands import (
    ACCELERATE,
    CONFIGS,
    EBOMLC,
    ROOT,
    Command,
    command,
    is_training,
    wait_for,
)

# Nobody waits for its end.
LONG = ["digits:tiny", "--method", "ebomlc", "--epochs", "100000", "--quiet", "--set", "train.trackers=[]"]
TRAIN = [str(ROOT / "train.py"), *LONG, "-o", "out"]
STARTS = {
    "accelerate": [*ACCELERATE, "--config_file", str(CONFIGS / "cpu_2_processes.yaml"), *TRAIN],
    "accelerate-single": [*ACCELERATE, "--config_file", str(CONFIGS / "cpu.yaml"), *TRAIN],
    "ebomlc": [*EBOMLC, "train", *LONG, "-o", "out", "--num-processes", "2", "--device", "cpu"],
}
GONE_S = 2.0
# With a step to finish and a checkpoint to write; schedulers wait as long before they kill.
IN_ORDER_S = 30.0


def kill_and_watch(started: Command) -> float:
    """Kill the parent of all; returns how long its last process took to go."""
    assert len(started.alive()) > 1
    started.process.kill()
    return wait_for("orphans", lambda: not started.alive(), 60.0)


@pytest.mark.parametrize("name", ["accelerate", pytest.param("accelerate-single", marks=pytest.mark.slow)])
def test_nobody_outlives_the_launcher(name: str, tmp_path: Path) -> None:
    with command(STARTS[name], tmp_path) as started:
        wait_for("the first step", lambda: is_training(tmp_path / "out"))
        assert kill_and_watch(started) < GONE_S


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(10))
@pytest.mark.parametrize("name", STARTS)
def test_nobody_outlives_a_parent_killed_while_it_starts(name: str, trial: int, tmp_path: Path) -> None:
    """At any moment from the first child to the first steps; a worker that has only just begun looks up first."""
    moment = Random(f"{name}-{trial}").uniform(0.0, 12.0)
    with command(STARTS[name], tmp_path) as started:
        wait_for("a child", lambda: len(started.alive()) > 1)
        time.sleep(moment)
        kill_and_watch(started)


def test_asked_or_orphaned_the_processes_of_ebomlc_stop_with_one_checkpoint(tmp_path: Path) -> None:
    """SIGTERM ends with code 75; after ``kill -9`` of the command its launcher is told, and the run stops just so."""
    folder = tmp_path / "out"
    with command(STARTS["ebomlc"], tmp_path) as started:
        wait_for("the first step", lambda: is_training(folder))
        os.kill(started.process.pid, signal.SIGTERM)
        code, _, err = started.wait()
        assert not started.alive()
    assert (code, read_status(folder).code) == (75, 75), err
    first = stopped_at(folder)

    with command([*STARTS["ebomlc"], "--resume", "auto"], tmp_path) as continued:
        wait_for("a later step", lambda: read_status(folder).state == "running" and is_training(folder))
        assert kill_and_watch(continued) < IN_ORDER_S
    assert stopped_at(folder) > first


def stopped_at(folder: Path) -> int:
    """The step of the checkpoint of a run that was stopped."""
    status = read_status(folder)
    assert (status.state, status.reason) == ("stopped", "SIGTERM")
    checkpoint = CheckpointStore(folder / "checkpoints").load()
    assert checkpoint is not None
    assert checkpoint.step == status.step
    assert not list((folder / "checkpoints").glob(".tmp-*"))
    return checkpoint.step
