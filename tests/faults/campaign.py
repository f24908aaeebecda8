"""Runs that are killed at random moments and continued until they finish."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.run import train
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.durable import is_litter
from ebomlc_dist.files.journal import read_records
from ebomlc_dist.files.run_folder import RunFolder, read_status
from tests.faults.zygote import Zygote
from tests.support.pool import free_port
from tests.support.runs import tiny_config

STEPS_PER_EPOCH = 3
TIME_LIMIT_S = 10.0
# What a rank that lost its peer may take: the limit of a collective, and time for a busy machine.
END_S = TIME_LIMIT_S + 20.0
RUN_S = 120.0
PHASES = frozenset({"start-up", "training", "saving"})
# The share of kills that wait for a save: it lasts milliseconds, and a random moment may miss every one.
AIMED_AT_SAVES = 0.25


def small_config(epochs: int = 4) -> RunConfig:
    """Three steps an epoch, each with its metric line; dropout, so that the generators' state matters."""
    return tiny_config(
        train={
            "epochs": epochs,
            "log_interval": 1,
            "global_noisy_batch_size": 40,
            "global_clean_batch_size": 10,
            "start_timeout_s": TIME_LIMIT_S,
            "step_timeout_s": TIME_LIMIT_S,
        },
        data={"noisy_size": 40 * STEPS_PER_EPOCH},
        meta_model={"dropout": 0.2},
    )


def train_as_rank(
    config: RunConfig, folder: Path, rank: int, world_size: int, port: int, address: str = "127.0.0.1"
) -> None:
    """Begin or continue a run, as one of ``world_size`` processes that meet at ``address:port``."""
    if world_size > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
        os.environ |= {name: str(value) for name, value in place.items()}
        os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
    runtime = Runtime.start(config.train, "cpu")
    try:
        train(config, folder, resume=True, quiet=True, runtime=runtime)
    finally:
        runtime.close()


def newest_checkpoint(folder: Path) -> int:
    """The step of the newest checkpoint that verifies, 0 without one."""
    checkpoint = CheckpointStore(RunFolder(folder).checkpoints).load()
    return checkpoint.step if checkpoint is not None else 0


def finished_epochs(folder: Path, steps_per_epoch: int) -> int:
    """The step that ends the last epoch known to be finished and saved: a metric line of a later step proves it."""
    metrics = RunFolder(folder).metrics
    steps = [line["step"] for line in read_records(metrics)] if metrics.exists() else []
    return (max(steps, default=1) - 1) // steps_per_epoch * steps_per_epoch


def check_nothing_is_lost(folder: Path, at_least: int = 0, steps_per_epoch: int = STEPS_PER_EPOCH) -> int:
    """The newest checkpoint's step; an AssertionError where it is older than ``at_least`` or than a finished epoch."""
    newest = newest_checkpoint(folder)
    assert newest >= max(at_least, finished_epochs(folder, steps_per_epoch)), (
        f"{folder} lost an epoch: its checkpoint is of step {newest}"
    )
    return newest


@dataclass
class Campaign:
    """Kills of one kind of run.

    Attributes:
        zygote: starts the processes.
        config: of every run.
        world_size: processes of a run.
        random: draws the moments and the victims.
        folder: the runs' folders go into it.
        kills: by what the run was doing; only those that hit a live, unfinished run.
        slowest_end_s: the longest that a survivor took to end by itself.
    """

    zygote: Zygote
    config: RunConfig
    world_size: int
    random: Random
    folder: Path
    kills: Counter[str] = field(default_factory=Counter)
    slowest_end_s: float = 0.0

    def undisturbed(self) -> Path:
        """Run once without a kill, and learn how long that takes."""
        folder = self.folder / "undisturbed"
        began = time.monotonic()
        assert self._wait(self._start(folder), RUN_S) == [0] * self.world_size
        self.duration = time.monotonic() - began
        return folder

    def killed(self, name: str) -> Path:
        """Run, and continue after each kill, until the run has finished."""
        folder = self.folder / name
        newest = 0
        while self._attempt(folder):
            newest = check_nothing_is_lost(folder, at_least=newest)
        return folder

    def _attempt(self, folder: Path) -> bool:
        """One start, killed once, at a moment uniform over the run or in a save. False once it has finished."""
        paths = RunFolder(folder)
        before = _traces(paths)
        aimed, moment = self.random.random() < AIMED_AT_SAVES, self.random.uniform(0.0, self.duration)
        victims = self.random.choice([[rank] for rank in range(self.world_size)] + [list(range(self.world_size))])
        pids = self._start(folder)
        if aimed:
            self._until_saving(paths, before, pids)
        else:
            time.sleep(moment)
        self._kill([pids[rank] for rank in victims], signal.SIGKILL)
        if _traces(paths).status == before.status:
            # Ranks that have not met yet know nothing of each other; there it is the launcher that ends the rest.
            self._kill(pids, signal.SIGTERM)
        began = time.monotonic()
        codes = self._wait(pids, END_S)
        self.slowest_end_s = max(self.slowest_end_s, time.monotonic() - began)
        hit = -signal.SIGKILL in codes
        if paths.status.exists() and read_status(folder).state == "finished":
            return False
        assert hit, f"not killed, and yet ended with {codes}, unfinished"
        self.kills[_phase(paths, before)] += 1
        return True

    def _until_saving(self, paths: RunFolder, before: "_Traces", pids: list[int]) -> None:
        """Wait until this attempt has a save under way, or has ended."""
        end = time.monotonic() + RUN_S
        while not _traces(paths).unfinished_saves - before.unfinished_saves and time.monotonic() < end:
            if None not in [self.zygote.code(pid) for pid in pids]:
                return

    def _kill(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            if self.zygote.code(pid) is None:
                os.kill(pid, number)

    def _start(self, folder: Path) -> list[int]:
        port = free_port()
        ranks = range(self.world_size)
        return [self.zygote.start(train_as_rank, self.config, folder, rank, self.world_size, port) for rank in ranks]

    def _wait(self, pids: list[int], seconds: float) -> list[int]:
        """How the processes ended, by themselves; what lives on after ``seconds`` is killed, and an error."""
        end = time.monotonic() + seconds
        while None in (codes := [self.zygote.code(pid) for pid in pids]) and time.monotonic() < end:
            time.sleep(0.01)
        alive = [rank for rank, code in enumerate(codes) if code is None]
        self._kill([pids[rank] for rank in alive], signal.SIGKILL)
        assert not alive, f"ranks {alive} were still there after {seconds} s"
        return codes  # type: ignore[return-value]


class _Traces(NamedTuple):
    """What an attempt leaves on the disk beside its results."""

    status: bytes
    unfinished_saves: frozenset[str]


def _traces(paths: RunFolder) -> _Traces:
    status = paths.status.read_bytes() if paths.status.exists() else b""
    saves = paths.checkpoints.iterdir() if paths.checkpoints.exists() else ()
    return _Traces(status, frozenset(found.name for found in saves if is_litter(found.name)))


def _phase(paths: RunFolder, before: _Traces) -> str:
    now = _traces(paths)
    if now.status == before.status or b'"starting"' in now.status:
        return "start-up"
    return "saving" if now.unfinished_saves - before.unfinished_saves else "training"
