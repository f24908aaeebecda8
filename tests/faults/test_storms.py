"""Fifty requests to stop in two seconds, to the command, its launcher and its workers together: one stop in order."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from ebomlc_dist.files.durable import is_litter
from ebomlc_dist.files.run_folder import RunFolder, read_status
from tests.faults.campaign import check_nothing_is_lost
from tests.faults.launched import STEPS_PER_EPOCH, Soak, Struck
from tests.support.commands import Command

SEED = int(os.environ.get("EBOMLC_TEST_SEED", "20"))
TRIALS = int(os.environ.get("EBOMLC_TEST_TRIALS", "6"))
SIGNALS, STORM_S = 50, 2.0
NUMBERS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# A scheduler kills what is left after that.
KILL_WAIT_S = 30.0


class Storm:
    """Random requests to random processes of a command.

    The command itself is the first to be told: who asks one worker alone while it starts makes a crash.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def __call__(self, started: Command) -> str:
        for sent in range(SIGNALS):
            pid = started.process.pid if not sent else self._random.choice(started.alive() or [0])
            if not pid:
                break
            with suppress(ProcessLookupError):
                os.kill(pid, self._random.choice(NUMBERS))
            time.sleep(STORM_S / SIGNALS)
        return "storm"


def judge(struck: Struck) -> str:
    """One checkpoint and one truth, or a run that did not begin."""
    folder, code, err = struck.folder, struck.code, struck.err
    assert not [path for path in folder.rglob("*") if is_litter(path.name)]
    newest = check_nothing_is_lost(folder, struck.before, STEPS_PER_EPOCH) if folder.exists() else 0
    begun = RunFolder(folder).status.exists() and read_status(folder).state != "stopped"
    if newest == struck.before and not begun:
        # By the command's own account, or by a signal before it had one to give.
        assert code == 75 or -code in NUMBERS, err
        assert struck.part == "start"
        return "not begun"
    found = read_status(folder)
    assert (found.state, found.code, code) in (("stopped", 75, 75), ("finished", 0, 0)), (found, code, err)
    assert found.step == newest
    return found.state


@pytest.mark.slow
def test_a_storm_stops_a_run_once(tmp_path: Path) -> None:
    print(f"EBOMLC_TEST_SEED={SEED}")
    random = Random(SEED)
    Soak(random, tmp_path, KILL_WAIT_S).run(TRIALS, Storm(random), judge)
