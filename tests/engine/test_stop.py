"""The STOP file is looked for twice a second, however fast the steps are; a signal is seen at once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ebomlc_dist.engine.stop import STOP_FILE, StopRequests
from ebomlc_dist.launch.signals import Signals


class Watched:
    """A path that counts how often it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path, self.looks = path, 0

    def exists(self) -> bool:
        self.looks += 1
        return self.path.exists()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def requests_of(file: Any, clock: Clock) -> tuple[StopRequests, SimpleNamespace]:
    signals = SimpleNamespace(reason=None)
    return StopRequests(cast(Signals, signals), file, clock), signals


def test_the_file_is_looked_for_twice_a_second(tmp_path: Path, clock: Clock) -> None:
    file = Watched(tmp_path / "STOP")
    requests, _ = requests_of(file, clock)
    for _ in range(1000):
        assert not requests.asked()
        clock.now += 0.01
    assert 20 <= file.looks <= 21


def test_it_is_seen_at_the_first_step_and_within_half_a_second_of_any_other(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "STOP"
    file.touch()
    assert requests_of(file, clock)[0].asked()
    file.unlink()
    requests, _ = requests_of(file, clock)
    assert not requests.asked()
    file.touch()
    clock.now += 0.4
    assert not requests.asked()
    clock.now += 0.1
    assert requests.asked()
    assert requests.reason == STOP_FILE
    file.unlink()
    assert requests.asked()


def test_a_signal_does_not_wait_for_the_clock(tmp_path: Path, clock: Clock) -> None:
    requests, signals = requests_of(tmp_path / "STOP", clock)
    assert not requests.asked()
    signals.reason = "SIGTERM"
    assert requests.asked()
    assert requests.reason == "SIGTERM"


def test_other_ranks_look_for_no_file(clock: Clock) -> None:
    requests, _ = requests_of(None, clock)
    assert not requests.asked()
