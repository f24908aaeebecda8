"""What a fault costs in time: until it is known, until the job is gone, and until it trains again.

    python -m benchmarks.faults [--trials 5] [--limit 5]

Real commands of two processes on the CPU (``ebomlc train … --restart``), struck as soon as they have made a checkpoint
of their own. As root the link between two machines is cut as well: two network namespaces of this computer, a command
in each; it is plugged in again once the job is gone.

- known: ``status.json`` says that the run failed. With the launcher its workers die; the command says so when all are
  gone.
- gone: no process of the struck start is left, launchers included; the commands stay, to start again.
- trains again: a step of the next start is done.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ebomlc_dist.files.run_folder import read_status
from tests.faults.campaign import newest_checkpoint
from tests.faults.launched import goes_on
from tests.faults.links import join_by_cable, machines
from tests.faults.test_launcher import kind_of
from tests.support.commands import EBOMLC, START_S, Command, command, wait_for

PORT = 29400
SIGNALS = [
    ("a rank is killed", "rank", signal.SIGKILL),
    ("the launcher is killed", "launcher", signal.SIGKILL),
    ("a rank is stopped (SIGSTOP)", "rank", signal.SIGSTOP),
]
Act = Callable[[], None]


@dataclass
class Job:
    """A running job of one or two commands, and where it trains."""

    commands: list[Command]
    folder: Path

    def members(self, *kinds: str) -> list[int]:
        """Its processes of these kinds."""
        return [pid for started in self.commands for pid in started.alive() if kind_of(pid) in kinds]


@dataclass(frozen=True)
class Times:
    """Seconds after a fault; ``known`` is None where nobody was left to tell."""

    known: float | None
    gone: float
    again: float


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--limit", type=float, default=5.0, help="train.step_timeout_s")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    rows: dict[str, list[Times]] = {}
    with one_machine(given.limit) as job:
        for _ in range(given.trials):
            for name, kind, number in SIGNALS:
                rows.setdefault(name, []).append(struck(job, signalled(job, kind, number)))
    try:
        with two_machines(given.limit) as (job, cut, plug):
            rows["the link is cut"] = [struck(job, lambda: cut, plug) for _ in range(given.trials)]
    except PermissionError as error:
        print(f"the link is not cut: {error}", file=sys.stderr)
    print(
        f"{os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after; limit {given.limit:g} s\n"
    )
    print("| fault | trials | known s | gone s | trains again s |\n|---|---|---|---|---|")
    for fault, times in rows.items():
        known = spread([found.known for found in times if found.known is not None])
        gone, again = spread([found.gone for found in times]), spread([found.again for found in times])
        print(f"| {fault} | {len(times)} | {known} | {gone} | {again} |")


def spread(seconds: list[float]) -> str:
    """The median with the lowest and the highest."""
    return f"{statistics.median(seconds):.1f} ({min(seconds):.1f} … {max(seconds):.1f})" if seconds else "–"


def struck(job: Job, prepare: Callable[[], Act], repair: Act | None = None) -> Times:
    """Wait until the job has made a checkpoint of its own, strike, and watch it come back."""
    before = newest_checkpoint(job.folder)
    wait_for("a checkpoint", lambda: goes_on(job.folder, 0.0) and newest_checkpoint(job.folder) > before)
    members, fault = set(job.members("launcher", "rank")), prepare()
    known: list[float] = []

    def is_gone() -> bool:
        if not known and read_status(job.folder).state == "failed":
            known.append(time.monotonic() - began)
        return members.isdisjoint(job.members("launcher", "rank"))

    began = time.monotonic()
    fault()
    gone = wait_for("the end of all", is_gone)
    gone_at = time.time()
    if repair is not None:
        repair()
    wait_for("a step", lambda: goes_on(job.folder, gone_at), 2 * START_S)
    return Times(known[0] if known else None, gone, time.monotonic() - began)


def signalled(job: Job, kind: str, number: signal.Signals) -> Callable[[], Act]:
    """Finds the last process of a kind, and gives what sends it the signal."""

    def prepare() -> Act:
        pid = job.members(kind)[-1]
        return lambda: os.kill(pid, number)

    return prepare


@contextmanager
def one_machine(limit_s: float) -> Iterator[Job]:
    with tempfile.TemporaryDirectory() as place, command(quiet(words(limit_s)), Path(place)) as started:
        yield Job([started], Path(place) / "out")


@contextmanager
def two_machines(limit_s: float) -> Iterator[tuple[Job, Act, Act]]:
    """A job on two machines, with what cuts the link between them and what plugs it in again."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        ends = stack.enter_context(machines())
        join_by_cable(ends)
        commands = []
        for rank, machine in enumerate(ends):
            meeting = ["--num-machines", "2", "--machine-rank", str(rank), "--main-process-port", str(PORT)]
            line = [*words(limit_s), *meeting, "--main-process-ip", ends[0].address]
            commands.append(stack.enter_context(command(machine.command(quiet(line, rank)), Path(place))))
        cable = ends[1]
        yield Job(commands, Path(place) / "out"), lambda: cable.set_link("down"), lambda: cable.set_link("up")


def words(limit_s: float) -> list[str]:
    """The command of a run that nobody waits for the end of."""
    run = ["digits:tiny", "--method", "ebomlc", "--epochs", "100000", "--quiet", "--set", "train.trackers=[]"]
    limits = ["--set", f"train.step_timeout_s={limit_s:g}", "--set", "train.log_interval=1000"]
    return [*EBOMLC, "train", *run, *limits, "-o", "out", "--num-processes", "2", "--device", "cpu", "--restart"]


def quiet(words: list[str], rank: int = 0) -> list[str]:
    """The same command; what it says of its crashes goes into a file, where it cannot fill a pipe."""
    return ["sh", "-c", 'exec "$@" 2> said-$0', str(rank), *words]


if __name__ == "__main__":
    main()
