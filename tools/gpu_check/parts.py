"""The parts of the check in their order, each a process of its own, with the most that it may take."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.gpu_check.place import Place, Take
from tools.gpu_check.promises import ENVIRONMENT, promise_rows
from tools.gpu_check.runs import accuracy_rows, alone_rows, loader_rows, packed_rows
from tools.gpu_check.steps import compiled_rows, kernel_rows, method_rows, smoke_rows, step_rows

TOTAL_S = 540.0


@dataclass(frozen=True)
class Part:
    """One process, started again where it dies in the middle.

    Attributes:
        limit_s: it is asked to end, and ended, after so long.
        environment: further variables of its process.
        codes: exit codes of one that came to its end.
    """

    limit_s: float
    environment: dict[str, str] = field(default_factory=dict, kw_only=True)
    codes: tuple[int, ...] = field(default=(0,), kw_only=True)

    def file(self, name: str, place: Place) -> Path:
        """Where its rows are kept."""
        return place.folder(name) / "rows.jsonl"

    def command(self, name: str, place: Place, done: Sequence[str]) -> list[str]:
        """The words that take the rows which are not ``done``."""
        raise NotImplementedError


@dataclass(frozen=True)
class WorkerPart(Part):
    """Rows that `tools.gpu_check.worker` takes, one after another.

    Attributes:
        takes: the rows of a place, by name.
        row_limit_s: the most for one of them.
    """

    takes: Callable[[Place], dict[str, Take]]
    row_limit_s: float = 60.0

    def command(self, name: str, place: Place, done: Sequence[str]) -> list[str]:
        """See `Part`."""
        return [sys.executable, "-m", "tools.gpu_check.worker", name, place.text(), *done]


@dataclass(frozen=True)
class PytestPart(Part):
    """A file of GPU tests. In a rehearsal one that needs no GPU stands for it."""

    path: str
    rehearsed: tuple[str, ...] = ("tests/engine/test_precision.py", "-k", "overflow")

    def command(self, name: str, place: Place, done: Sequence[str]) -> list[str]:
        """See `Part`."""
        chosen = self.rehearsed if place.rehearsal else ("-m", "gpu", self.path)
        return [
            *(sys.executable, "-m", "pytest", "-v", "-p", "tools.gpu_check.kept_tests", "-p", "no:cacheprovider"),
            *("--rows", str(self.file(name, place)), "--continue-on-collection-errors", *chosen),
            *(word for test in done for word in ("--deselect", test)),
        ]


# Pytest says 1 where tests fail and 5 where none is left to run.
_TESTED = (0, 1, 5)

PARTS: dict[str, Part] = {
    "smoke": WorkerPart(35.0, smoke_rows, row_limit_s=20.0),
    "steps": WorkerPart(65.0, step_rows, row_limit_s=25.0),
    "kernels": WorkerPart(20.0, kernel_rows),
    "promises": WorkerPart(60.0, promise_rows, row_limit_s=35.0, environment=ENVIRONMENT),
    "tests-step": PytestPart(40.0, "tests/gpu/test_step.py", codes=_TESTED),
    "tests-graph": PytestPart(60.0, "tests/gpu/test_graph.py", codes=_TESTED),
    "alone": WorkerPart(45.0, alone_rows),
    "packed": WorkerPart(50.0, packed_rows),
    "compiled": WorkerPart(60.0, compiled_rows),
    "methods": WorkerPart(45.0, method_rows, row_limit_s=20.0),
    "accuracy": WorkerPart(40.0, accuracy_rows),
    "loaders": WorkerPart(20.0, loader_rows),
}
"""The most telling first: what does not fit into the time is done by the next call."""
