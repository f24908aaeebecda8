"""What the figures are held against: a latency bar and ratios of one GPU at the paper's batch."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from tools.gpu_check.place import Row
from tools.gpu_check.runs import FULL_EPOCHS, PACKED

Rows = Mapping[str, Mapping[str, Row]]


class Bar(BaseModel):
    """One bar. ``value`` is None where it was not measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    limit: float
    at_least: bool

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def text(self) -> str:
        return "–" if self.value is None else f"{self.value:.2f}"

    @property
    def limit_text(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


def bars(parts: Rows) -> tuple[Bar, ...]:
    """The bars from the parts' rows, those of rows that are not there without a value."""
    graph, eager = (figure(parts, "steps", f"ebomlc, {way}", "ms") for way in ("graph", "eager"))
    released = figure(parts, "steps", "released EBOMLC's operations", "ms")
    alone = figure(parts, "alone", "ebomlc", "last_epoch_ms")
    packed = figure(parts, "packed", f"{PACKED} runs of ebomlc", "last_epoch_ms")
    throughput = None if alone is None or packed is None else PACKED * alone / packed
    double = figure(parts, "steps", "mlc double_backward, eager", "ms")
    minutes = figure(parts, "alone", "ebomlc", "minutes_of_120_epochs")
    return (
        Bar(name="EBOMLC, whole-step graph, ms a step", value=graph, limit=3.0, at_least=False),
        Bar(name=f"EBOMLC, {FULL_EPOCHS} epochs, minutes (bf16, graph)", value=minutes, limit=3.0, at_least=False),
        Bar(name="EBOMLC, eager / graph", value=_over(eager, graph), limit=2.0, at_least=True),
        Bar(
            name="released EBOMLC's operations / ours in a graph", value=_over(released, graph), limit=5, at_least=True
        ),
        Bar(name="MLC double backward / EBOMLC, both eager", value=_over(double, eager), limit=1.8, at_least=True),
        Bar(name=f"throughput of {PACKED} packed runs / one", value=throughput, limit=2.0, at_least=True),
    )


def figure(parts: Rows, part: str, row: str, key: str) -> float | None:
    """A figure of a row that is done."""
    found = parts.get(part, {}).get(row)
    value = None if found is None or found.state != "done" else found.figures.get(key)
    return None if value is None else float(value)


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / other
