"""A rank that dies, stops or sleeps: the right one is named, in time, with the stacks of the others, and all end."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
import torch.distributed as dist

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed import runtime
from ebomlc_dist.engine.cuda_graph import EagerProgram
from ebomlc_dist.engine.stop import AgreedFlag
from ebomlc_dist.engine.trainer import Trainer
from ebomlc_dist.files.run_folder import RunFolder, read_status
from ebomlc_dist.launch.rendezvous import RankInfo
from ebomlc_dist.launch.watchdog import WaitCounter, Watchdog
from tests.faults.campaign import small_config, train_as_rank
from tests.faults.zygote import Zygote
from tests.support.commands import is_training, wait_for

LIMIT_S = 2.0
DEATH_S = 2.0
END_S = 6.0


def long_config(**data: Any) -> RunConfig:
    config = small_config(epochs=100_000)
    train = config.train.model_copy(update={"step_timeout_s": LIMIT_S, "start_timeout_s": 30.0, "log_interval": 50})
    return config.model_copy(update={"train": train, "data": config.data.model_copy(update=data)})


def train_or_sleep(folder: Path, rank: int, port: int, config: RunConfig, sleeps: bool) -> None:
    """One of two ranks, which meet in a store that a launcher serves. One that ``sleeps`` does so in its tenth step."""
    original = Trainer._step

    def step(self: Trainer, number: int) -> None:
        if sleeps and number == 10:
            RunFolder(folder).root.joinpath("asleep").touch()
            time.sleep(1000)
        original(self, number)

    Trainer._step = step  # type: ignore[method-assign]
    # A fork of a helper that may have no children; a rank reads with some.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    train_as_rank(config, folder, rank, 2, port)


def train_on_hung_device(folder: Path, rank: int, port: int, config: RunConfig, hung_at: int) -> None:
    """One of two ranks; no device ends step ``hung_at``, as where a collective in a recorded step does not end.

    The host goes on until it asks for what is not done: by the stop flag of two steps before, or by waiting for all.
    """
    take, read = EagerProgram.__call__, AgreedFlag.read
    asked: list[int] = []

    def hang() -> None:
        time.sleep(1000)

    def program(self: EagerProgram, step: int) -> Any:
        asked.append(step)
        return take(self, step)

    def flag(self: AgreedFlag, tensor: Any) -> bool:
        if asked[-1] - 2 >= hung_at:
            hang()
        return read(self, tensor)

    def wait_for_device(device: Any) -> None:
        if asked and asked[-1] >= hung_at:
            hang()

    EagerProgram.__call__, AgreedFlag.read = program, flag  # type: ignore[method-assign]
    runtime.wait_for_device = wait_for_device
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    train_as_rank(config, folder, rank, 2, port)


def wait_for_a_mute_store(told: Path, host: str) -> None:
    """Rank 1 of ``here`` waits for rank 0 on ``host``, which is stopped if here, and its store never answers."""

    class Mute:
        def set(self, *_: object) -> None:
            time.sleep(1000)

    other = subprocess.Popen(["sleep", "10"])
    if host == "here":
        # The watch ends it.
        other.send_signal(signal.SIGSTOP)
    infos = [RankInfo(0, host, other.pid, "", {}), RankInfo(1, "here", os.getpid(), "", {})]
    watch = Watchdog(cast(dist.Store, Mute()), infos, 1, wait_counter := WaitCounter())
    watch.listener = lambda verdict, found: told.write_text(f"{verdict.rank} {found} {verdict.reason}") and None
    with wait_counter.waiting(0.5):
        time.sleep(1000)


class Pair:
    """Two ranks in training."""

    def __init__(
        self,
        zygote: Zygote,
        folder: Path,
        config: RunConfig,
        sleeper: int | None = None,
        hung_at: int | None = None,
    ) -> None:
        self.zygote, self.folder = zygote, folder
        self.store = dist.TCPStore(
            "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=30)
        )
        work = train_or_sleep if hung_at is None else train_on_hung_device
        self.pids = [
            zygote.start(work, folder, rank, self.store.port, config, rank == sleeper if hung_at is None else hung_at)
            for rank in (0, 1)
        ]

    def alive(self) -> list[int]:
        return [pid for pid in self.pids if self.zygote.code(pid) is None]

    def kill(self) -> None:
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    started: list[Pair] = []
    yield started
    for pair in started:
        pair.kill()


def ended(pair: Pair, rank: int, seconds: float) -> str:
    """Wait for the end of both; the reason, which must name ``rank``."""
    folder = pair.folder
    wait_for("a verdict", lambda: read_status(folder).state == "failed", seconds)
    wait_for("the end of all", lambda: not pair.alive(), END_S)
    status = read_status(folder)
    assert (status.rank, status.code) == (rank, 1), status
    assert status.reason
    assert status.reason.startswith(f"rank {rank} on ")
    return status.reason


def assert_stacks(folder: Path, rank: int, text: str) -> None:
    log = RunFolder(folder).log(rank).read_text()
    assert "the stacks of this rank" in log
    assert text in log.partition("the stacks of this rank")[2]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_named(rank: int, zygote: Zygote, tmp_path: Path, pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(zygote, tmp_path, long_config()))
    wait_for("the first step", lambda: is_training(tmp_path))
    os.kill(pair.pids[rank], signal.SIGKILL)
    assert " died " in ended(pair, rank, DEATH_S)
    assert_stacks(tmp_path, 1 - rank, "train")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_rank_is_named_and_ended(rank: int, zygote: Zygote, tmp_path: Path, pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(zygote, tmp_path, long_config()))
    wait_for("the first step", lambda: is_training(tmp_path))
    os.kill(pair.pids[rank], signal.SIGSTOP)
    assert "its process is stopped" in ended(pair, rank, LIMIT_S + 1.0)
    assert_stacks(tmp_path, 1 - rank, "wait")


def test_a_stopped_rank_is_named_where_ranks_meet_within_passes(
    zygote: Zygote, tmp_path: Path, pairs: list[Pair]
) -> None:
    config, limit_s = long_config(), 2 * LIMIT_S
    train = config.train.model_copy(update={"strategy": "fsdp", "step_timeout_s": limit_s})
    pairs.append(pair := Pair(zygote, tmp_path, config.model_copy(update={"train": train})))
    wait_for("the first step", lambda: is_training(tmp_path))
    os.kill(pair.pids[1], signal.SIGSTOP)
    assert "its process is stopped" in ended(pair, 1, limit_s + 1.0)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_sleeping_rank_is_named_with_what_it_does(
    rank: int, zygote: Zygote, tmp_path: Path, pairs: list[Pair]
) -> None:
    pairs.append(pair := Pair(zygote, tmp_path, long_config(), sleeper=rank))
    wait_for("the sleep", (tmp_path / "asleep").exists)
    assert f"see its log, rank-{rank}.log" in ended(pair, rank, LIMIT_S + 1.0)
    assert_stacks(tmp_path, rank, "test_watchdog.py")
    assert_stacks(tmp_path, 1 - rank, "wait")


def test_a_stopped_data_worker_is_its_ranks_delay(zygote: Zygote, tmp_path: Path, pairs: list[Pair]) -> None:
    pairs.append(pair := Pair(zygote, tmp_path, long_config(loader="dataloader", num_workers=1)))
    wait_for("the first step", lambda: is_training(tmp_path))
    (worker,) = Path(f"/proc/{pair.pids[1]}/task/{pair.pids[1]}/children").read_text().split()
    os.kill(int(worker), signal.SIGSTOP)
    assert "see its log, rank-1.log" in ended(pair, 1, LIMIT_S + 2.0)
    assert_stacks(tmp_path, 1, "read")
    wait_for("the end of the worker", lambda: not Path(f"/proc/{worker}/cmdline").exists(), END_S)


@pytest.mark.parametrize(("hung_at", "met_in"), [(9, "in flag"), (10, "in wait_for_device")])
def test_a_device_that_hangs_on_all_ranks_ends_the_job(
    hung_at: int, met_in: str, zygote: Zygote, tmp_path: Path, pairs: list[Pair]
) -> None:
    """Nothing but the host watches the collectives of a recorded step."""
    pairs.append(pair := Pair(zygote, tmp_path, long_config(), hung_at=hung_at))
    wait_for("the first step", lambda: is_training(tmp_path))
    wait_for("a verdict", lambda: read_status(tmp_path).state == "failed", LIMIT_S + 20.0)
    wait_for("the end of all", lambda: not pair.alive(), END_S)
    status = read_status(tmp_path)
    assert (status.rank, status.code) == (None, 1)
    assert str(status.reason).startswith("all ranks wait for each other after step 12")
    for rank in (0, 1):
        assert_stacks(tmp_path, rank, met_in)


@pytest.mark.parametrize(
    ("host", "reason"), [("here", "its process is stopped"), ("there", "the network to it is cut, or its machine")]
)
def test_a_rank_whose_store_never_answers_ends_by_itself(
    host: str, reason: str, zygote: Zygote, tmp_path: Path
) -> None:
    pid = zygote.start(wait_for_a_mute_store, tmp_path / "told", host)
    assert wait_for("the end", lambda: zygote.code(pid) is not None, END_S) > 0.5
    assert zygote.code(pid) == 1
    told = (tmp_path / "told").read_text()
    assert told.startswith(f"0 True rank 0 on {host} ")
    assert reason in told


def test_a_busy_rank_is_no_late_one(zygote: Zygote, tmp_path: Path, pairs: list[Pair]) -> None:
    """Negative control: stopped for less than the limit, again and again."""
    pairs.append(pair := Pair(zygote, tmp_path, long_config()))
    wait_for("the first step", lambda: is_training(tmp_path))
    for rank in (0, 1, 0):
        os.kill(pair.pids[rank], signal.SIGSTOP)
        time.sleep(LIMIT_S / 2)
        os.kill(pair.pids[rank], signal.SIGCONT)
        time.sleep(0.3)
    assert len(pair.alive()) == 2
    assert read_status(tmp_path).state == "running"


def test_the_wait_counter_counts_places_and_time() -> None:
    wait_counter = WaitCounter()
    assert wait_counter.left_s() is None
    with wait_counter.waiting(5.0):
        left = wait_counter.left_s()
        assert left is not None
        assert 4.0 < left <= 5.0
        assert wait_counter.count == 1
    assert (wait_counter.left_s(), wait_counter.count) == (None, 2)


@pytest.mark.slow
def test_two_hundred_faults(zygote: Zygote, tmp_path: Path, pairs: list[Pair]) -> None:
    """At random moments: the right rank in all of them, no process left."""
    random = Random(int(os.environ.get("EBOMLC_TEST_SEED", "20")))
    slowest = {signal.SIGKILL: 0.0, signal.SIGSTOP: 0.0}
    for trial in range(200):
        folder, rank = tmp_path / str(trial), random.randrange(2)
        number = random.choice(list(slowest))
        pairs.append(pair := Pair(zygote, folder, long_config()))
        wait_for("the first step", lambda folder=folder: is_training(folder))  # type: ignore[misc]
        time.sleep(random.uniform(0.0, 0.5))
        os.kill(pair.pids[rank], number)
        began = time.monotonic()
        ended(pair, rank, DEATH_S if number == signal.SIGKILL else LIMIT_S + 1.0)
        slowest[number] = max(slowest[number], time.monotonic() - began)
    print(f"slowest end: {slowest}")
