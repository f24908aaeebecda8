"""Bars: a figure, what it has to reach, and whether it does, printed together at the end and kept on request."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ebomlc_dist.files.durable import make_folder, write_json
from ebomlc_dist.monitoring.versions import environment
from ebomlc_dist.profiling.quartiles import Ratio


@dataclass(frozen=True)
class Bar:
    """One figure. ``wall``, ``processor``: ratios of wall time and of processor time; one value where it is a count."""

    name: str
    limit: float
    at_least: bool
    wall: Ratio
    processor: Ratio | None = None

    @property
    def reached(self) -> bool:
        """Whether the median of the wall-time ratio is on the right side."""
        return self.wall.median >= self.limit if self.at_least else self.wall.median <= self.limit


BARS = pytest.StashKey[list[Bar]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bars-rounds", type=int, default=9, help="turns of each step")
    parser.addoption("--bars-output", type=Path, default=None, help="JSON file for the figures")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BARS] = []


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads fight where other work uses the cores, and the ratios are those of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    bars = config.stash[BARS]
    if not bars:
        return
    terminalreporter.section("bars")
    lines = [("figure", "wall time", "processor time", "bar", "")]
    for bar in bars:
        sign = "≥" if bar.at_least else "≤"
        lines.append((bar.name, _shown(bar.wall), _shown(bar.processor), f"{sign} {bar.limit:g}", _word(bar)))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    for line in lines:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    output = config.getoption("--bars-output")
    if output is not None:
        found = [
            {
                "figure": bar.name,
                "bar": bar.limit,
                "at_least": bar.at_least,
                "reached": bar.reached,
                "wall": bar.wall.model_dump(),
                "processor": None if bar.processor is None else bar.processor.model_dump(),
            }
            for bar in bars
        ]
        rounds = config.getoption("--bars-rounds")
        make_folder(output.parent)
        write_json(output, {"environment": environment(), "rounds": rounds, "threads": 1, "bars": found})


def _word(bar: Bar) -> str:
    return "reached" if bar.reached else "MISSED"


def _shown(value: Ratio | None) -> str:
    if value is None:
        return "-"
    if value.low == value.high:
        return f"{value.median:.3g}"
    return f"{value.median:.2f} [{value.low:.2f}, {value.high:.2f}]"
