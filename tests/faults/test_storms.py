"""Fifty requests to stop in two seconds, to the command, its launcher and its workers together: one stop in order."""

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from ebomlc_dist.files.durable import is_litter, remove_tree
from ebomlc_dist.files.run_folder import RunFolder, read_status
from tests.faults.campaign import check_nothing_is_lost, newest_checkpoint
from tests.support.commands import EBOMLC, START_S, Command, command, is_training, wait_for
from tests.support.runs import assert_same

SEED = int(os.environ.get("EBOMLC_TEST_SEED", "20"))
TRIALS = int(os.environ.get("EBOMLC_TEST_TRIALS", "9"))
SIGNALS, STORM_S = 50, 2.0
NUMBERS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# A scheduler kills what is left after that.
KILL_WAIT_S = 30.0
STEPS_PER_EPOCH, EPOCHS = 4, 30
TRAIN = [
    *[*EBOMLC, "train", "digits:tiny", "--method", "ebomlc", "--quiet", "-o", "out", "--resume", "auto"],
    *["--epochs", str(EPOCHS), "--set", "train.trackers=[]", "--set", "train.log_interval=1"],
    *["--num-processes", "2", "--device", "cpu"],
]


@dataclass
class Storms:
    """Storms on one run after another, each continued until it has finished.

    Attributes:
        random: draws moments, targets and signals.
        start_s: what an undisturbed start takes.
        met: how many storms met what, and how the command ended.
        slowest_s: the longest time from the first signal until nobody was left.
    """

    random: Random
    start_s: float
    met: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest_s: float = 0.0

    def strike(self, place: Path) -> bool:
        """Begin or continue the run in ``place``, in a storm. Whether the run has finished."""
        folder = place / "out"
        before = newest_checkpoint(folder)
        with command(TRAIN, place) as started:
            when = self._wait_for_moment(started, folder)
            began = time.monotonic()
            self._send(started)
            wait_for("the end", lambda: not started.alive(), KILL_WAIT_S)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            code, _, err = started.wait()
        how = _how_it_ended(folder, code, before, err)
        self.met[when, how] += 1
        return how == "finished"

    def _wait_for_moment(self, started: Command, folder: Path) -> str:
        """Wait for a random moment of a random part of the run; what the run is doing then."""
        aim = self.random.choice(["start", "training", "end"])
        training = lambda: is_training(folder) and read_status(folder).state == "running"  # noqa: E731
        wait_for("processes", lambda: bool(started.alive()))
        if aim == "start":
            time.sleep(self.random.uniform(0.0, self.start_s))
        else:
            wait_for("the first step", lambda: training() or not started.alive())
        if aim == "training":
            time.sleep(self.random.uniform(0.0, 4.0))
        if aim == "end":
            last = (EPOCHS - 1) * STEPS_PER_EPOCH
            wait_for("the last epoch", lambda: newest_checkpoint(folder) >= last or not started.alive())
            time.sleep(self.random.uniform(0.0, 1.0))
        return aim

    def _send(self, started: Command) -> None:
        """The command itself is among the first to be told, as where a scheduler tells all processes of a job."""
        for sent in range(SIGNALS):
            pid = started.process.pid if sent == 0 else self.random.choice(started.alive() or [0])
            if not pid:
                return
            with suppress(ProcessLookupError):
                os.kill(pid, self.random.choice(NUMBERS))
            time.sleep(STORM_S / SIGNALS)


def _how_it_ended(folder: Path, code: int, before: int, err: str) -> str:
    """What a storm made of a run; an AssertionError where that is no end in order."""
    assert not [path for path in folder.rglob("*") if is_litter(path.name)]
    newest = check_nothing_is_lost(folder, at_least=before) if folder.exists() else 0
    status = RunFolder(folder).status
    if newest == before and (not status.exists() or read_status(folder).state == "stopped"):
        # By the command's own account, or by a signal before it had one to give.
        assert code == 75 or -code in NUMBERS, err
        return "not begun"
    found = read_status(folder)
    assert (found.state, found.code, code) in (("stopped", 75, 75), ("finished", 0, 0)), (found, code, err)
    assert found.step == newest
    return found.state


@pytest.mark.slow
def test_a_storm_stops_a_run_once(tmp_path: Path) -> None:
    print(f"EBOMLC_TEST_SEED={SEED}")
    (control := tmp_path / "control").mkdir()
    with command(TRAIN, control) as undisturbed:
        start_s = wait_for("the first step", lambda: is_training(control / "out"))
        code, _, err = undisturbed.wait(2 * START_S)
        assert code == 0, err
    storms = Storms(Random(SEED), start_s)
    place = tmp_path / "stormy"
    while storms.met.total() < TRIALS or place.exists():
        place.mkdir(exist_ok=True)
        finished = storms.strike(place)
        print(dict(storms.met), flush=True)
        if not finished and storms.met.total() >= TRIALS:
            with command(TRAIN, place) as last:
                code, _, err = last.wait(2 * START_S)
                assert code == 0, err
            finished = True
        if finished:
            assert_same(place / "out", control / "out")
            remove_tree(place)
    print(f"nobody was left after {storms.slowest_s:.1f} s")
