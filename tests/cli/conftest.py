"""A command line in this process, with an engine that only notes what it was asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.cli import run

LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_MIXED_PRECISION")


@dataclass
class FakeEngine:
    """Stands for runtime and engine.

    Attributes:
        calls: what each training was given.
        ends: raised by the training of that number instead of a summary.
        under_launcher: what the runtime says of itself.
    """

    calls: list[dict[str, Any]] = field(default_factory=list)
    ends: dict[int, BaseException] = field(default_factory=dict)
    under_launcher: bool = False
    world_size: int = 1
    is_main: bool = True
    closed: int = 0

    def on_first_rank(self, work: Callable[[], Any]) -> Any:
        return work()

    def close(self) -> None:
        self.closed += 1

    def train(self, config: Any, folder: Path, **rest: Any) -> dict[str, Any]:
        number = len(self.calls)
        self.calls.append({"config": config, "folder": folder, **rest})
        if number in self.ends:
            raise self.ends[number]
        return {"method": config.method.name, "run": str(folder), "accuracy_last": 90.0, "right_labels_kept": None}

    @property
    def methods(self) -> list[str]:
        return [call["config"].method.name for call in self.calls]


@dataclass(frozen=True)
class Ended:
    """A command that ended: exit code, and what it printed."""

    code: int
    out: str
    err: str

    def refused(self) -> str:
        """The one line of a refusal; fails where there was more or less than that, or another exit code."""
        assert self.code == 2
        assert self.out == ""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("ebomlc: ")
        return lines[0]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no launcher."""
    monkeypatch.chdir(tmp_path)
    # Not the test process, which only plays the worker.
    monkeypatch.setattr("ebomlc_dist.launch.environment.die_with_launcher", lambda: None)
    for name in LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The engine behind ``ebomlc train``, replaced."""
    fake = FakeEngine()
    monkeypatch.setattr("ebomlc_dist.distributed.runtime.Runtime.start", lambda *_: fake)
    monkeypatch.setattr("ebomlc_dist.engine.run.train", fake.train)
    monkeypatch.setattr("ebomlc_dist.engine.preflight.load_everywhere", lambda *_: None)
    return fake


@pytest.fixture
def ebomlc(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """``ebomlc`` with these arguments."""

    def command(*arguments: str) -> Ended:
        capsys.readouterr()
        code = run(list(arguments))
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return command


def refuse(*_: object, **__: object) -> None:
    """Stands where nothing may be reached."""
    raise AssertionError("reached what should have been refused before")
