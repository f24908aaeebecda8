"""F1: ``kill -9`` of a random process at a random moment never costs a finished epoch, and leaves no trace in the result."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from ebomlc_dist.config import RunConfig
from ebomlc_dist.engine import trainer
from ebomlc_dist.engine.optimizers import FlatOptimizer
from ebomlc_dist.files.durable import remove_tree
from ebomlc_dist.reporting.record import RunRecord
from tests.faults.campaign import STEPS_PER_EPOCH, Campaign, check_nothing_is_lost, small_config, train_as_rank
from tests.faults.zygote import Zygote
from tests.support.runs import outcome, same_tensors

SEED = int(os.environ.get("EBOMLC_TEST_SEED", "20"))
LANES = 2


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


def assert_same(folder: Path, control: Path) -> None:
    tensors, lines, summary = outcome(folder)
    expected_tensors, expected_lines, expected_summary = outcome(control)
    assert same_tensors(tensors, expected_tensors)
    assert lines == expected_lines
    assert summary == expected_summary
    assert summary["finished"] is True


def kill_until(zygote: Zygote, world_size: int, kills: int, seed: str, folder: Path) -> tuple[Counter[str], float]:
    """One lane: runs one after the other, each killed until it finishes, until ``kills`` of them have hit."""
    campaign = Campaign(zygote, small_config(), world_size, Random(seed), folder)
    control = campaign.undisturbed()
    while campaign.kills.total() < kills:
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
    assert min(total[phase] for phase in ("start-up", "training", "saving")) > 0, "a part of the run was never hit"


@pytest.mark.parametrize(("world_size", "kills"), [(1, 60), (2, 40)])
def test_a_killed_run_ends_as_the_undisturbed_one(zygote: Zygote, world_size: int, kills: int, tmp_path: Path) -> None:
    kill_in_lanes(zygote, world_size, kills, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("world_size", "kills"), [(1, 600), (2, 400)])
def test_a_thousand_kills(zygote: Zygote, world_size: int, kills: int, tmp_path: Path) -> None:
    kill_in_lanes(zygote, world_size, kills, tmp_path)
