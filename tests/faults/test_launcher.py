"""``kill -9`` of the command, of its launcher or of a rank, at random moments: nobody is left, and nothing is lost."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from ebomlc_dist.files.run_folder import RunFolder, read_status
from tests.faults.campaign import check_nothing_is_lost
from tests.faults.launched import STEPS_PER_EPOCH, Soak, Struck
from tests.support.commands import Command

SEED = int(os.environ.get("EBOMLC_TEST_SEED", "20"))
TRIALS = int(os.environ.get("EBOMLC_TEST_TRIALS", "6"))
# A killed command has its run stopped in order: a step, and a checkpoint.
END_S = 30.0


class Kill:
    """``kill -9`` of one of a command's processes: itself, the launcher, or a rank."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def __call__(self, started: Command) -> str:
        kinds = {pid: kind_of(pid) for pid in started.alive()}
        if not kinds:
            return "nobody"
        kind = self._random.choice(sorted(set(kinds.values())))
        with suppress(ProcessLookupError):
            os.kill(self._random.choice([pid for pid in kinds if kinds[pid] == kind]), signal.SIGKILL)
        return kind


def kind_of(pid: int) -> str:
    """``command``, ``launcher`` or ``rank``."""
    process = Path(f"/proc/{pid}")
    with suppress(OSError):
        if b"ebomlc_dist.launch.agent" in (process / "cmdline").read_bytes():
            return "launcher"
        if any(value.startswith(b"LOCAL_RANK=") for value in (process / "environ").read_bytes().split(b"\0")):
            return "rank"
    return "command"


def judge(struck: Struck) -> str:
    """No finished epoch is lost, and neither the command nor ``status.json`` tells a lie."""
    folder = struck.folder
    newest = check_nothing_is_lost(folder, struck.before, STEPS_PER_EPOCH) if folder.exists() else 0
    if not RunFolder(folder).status.exists():
        assert struck.code != 0, struck.err
        return "not begun"
    found = read_status(folder)
    assert struck.code != 0 or found.state == "finished"
    assert found.state not in ("stopped", "finished") or found.step == newest
    if struck.part != "start":
        allowed = {
            # The launcher is told of its end, and stops the run in order.
            "command": ("stopped", "finished"),
            # The command says so for the ranks, which die with it.
            "launcher": ("failed", "finished"),
            "rank": ("failed", "finished"),
            "nobody": ("finished",),
        }
        assert found.state in allowed[struck.kind], (struck.kind, found, struck.err)
    return found.state


@pytest.mark.slow
def test_a_kill_leaves_nobody_and_costs_nothing(tmp_path: Path) -> None:
    print(f"EBOMLC_TEST_SEED={SEED}")
    random = Random(SEED)
    Soak(random, tmp_path, END_S).run(TRIALS, Kill(random), judge)
