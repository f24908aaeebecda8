"""Trackers never end a run: whatever they raise, the run goes on without them, and says so once."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from ebomlc_dist.distributed.trackers import open_trackers
from ebomlc_dist.errors import InputError


class Failing:
    """A tracker that fails at one of its calls."""

    requires_logging_directory = False
    at = ""
    calls: list[str]

    def __init__(self, run_name: str) -> None:
        Failing.calls = []

    def _do(self, name: str) -> None:
        Failing.calls.append(name)
        if name == self.at:
            raise RuntimeError("the server\ndoes not answer")

    def start(self) -> None:
        self._do("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._do("configuration")

    def log(self, values: dict[str, Any], step: int | None) -> None:
        self._do("log")

    def finish(self) -> None:
        self._do("finish")


@pytest.mark.parametrize(
    ("at", "calls"),
    [
        ("", ["start", "configuration", "log", "log", "finish"]),
        ("start", ["start"]),
        ("configuration", ["start", "configuration"]),
        ("log", ["start", "configuration", "log"]),
        ("finish", ["start", "configuration", "log", "log", "finish"]),
    ],
)
def test_a_tracker_that_fails(
    at: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Failing)
    monkeypatch.setattr("ebomlc_dist.distributed.trackers.get_available_trackers", lambda: ["wandb"])
    monkeypatch.setattr(Failing, "at", at)
    with caplog.at_level(logging.WARNING, "ebomlc_dist"):
        (tracker,) = open_trackers(("wandb",), tmp_path, "run", {})
        tracker.log({"a": 1.0}, 1)
        tracker.log({"a": 1.0}, 2)
        tracker.finish()
    assert Failing.calls == calls
    said = [record.getMessage() for record in caplog.records]
    warning = "tracker 'wandb' is left out from here on, metrics.jsonl has all figures"
    assert said == ([f"{warning} (RuntimeError: the server does not answer)"] if at else [])


def test_one_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown tracker 'tensorbord'"):
        open_trackers(("tensorboard", "tensorbord"), tmp_path, "run", {})
    assert list(tmp_path.iterdir()) == []


def test_other_threads_still_show_their_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    for _ in range(2):
        open_trackers((), tmp_path, "run", {})
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    assert [failed.exc_type for failed in shown] == [ZeroDivisionError]
