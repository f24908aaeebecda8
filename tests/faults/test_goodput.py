"""What kills cost is in the account of the run that came through them."""

import json
import signal
import time
from pathlib import Path

import pytest

from ebomlc_dist.files.journal import read_records
from tests.faults.campaign import STEPS_PER_EPOCH, small_config, train_as_rank
from tests.faults.test_kills import die_at, ended
from tests.faults.zygote import Zygote

PAUSE_S = 0.7


def test_two_kills_show_in_the_goodput_of_the_run(zygote: Zygote, tmp_path: Path) -> None:
    """Killed two steps after the first epoch's checkpoint, and one after the second's."""
    config, began = small_config(epochs=3), time.monotonic()
    for step in (STEPS_PER_EPOCH + 2, 2 * STEPS_PER_EPOCH + 1):
        assert ended(zygote, zygote.start(die_at, step, config, tmp_path)) == -signal.SIGKILL
        time.sleep(PAUSE_S)
    assert ended(zygote, zygote.start(train_as_rank, config, tmp_path, 0, 1, 0)) == 0
    measured = time.monotonic() - began
    summary = json.loads((tmp_path / "summary.json").read_text())
    found = summary["goodput"]
    assert (found["attempts"], found["lost_steps"]) == (3, 3)
    assert found["lost_seconds"] > 0.0
    assert found["idle_seconds"] >= 2 * PAUSE_S
    # What a run that starts again says of its own steps leaves out those that were lost.
    assert found["useful_seconds"] == pytest.approx(summary["train_seconds"], rel=0.05)
    assert 0.0 < found["share"] < 100.0 * (measured - 2 * PAUSE_S) / measured
    assert found["total_seconds"] <= measured
    first, last = read_records(tmp_path / "attempts.jsonl")[:: len(read_records(tmp_path / "attempts.jsonl")) - 1]
    assert found["total_seconds"] == pytest.approx(
        last["wall"] - first["wall"] + sum(first["seconds"].values()), abs=0.1
    )
