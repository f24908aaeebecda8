"""A crash is followed by another start; three in a row without a further checkpoint are the last."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.files.run_folder import write_status
from ebomlc_dist.launch.restarts import start_until_it_ends
from tests.cli.conftest import Ended


@pytest.mark.parametrize(
    ("steps", "codes", "starts", "last"),
    [
        ([0, 0, 0, 0, 0], [1, 1, 1, 1, 1], 3, 1),
        ([3, 3, 3, 3, 3], [1, 1, 1, 1, 1], 4, 1),
        ([3, 3, 3, 6, 6, 6, 6, 9], [1] * 8, 7, 1),
        ([3, 3, 6], [1, 1, 0], 3, 0),
        ([0, 0], [1, 75], 2, 75),
        ([0, 0], [75, 1], 1, 75),
        ([0], [2], 1, 2),
        ([0], [130], 1, 130),
    ],
)
def test_starts(
    steps: list[int], codes: list[int], starts: int, last: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``steps``: of the newest checkpoint that each start leaves behind."""
    seen: list[int] = []

    def start(again: bool) -> int:
        number = len(seen)
        assert again is (number > 0)
        if steps[number]:
            (tmp_path / "checkpoints" / f"step-{steps[number]:08d}").mkdir(parents=True, exist_ok=True)
        seen.append(number)
        return codes[number]

    assert start_until_it_ends(start, [tmp_path]) == last
    assert len(seen) == starts
    assert ("given up" in capsys.readouterr().err) is (last == 1)


def test_a_finished_run_among_several_is_progress(tmp_path: Path) -> None:
    seen: list[int] = []

    def start(again: bool) -> int:
        seen.append(1)
        if len(seen) == 3:
            write_status(tmp_path, state="finished", code=0)
        return 1

    assert start_until_it_ends(start, [tmp_path]) == 1
    assert len(seen) == 6


def test_a_crash_on_request_is_not_followed_by_another_start(tmp_path: Path) -> None:
    asked: list[bool] = []

    def start(again: bool) -> int:
        asked.append(True)
        return 1

    assert start_until_it_ends(start, [tmp_path], lambda: bool(asked)) == 1
    assert len(asked) == 1


def test_a_crashing_command_is_started_again_with_resume(
    ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def launch(processes: Any, arguments: list[str], *_: Any, **__: Any) -> int:
        seen.append(arguments)
        return 1 if len(seen) < 3 else 0

    monkeypatch.setattr("ebomlc_dist.launch.processes.launch", launch)
    words = ("train", "digits:tiny", "--method", "ce", "-o", "out", "--num-processes", "2", "--device", "cpu")
    assert ebomlc(*words, "--restart").code == 0
    assert ["--resume" in arguments for arguments in seen] == [False, True, True]
    seen.clear()
    assert ebomlc(*words).code == 1
    assert len(seen) == 1
