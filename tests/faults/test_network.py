"""A link between two machines that is cut, comes back, or loses frames: a bounded end, or the same bits.

As root, on one computer: each rank is in a network namespace of its own. ``python -m pytest -m slow
tests/faults/test_network.py``.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import pytest

from ebomlc_dist.config import RunConfig
from ebomlc_dist.files.run_folder import RunFolder, read_status
from tests.faults.campaign import STEPS_PER_EPOCH, Campaign, newest_checkpoint, small_config, train_as_rank
from tests.faults.links import Machine, join_by_cable, joined_by_lossy_link, machines
from tests.faults.zygote import Zygote
from tests.support.commands import wait_for
from tests.support.runs import assert_same

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("EBOMLC_TEST_SEED", "20"))
PORT = 29500
LIMIT_S = 3.0
END_S = LIMIT_S + 6.0
AWAY_S = 1.0
RUN_S = 180.0
# A lost frame is sent again after 0.2 s at the earliest.
LOSS = 0.03
EPOCHS, LOSSY_EPOCHS = 60, 10


def config(step_timeout_s: float, epochs: int = EPOCHS) -> RunConfig:
    """By default so long that a second is in its middle."""
    config = small_config(epochs)
    train = config.train.model_copy(update={"step_timeout_s": step_timeout_s, "start_timeout_s": 30.0})
    return config.model_copy(update={"train": train})


def train_on(machine: Machine, first: str, config: RunConfig, folder: Path, rank: int) -> None:
    """One of two ranks, each on a machine of its own, which meet at ``first``."""
    machine.enter()
    train_as_rank(config, folder, rank, 2, PORT, address=first)


class Pair:
    """Two ranks on two machines."""

    def __init__(self, zygote: Zygote, ends: list[Machine], config: RunConfig, folder: Path) -> None:
        self._zygote, self._folder = zygote, folder
        self.pids = [
            zygote.start(train_on, machine, ends[0].address, config, folder, rank) for rank, machine in enumerate(ends)
        ]

    def codes(self) -> list[int | None]:
        return [self._zygote.code(pid) for pid in self.pids]

    def wait_for_middle(self) -> None:
        middle = EPOCHS // 3 * STEPS_PER_EPOCH
        wait_for("the middle", lambda: newest_checkpoint(self._folder) >= middle or None not in self.codes(), RUN_S)
        assert self.codes() == [None, None]

    def wait(self, seconds: float) -> float:
        """Wait for the end of both; the seconds that it took."""
        return wait_for("the end of both", lambda: None not in self.codes(), seconds)

    def kill(self) -> None:
        for pid, code in zip(self.pids, self.codes(), strict=True):
            if code is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def ends() -> Iterator[list[Machine]]:
    with ExitStack() as stack:
        try:
            both = stack.enter_context(machines())
        except PermissionError as error:
            pytest.skip(str(error))
        yield both


def undisturbed(zygote: Zygote, tmp_path: Path, epochs: int = EPOCHS) -> Path:
    """The same run by two ranks on one machine."""
    (folder := tmp_path / "control").mkdir()
    return Campaign(zygote, config(30.0, epochs), 2, Random(SEED), folder).undisturbed()


@pytest.mark.parametrize("cut_at", [0, 1])
def test_a_cut_link_ends_both_in_time_and_costs_nothing(
    cut_at: int, zygote: Zygote, ends: list[Machine], tmp_path: Path
) -> None:
    join_by_cable(ends)
    folder = tmp_path / "cut"
    pair = Pair(zygote, ends, config(LIMIT_S), folder)
    try:
        pair.wait_for_middle()
        ends[cut_at].set_link("down")
        print(f"both had ended {pair.wait(END_S):.1f} s after the cut, the limit is {LIMIT_S} s")
    finally:
        pair.kill()
    assert pair.codes() == [1, 1]
    status = read_status(folder)
    print(status.reason)
    assert (status.state, status.code) == ("failed", 1)
    assert status.reason
    assert "network" in status.reason
    for rank in (0, 1):
        assert "the stacks of this rank" in RunFolder(folder).log(rank).read_text()

    ends[cut_at].set_link("up")
    again = Pair(zygote, ends, config(LIMIT_S), folder)
    again.wait(RUN_S)
    assert again.codes() == [0, 0]
    assert_same(folder, undisturbed(zygote, tmp_path))


def test_a_link_that_comes_back_in_time_changes_nothing(zygote: Zygote, ends: list[Machine], tmp_path: Path) -> None:
    join_by_cable(ends)
    folder = tmp_path / "away"
    pair = Pair(zygote, ends, config(30.0), folder)
    try:
        pair.wait_for_middle()
        ends[1].set_link("down")
        stood_at = newest_checkpoint(folder)
        time.sleep(AWAY_S)
        assert newest_checkpoint(folder) <= stood_at + 2 * STEPS_PER_EPOCH, "the ranks went on without a link"
        ends[1].set_link("up")
        pair.wait(RUN_S)
    finally:
        pair.kill()
    assert pair.codes() == [0, 0]
    assert_same(folder, undisturbed(zygote, tmp_path))


def test_a_link_that_loses_frames_changes_nothing(zygote: Zygote, ends: list[Machine], tmp_path: Path) -> None:
    folder = tmp_path / "lossy"
    with joined_by_lossy_link(zygote, ends, LOSS, SEED, tmp_path) as counted:
        pair = Pair(zygote, ends, config(30.0, LOSSY_EPOCHS), folder)
        try:
            pair.wait(RUN_S)
        finally:
            pair.kill()
        came, lost = counted()
    print(f"{lost} of {came} frames were lost")
    assert pair.codes() == [0, 0]
    assert lost > LOSS / 2 * came > 0
    assert_same(folder, undisturbed(zygote, tmp_path, LOSSY_EPOCHS))
