"""The account of a run's time over its attempts: every second once, and useful ones only where the step was kept."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import operations
from ebomlc_dist.monitoring.goodput import PHASES, AttemptLog, Stopwatch, goodput, goodput_text, read_goodput
from tests.support.runs import alone, tiny_config, train_until

PARTS = ("useful", "lost", "start", "checkpoint", "evaluation", "other", "idle")


def line(done: int, wall: float, more: dict[str, Any] | None = None, **seconds: float) -> dict[str, Any]:
    return {"step": done, "wall": wall, "seconds": dict.fromkeys(PHASES, 0.0) | seconds, **(more or {})}


def attempt(begins: int, wall: float, *marks: tuple[int, float]) -> list[dict[str, Any]]:
    """Two seconds to start from ``wall`` on, then marks of steps and the seconds in them."""
    lines = [line(begins, wall + 2.0, {"resumed_at": begins}, start=2.0)]
    return lines + [line(step, wall + 2.0 + spent, start=2.0, step=spent) for step, spent in marks]


def test_steps_that_a_later_attempt_does_again_are_lost() -> None:
    """Killed at 25 and continued from 20; that one killed at 38, continued from 30."""
    lines = attempt(0, 100.0, (10, 10.0), (20, 21.0), (25, 26.0))
    lines += attempt(20, 140.0, (30, 11.0), (38, 20.0)) + attempt(30, 162.0, (40, 10.0))
    found = goodput(lines)
    assert (found["attempts"], found["lost_steps"]) == (3, 13)
    assert (found["useful_seconds"], found["lost_seconds"]) == (21.0 + 11.0 + 10.0, 5.0 + 9.0)
    # The first attempt ends at 128, the second begins at 140; the third right where the second ends.
    assert (found["start_seconds"], found["idle_seconds"]) == (6.0, 12.0)
    assert found["total_seconds"] == 174.0 - 100.0
    assert found["share"] == pytest.approx(100 * 42 / 74)
    assert goodput_text(found) == "56.8 %, 3 attempts"


def test_an_older_checkpoint_takes_whole_attempts_with_it() -> None:
    lines = attempt(0, 0.0, (10, 10.0), (20, 20.0)) + attempt(20, 30.0, (30, 10.0)) + attempt(10, 50.0, (30, 20.0))
    found = goodput(lines)
    assert (found["useful_seconds"], found["lost_seconds"], found["lost_steps"]) == (30.0, 20.0, 20)


def test_without_a_line_where_it_went_on_the_step_before_counts() -> None:
    lines = attempt(0, 0.0, (10, 10.0), (30, 30.0)) + attempt(20, 40.0, (30, 10.0))
    assert goodput(lines)["lost_seconds"] == 20.0


@pytest.mark.parametrize("jump", [-86_400.0, 0.0, 86_400.0])
def test_a_clock_that_jumps_within_an_attempt_changes_nothing(jump: float) -> None:
    lines = attempt(0, 0.0, (10, 10.0), (20, 20.0))
    for late in lines[2:]:
        late["wall"] += jump
    assert goodput(lines + attempt(20, 25.0 + jump, (30, 10.0)))["idle_seconds"] == 3.0


def test_a_clock_put_back_between_attempts_makes_no_pause() -> None:
    lines = attempt(0, 1000.0, (10, 10.0)) + attempt(10, 0.0, (20, 10.0))
    found = goodput(lines)
    assert (found["idle_seconds"], found["total_seconds"]) == (0.0, 24.0)


def test_what_comes_after_the_end_is_left_out() -> None:
    lines = attempt(0, 0.0, (10, 10.0))
    lines.append(line(10, 12.0, {"finished": True}, start=2.0, step=10.0))
    assert goodput(lines + attempt(10, 900.0)) == goodput(lines)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1), st.floats(-100, 100), st.lists(st.tuples(st.integers(0, 9), st.floats(0, 9)), max_size=6)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_second_stands_in_one_part(drawn: list[tuple[float, float, list[tuple[int, float]]]]) -> None:
    lines, wall, reached = [], 0.0, 0
    in_steps, whole = 0.0, 0.0
    for share, pause, marks in drawn:
        wall += pause
        step, spent, own = int(share * reached), 0.0, []
        begins = step
        for steps, seconds in marks:
            step, spent = step + steps, spent + seconds
            own.append((step, spent))
        lines += attempt(begins, wall, *own)
        wall, reached = wall + 2.0 + spent, step
        in_steps, whole = in_steps + spent, whole + spent + 2.0
    found = goodput(lines)
    parts = [found[f"{name}_seconds"] for name in PARTS]
    assert sum(parts) == pytest.approx(found["total_seconds"])
    assert min(parts) >= 0.0
    assert found["useful_seconds"] + found["lost_seconds"] == pytest.approx(in_steps)
    assert found["total_seconds"] - found["idle_seconds"] == pytest.approx(whole)
    assert set(found) == {"share", "attempts", "lost_steps", "total_seconds", *(f"{name}_seconds" for name in PARTS)}


def test_an_undisturbed_run_loses_nothing_and_keeps_its_account(tmp_path: Path) -> None:
    summary = train_until(tiny_config(), tmp_path, alone())
    assert summary is not None
    found = summary["goodput"]
    assert (found["attempts"], found["lost_steps"], found["lost_seconds"], found["idle_seconds"]) == (1, 0, 0.0, 0.0)
    assert found["useful_seconds"] == pytest.approx(summary["train_seconds"], rel=0.05)
    assert min(found[f"{name}_seconds"] for name in ("start", "checkpoint", "evaluation", "other")) > 0.0
    again = train_until(tiny_config(), tmp_path, alone())
    assert again is not None
    assert again["goodput"] == found


def test_a_stop_on_request_loses_nothing(tmp_path: Path) -> None:
    assert train_until(tiny_config(), tmp_path, alone(), stop_after=3) is None
    summary = train_until(tiny_config(), tmp_path, alone())
    assert summary is not None
    assert (summary["goodput"]["attempts"], summary["goodput"]["lost_steps"]) == (2, 0)
    assert summary["goodput"]["useful_seconds"] == pytest.approx(summary["train_seconds"], rel=0.05)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_takes_nothing_costs_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    log = AttemptLog(tmp_path / "attempts.jsonl", Stopwatch(lambda: None))
    log.begin(0)
    with monkeypatch.context() as patch:
        patch.setattr(operations.current(), "write", refuse)
        log.mark(5)
    assert read_goodput(tmp_path / "attempts.jsonl") == goodput([json.loads((tmp_path / "attempts.jsonl").read_text())])
    log.mark(6)
    assert len((tmp_path / "attempts.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "text", ['{"step": 1}\n', "[]\n", '{"step": "a", "wall": 0, "seconds": {"step": 1}, "resumed_at": 0}\n']
)
def test_a_damaged_file_is_refused_and_costs_a_run_its_account_alone(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "attempts.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=r"attempts\.jsonl"):
        read_goodput(path)
    assert AttemptLog(path, Stopwatch(lambda: None)).finish(3) is None
    assert "no goodput" in caplog.text


def test_a_run_of_an_older_version_has_none(tmp_path: Path) -> None:
    assert read_goodput(tmp_path / "attempts.jsonl") is None
