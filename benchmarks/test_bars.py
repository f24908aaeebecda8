"""The bars that a step has to reach, measured in turns in one process on one thread.

    python -m pytest benchmarks

ResNet-32, 100 noisy and 100 clean random images a step as loaders give them, float32, CPU. "Released" is the
timing-only re-creation of the released research code's operations in `released_operations`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch

from benchmarks.conftest import BARS, Bar
from benchmarks.released_operations import LAUNCHES, UNITS, released_steps
from ebomlc_dist.profiling.counters import Launches, count, count_flops, peak_bytes
from ebomlc_dist.profiling.quartiles import Ratio
from tests.methods.test_cost import make_step

CPU = torch.device("cpu")
BATCH = 100
OURS: dict[str, tuple[str, dict[str, str]]] = {
    "CE": ("ce", {}),
    "EBOMLC": ("ebomlc", {}),
    "classic MLC": ("mlc", {"hypergradient": "double_backward"}),
    "forward-mode MLC": ("mlc", {"hypergradient": "forward_mode"}),
    "fast MLC": ("mlc", {"hypergradient": "finite_difference"}),
}
TIMES = [
    ("EBOMLC", "CE", 2.5, False),
    ("classic MLC", "EBOMLC", 1.8, True),
    ("released EBOMLC", "EBOMLC", 1.6, True),
    ("released MLC", "classic MLC", 1.5, True),
    ("released MLC", "fast MLC", 3.0, True),
]


@dataclass
class Turns:
    """Seconds of one kind of step, a value a round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def steps() -> dict[str, Callable[[], object]]:
    """Every step by its name in the table, warm."""
    found: dict[str, Callable[[], object]] = {}
    for name, (method, settings) in OURS.items():
        step, batch = make_step(method, BATCH, **settings)
        found[name] = partial(step, batch)
    labels = {"ebomlc": "released EBOMLC", "mlc": "released MLC"}
    found |= {labels[name]: step for name, step in released_steps().items()}
    for step in found.values():
        step()
    return found


@pytest.fixture(scope="module")
def turns(request: pytest.FixtureRequest) -> dict[str, Turns]:
    """All steps, timed in turns; the order moves on by one each round."""
    ready = steps()
    found = {name: Turns() for name in ready}
    names = list(ready)
    for _ in range(request.config.getoption("--bars-rounds")):
        for name in names:
            wall, processor = time.perf_counter(), time.process_time()
            ready[name]()
            found[name].processor.append(time.process_time() - processor)
            found[name].wall.append(time.perf_counter() - wall)
        names.append(names.pop(0))
    return found


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Callable[[Bar], None]:
    """Show the bar at the end, and fail where it is missed."""

    def judged(bar: Bar) -> None:
        request.config.stash[BARS].append(bar)
        assert bar.reached, bar

    return judged


@pytest.mark.parametrize(("above", "below", "limit", "at_least"), TIMES)
def test_time(
    above: str, below: str, limit: float, at_least: bool, turns: dict[str, Turns], judge: Callable[[Bar], None]
) -> None:
    one, other = turns[above], turns[below]
    wall, processor = Ratio.of(one.wall, other.wall), Ratio.of(one.processor, other.processor)
    judge(Bar(f"{above} / {below}, time", limit, at_least, wall, processor))


def exact(value: float) -> Ratio:
    return Ratio(median=value, low=value, high=value)


def test_peak_memory(judge: Callable[[Bar], None]) -> None:
    peaks = {}
    for name in ("EBOMLC", "CE"):
        method, settings = OURS[name]
        step, batch = make_step(method, BATCH, **settings)
        step(batch)
        peaks[name] = peak_bytes(partial(step, batch), CPU)
    judge(Bar("EBOMLC / CE, peak memory over base", 1.1, False, exact(peaks["EBOMLC"] / peaks["CE"])))


def test_launches(judge: Callable[[Bar], None]) -> None:
    step, batch = make_step("ebomlc", BATCH)
    step(batch)
    with Launches() as launches:
        step(batch)
    judge(Bar("EBOMLC, launches of an eager step", 700, False, exact(launches.count)))


@pytest.mark.parametrize("name", UNITS)
def test_the_re_creation_does_no_more_than_the_released_code(name: str) -> None:
    """Its units are those of the table, its launches no more: it cannot flatter our own steps."""
    step, batch = make_step("ce", BATCH)
    main = step.networks["main"]
    with torch.no_grad():
        forward = count_flops(lambda: main.at(main.vector.detach(), batch.noisy.images))
    released = released_steps()[name]
    released()
    counts = count(released, CPU)
    assert counts.flops / forward == pytest.approx(UNITS[name], rel=0.01)
    assert counts.launches <= LAUNCHES[name]
