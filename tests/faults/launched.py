"""Real commands with two processes, struck by a fault at random moments and continued until they finish."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from ebomlc_dist.files.durable import remove_tree
from ebomlc_dist.files.run_folder import read_status
from tests.faults.campaign import newest_checkpoint
from tests.support.commands import EBOMLC, START_S, Command, command, is_training, wait_for
from tests.support.runs import assert_same

STEPS_PER_EPOCH, EPOCHS = 4, 30
TRAIN = [
    *[*EBOMLC, "train", "digits:tiny", "--method", "ebomlc", "--quiet", "-o", "out", "--resume", "auto"],
    *["--epochs", str(EPOCHS), "--set", "train.trackers=[]", "--set", "train.log_interval=1"],
    *["--num-processes", "2", "--device", "cpu"],
]
Strike = Callable[[Command], str]
"""Does harm to a running command; what kind of harm it was."""


@dataclass(frozen=True)
class Struck:
    """A command that has ended after a strike.

    Attributes:
        kind: of harm.
        part: of the run that it met.
        folder: the run's.
        before: the step of the newest checkpoint when the command began.
        code: its exit code.
        err: its stderr.
    """

    kind: str
    part: str
    folder: Path
    before: int
    code: int
    err: str


Judge = Callable[[Struck], str]
"""How a command ended, in a word; an AssertionError where it must not end so."""


@dataclass
class Soak:
    """Faults of one kind. Every run is continued until it has finished, and must equal the undisturbed one then.

    Attributes:
        random: draws the moments.
        folder: the runs' working folders go into it.
        end_s: the seconds in which every process is gone after a strike.
        met: how often what harm met which part of the run, and how that ended.
        slowest_s: the longest time until nobody was left, by the kind of harm.
    """

    random: Random
    folder: Path
    end_s: float
    met: Counter[tuple[str, ...]] = field(default_factory=Counter)
    slowest_s: dict[str, float] = field(default_factory=dict)

    def run(self, trials: int, strike: Strike, judge: Judge) -> None:
        """At least so many strikes."""
        control, place = self.folder / "control", self.folder / "struck"
        self.start_s = run_to_end(control)
        while self.met.total() < trials:
            place.mkdir(exist_ok=True)
            finished = self._attempt(place, strike, judge)
            print(dict(self.met), flush=True)
            if not finished and self.met.total() >= trials:
                run_to_end(place)
                finished = True
            if finished:
                assert_same(place / "out", control / "out")
                remove_tree(place)
        print({kind: f"nobody was left after {seconds:.1f} s" for kind, seconds in self.slowest_s.items()})

    def _attempt(self, place: Path, strike: Strike, judge: Judge) -> bool:
        """Begin or continue the run in ``place``, and strike once. Whether the run has finished."""
        folder = place / "out"
        before = newest_checkpoint(folder)
        with command(TRAIN, place) as started:
            part = self._wait_for_moment(started, folder, time.time())
            began = time.monotonic()
            kind = strike(started)
            wait_for("the end", lambda: not started.alive(), self.end_s)
            seconds = time.monotonic() - began
            code, _, err = started.wait()
        how = judge(Struck(kind, part, folder, before, code, err))
        self.met[kind, part, how] += 1
        self.slowest_s[kind] = max(self.slowest_s.get(kind, 0.0), seconds)
        return how == "finished"

    def _wait_for_moment(self, started: Command, folder: Path, since: float) -> str:
        """Wait for a random moment of a random part of the run; which part that is."""
        part = self.random.choice(["start", "training", "end"])
        wait_for("a process", lambda: bool(started.alive()))
        if part == "start":
            time.sleep(self.random.uniform(0.0, self.start_s))
            return part
        wait_for("the first step", lambda: goes_on(folder, since) or not started.alive())
        if part == "training":
            time.sleep(self.random.uniform(0.0, 4.0))
        else:
            last = (EPOCHS - 1) * STEPS_PER_EPOCH
            wait_for("the last epoch", lambda: newest_checkpoint(folder) >= last or not started.alive())
            time.sleep(self.random.uniform(0.0, 1.0))
        return part


def run_to_end(place: Path) -> float:
    """Begin or continue a run, undisturbed; the seconds until it trained."""
    place.mkdir(exist_ok=True)
    since = time.time()
    with command(TRAIN, place) as started:
        seconds = wait_for("the first step", lambda: goes_on(place / "out", since) or not started.alive())
        code, _, err = started.wait(2 * START_S)
    assert code == 0, err
    return seconds


def goes_on(folder: Path, since: float) -> bool:
    """Whether a run is past a step of a start that began after ``since``, in wall time."""
    return is_training(folder) and (status := read_status(folder)).state == "running" and status.heartbeat > since
