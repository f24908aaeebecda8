"""``kill -9`` of a random process at a random moment costs no finished epoch and leaves no trace in the result."""

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
import torch

from ebomlc_dist.config import RunConfig
from ebomlc_dist.engine.optimizers import FlatOptimizer
from ebomlc_dist.files.durable import remove_tree
from ebomlc_dist.files.run_folder import read_status
from ebomlc_dist.monitoring.record import RunRecord
from tests.faults.campaign import (
    PHASES,
    RUN_S,
    STEPS_PER_EPOCH,
    Campaign,
    check_nothing_is_lost,
    small_config,
    train_as_rank,
)
from tests.faults.zygote import Zygote
from tests.support.pool import free_port
from tests.support.runs import assert_same, outcome, same_tensors

SEED = int(os.environ.get("EBOMLC_TEST_SEED", "20"))
LANES = 2


def kill_until(zygote: Zygote, world_size: int, kills: int, seed: str, folder: Path) -> tuple[Counter[str], float]:
    """One lane: runs one after the other, killed until they finish, until ``kills`` have hit, some in every phase."""
    campaign = Campaign(zygote, small_config(), world_size, Random(seed), folder)
    control = campaign.undisturbed()
    while campaign.kills.total() < kills or (PHASES - set(campaign.kills) and campaign.kills.total() < 10 * kills):
        folder = campaign.killed(f"after-{campaign.kills.total()}")
        assert_same(folder, control)
        remove_tree(folder)
    return campaign.kills, campaign.slowest_end_s


def kill_in_lanes(zygote: Zygote, world_size: int, kills: int, folder: Path) -> None:
    print(f"EBOMLC_TEST_SEED={SEED}")
    with ThreadPoolExecutor(LANES) as pool:
        lanes = [
            pool.submit(
                kill_until, zygote, world_size, kills // LANES, f"{SEED}-{world_size}-{lane}", folder / str(lane)
            )
            for lane in range(LANES)
        ]
        counted, ends = zip(*[lane.result() for lane in lanes], strict=True)
    total = sum(counted, Counter())
    print(f"{dict(total)}; the slowest survivor ended after {max(ends):.2f} s")
    assert total.total() >= kills
    assert set(total) == PHASES, "a part of the run was never hit"


@pytest.mark.parametrize(("world_size", "kills"), [(1, 24), (2, 16)])
def test_a_killed_run_ends_as_the_undisturbed_one(zygote: Zygote, world_size: int, kills: int, tmp_path: Path) -> None:
    kill_in_lanes(zygote, world_size, kills, tmp_path)


def die_at(step: int, config: RunConfig, folder: Path, rank: int = 0, world_size: int = 1, port: int = 0) -> None:
    """Train; rank 0 is killed once ``step`` steps are done."""
    original = RunRecord.step

    def record(self: RunRecord, done: int) -> None:
        original(self, done)
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    RunRecord.step = record  # type: ignore[method-assign]
    train_as_rank(config, folder, rank, world_size, port)


def continue_badly(forgotten: str | None, config: RunConfig, folder: Path) -> None:
    """Continue a run, with one part of resuming left out."""
    if forgotten == "journal":
        RunRecord.wind_back = lambda self, offset: None  # type: ignore[method-assign]
    elif forgotten == "optimisers":
        FlatOptimizer.load = lambda self, *state: None  # type: ignore[method-assign]
    elif forgotten == "generators":
        torch.set_rng_state = lambda state: None
    train_as_rank(config, folder, 0, 1, 0)


def ended(zygote: Zygote, pid: int) -> int:
    end = time.monotonic() + RUN_S
    while (code := zygote.code(pid)) is None:
        assert time.monotonic() < end, f"not done within {RUN_S} s"
        time.sleep(0.01)
    return code


@pytest.mark.parametrize("forgotten", ["journal", "optimisers", "generators"])
def test_the_comparison_sees_what_a_resume_forgets(zygote: Zygote, forgotten: str, tmp_path: Path) -> None:
    """Negative controls: killed in the second epoch, continued well and badly."""
    config, killed_at = small_config(epochs=2), STEPS_PER_EPOCH + 2
    folders = [tmp_path / name for name in ("undisturbed", "well", "badly")]
    for folder in folders[1:]:
        assert ended(zygote, zygote.start(die_at, killed_at, config, folder)) == -signal.SIGKILL
    choices = zip((None, None, forgotten), folders, strict=True)
    pids = [zygote.start(continue_badly, choice, config, folder) for choice, folder in choices]
    assert [ended(zygote, pid) for pid in pids] == [0, 0, 0]
    undisturbed, well, badly = (outcome(folder) for folder in folders)
    assert same_tensors(well[0], undisturbed[0])
    assert well[1] == undisturbed[1]
    assert badly[1] != undisturbed[1]
    assert same_tensors(badly[0], undisturbed[0]) is (forgotten == "journal")


def test_a_survivor_leaves_its_reason_behind(zygote: Zygote, tmp_path: Path) -> None:
    port = free_port()
    pids = [zygote.start(die_at, 4, small_config(), tmp_path, rank, 2, port) for rank in (0, 1)]
    assert [ended(zygote, pid) for pid in pids] == [-signal.SIGKILL, 1]
    status = read_status(tmp_path)
    assert (status.state, status.code, status.rank) == ("failed", 1, 0)
    log = (tmp_path / "logs" / "rank-1.log").read_text()
    assert "Traceback" in log
    assert str(status.reason).partition(": ")[2] in log


def test_a_lost_epoch_is_seen(zygote: Zygote, tmp_path: Path) -> None:
    config = small_config(epochs=2)
    assert ended(zygote, zygote.start(die_at, STEPS_PER_EPOCH + 1, config, tmp_path)) == -signal.SIGKILL
    assert check_nothing_is_lost(tmp_path) == STEPS_PER_EPOCH
    remove_tree(next((tmp_path / "checkpoints").glob("step-*")))
    with pytest.raises(AssertionError, match="lost an epoch"):
        check_nothing_is_lost(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("world_size", "kills"), [(1, 600), (2, 400)])
def test_a_thousand_kills(zygote: Zygote, world_size: int, kills: int, tmp_path: Path) -> None:
    kill_in_lanes(zygote, world_size, kills, tmp_path)
